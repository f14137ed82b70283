// KVM's own interrupt controller (devices/arm-vgic.rst, arm-vgic-v3.rst).
#pragma once

#include "accel/kvm/arm64/arm64_kvm.h"
#include "accel/kvm/device.h"

namespace tandem::accel::kvm {

class Vgic {
public:
    static Result<std::unique_ptr<Vgic>> create(const Fd& vm, const KernelGicConfig& config);
    [[nodiscard]] const KernelGicConfig& config() const { return config_; }
    // Once all vCPUs are there.
    Result<void> start();
    Result<void> set_input(const Fd& vm, unsigned cpu, unsigned number, bool level) const;
    Result<u64> read(const KernelGicRegister& which) const;
    Result<void> write(const KernelGicRegister& which, u64 value) const;

private:
    Vgic(Fd device, const KernelGicConfig& config) : device_(std::move(device)), config_(config) {}
    Result<void> set(u32 group, u64 attribute, u64 value) const;
    [[nodiscard]] Result<kvm_device_attr> locate(const KernelGicRegister& which, u64& value) const;

    Fd device_;
    const KernelGicConfig config_;
};

}  // namespace tandem::accel::kvm
