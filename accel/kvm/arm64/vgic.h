// KVM's own interrupt controller (devices/arm-vgic.rst, arm-vgic-v3.rst).
#pragma once

#include <memory>

#include "accel/kvm/device.h"
#include "devices/fabric/host_gic.h"

namespace tandem::accel::kvm {

class Vgic final : public devices::HostGic {
public:
    // `vm` outlives it.
    static Result<std::unique_ptr<Vgic>> create(const Fd& vm, const devices::HostGicConfig& config);
    // Once all vCPUs are there.
    Result<void> start();

    [[nodiscard]] const devices::HostGicConfig& config() const override { return config_; }
    Result<void> set_input(unsigned cpu, unsigned number, bool level) override;
    Result<u64> read(const devices::HostGicRegister& which) override;
    Result<void> write(const devices::HostGicRegister& which, u64 value) override;

private:
    Vgic(const Fd& vm, Fd device, const devices::HostGicConfig& config)
        : vm_(vm), device_(std::move(device)), config_(config) {}
    Result<void> set(u32 group, u64 attribute, u64 value) const;
    [[nodiscard]] Result<kvm_device_attr> locate(const devices::HostGicRegister& which, u64& value) const;

    const Fd& vm_;
    Fd device_;
    const devices::HostGicConfig config_;
};

}  // namespace tandem::accel::kvm
