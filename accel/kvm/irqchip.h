// KVM's own interrupt controllers (api.rst 4.24 KVM_CREATE_IRQCHIP, KVM_CAP_SPLIT_IRQCHIP, 4.71 KVM_CREATE_PIT2).
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "accel/kvm/kvm_vcpu.h"
#include "accel/kvm/routes.h"
#include "devices/fabric/pc_controllers.h"

namespace tandem::accel::kvm {

class Irqchip final : public devices::HostControllers {
public:
    // Before the first vCPU; `vm` outlives it. Unsupported: this host's KVM has none.
    static Result<std::unique_ptr<Irqchip>> create(const Fd& vm, Extent extent);
    // `vcpu` outlives the last exchange of state.
    void add(unsigned index, KvmVcpu& vcpu);

    // devices::HostControllers
    [[nodiscard]] Extent extent() const override { return extent_; }
    devices::Delivery send_message(u64 address, u32 data) override;
    void post_message(u64 address, u32 data) override;
    devices::Delivery set_ioapic_pin(unsigned pin, bool level) override;
    devices::Delivery set_pic_line(unsigned irq, bool level) override;
    void set_pit_closed(bool closed) override;
    void set_ioapic_entries(std::span<const u64> entries) override;
    Result<void> store(const devices::ControllerState& state) override;
    Result<void> fetch(devices::ControllerState& state) override;

private:
    Irqchip(const Fd& vm, Extent extent) : vm_(vm), extent_(extent), routes_(vm) {}
    devices::Delivery set_gsi(u32 gsi, bool level);
    Result<void> store_chips(const devices::ControllerState& state);
    Result<void> fetch_chips(devices::ControllerState& state);

    const Fd& vm_;
    const Extent extent_;
    Routes routes_;
    std::vector<KvmVcpu*> vcpus_;  // by index
    std::mutex lock_;              // of what follows; taken before that of the routes
    std::vector<u64> routed_;      // the I/O APIC's level-triggered entries, others 0
};

}  // namespace tandem::accel::kvm
