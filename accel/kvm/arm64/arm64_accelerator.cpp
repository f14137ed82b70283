#include <fmt/format.h>

#include <algorithm>

#include "accel/kvm/arm64/arm64_vcpu.h"
#include "accel/kvm/arm64/vgic.h"

namespace tandem::accel {
namespace {

using namespace kvm;

class KvmAccelerator final : public Arm64KvmAccelerator {
public:
    Result<void> start() {
        TANDEM_TRY_ASSIGN(shared_.system, open_arm64_system());
        TANDEM_TRY_ASSIGN(const int vm,
                          TANDEM_KVM(shared_.system.fd, KVM_CREATE_VM,
                                     static_cast<unsigned long>(KVM_VM_TYPE_ARM_IPA_SIZE(shared_.system.physical_bits))));
        shared_.vm = Fd(vm);
        // Without it a load or store that KVM cannot emulate fails KVM_RUN.
        if (shared_.system.exits_without_syndrome) TANDEM_TRY(enable(KVM_CAP_ARM_NISV_TO_USER));
        return {};
    }

    [[nodiscard]] const Capabilities& capabilities() const override { return capabilities_; }

    Result<void> map_memory(devices::GuestMemory& memory) override { return shared_.slots.map(shared_.vm, memory); }

    Result<std::unique_ptr<Vcpu>> create_vcpu(unsigned index, ExitHandler& handler) override {
        if (std::ranges::find(created_, index) != created_.end()) {
            return Error{Errc::Busy, fmt::format("vCPU {} exists already", index)};
        }
        auto vcpu = std::make_unique<Arm64KvmVcpu>(index, handler, shared_);
        TANDEM_TRY(vcpu->open());
        created_.push_back(index);
        if (shared_.gic && created_.size() == shared_.gic->config().cpus) TANDEM_TRY(shared_.gic->start());
        return std::unique_ptr<Vcpu>(std::move(vcpu));
    }

    Result<void> create_gic(const KernelGicConfig& config) override {
        if (shared_.gic) return Error{Errc::Busy, "KVM has an interrupt controller already"};
        if (!created_.empty()) return Error{Errc::Busy, "KVM's interrupt controller is made before the first vCPU"};
        TANDEM_TRY_ASSIGN(shared_.gic, Vgic::create(shared_.vm, config));
        capabilities_.in_kernel_irqchip = true;
        return {};
    }
    Result<void> set_gic_input(unsigned cpu, unsigned number, bool level) override {
        if (!shared_.gic) return no_gic();
        return shared_.gic->set_input(shared_.vm, cpu, number, level);
    }
    Result<u64> gic_register(const KernelGicRegister& which) override {
        if (!shared_.gic) return no_gic();
        return shared_.gic->read(which);
    }
    Result<void> set_gic_register(const KernelGicRegister& which, u64 value) override {
        if (!shared_.gic) return no_gic();
        return shared_.gic->write(which, value);
    }

    [[nodiscard]] std::string statistics() const override {
        return fmt::format("{:<30}{}\n{:<30}{}\n", "returns from KVM_RUN", shared_.exits.load(), "signals to vCPU threads",
                           shared_.kicks.load());
    }

private:
    static Error no_gic() { return {Errc::NotFound, "KVM has no interrupt controller on this machine"}; }

    Result<void> enable(u32 capability) {
        kvm_enable_cap cap{};
        cap.cap = capability;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(shared_.vm, KVM_ENABLE_CAP, &cap));
        return {};
    }

    Capabilities capabilities_{"kvm", true, false};
    Arm64Shared shared_;
    std::vector<unsigned> created_;
};

}  // namespace

Result<std::unique_ptr<Arm64KvmAccelerator>> create_arm64_kvm_accelerator() {
    auto accelerator = std::make_unique<KvmAccelerator>();
    TANDEM_TRY(accelerator->start());
    return std::unique_ptr<Arm64KvmAccelerator>(std::move(accelerator));
}

}  // namespace tandem::accel
