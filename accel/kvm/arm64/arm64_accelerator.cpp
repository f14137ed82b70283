#include <fmt/format.h>

#include <algorithm>

#include "accel/arm_parts.h"
#include "accel/kvm/arm64/arm64_kvm.h"
#include "accel/kvm/arm64/arm64_vcpu.h"
#include "accel/kvm/arm64/vgic.h"
#include "accel/kvm/doorbells.h"
#include "base/log.h"

namespace tandem::accel {
namespace {

using namespace kvm;

class KvmAccelerator final : public Accelerator, public ArmParts {
public:
    explicit KvmAccelerator(Arm64KvmOptions options) : options_(options) {}

    Result<void> start() {
        TANDEM_TRY_ASSIGN(shared_.system, open_arm64_system());
        TANDEM_TRY_ASSIGN(const int vm,
                          TANDEM_KVM(shared_.system.fd, KVM_CREATE_VM,
                                     static_cast<unsigned long>(KVM_VM_TYPE_ARM_IPA_SIZE(shared_.system.physical_bits))));
        shared_.vm = Fd(vm);
        doorbells_ = Doorbells::create(shared_.vm);
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

    Result<devices::HostGic*> create_host_gic(const devices::HostGicConfig& config) override {
        using Irqchip = Arm64KvmOptions::Irqchip;
        if (shared_.gic) return Error{Errc::Busy, "KVM has an interrupt controller already"};
        if (!created_.empty()) return Error{Errc::Busy, "KVM's interrupt controller is made before the first vCPU"};
        if (options_.irqchip == Irqchip::User && config.version == 2) return nullptr;
        auto made = Vgic::create(shared_.vm, config);
        if (!made && made.error().code == Errc::Unsupported && config.version == 2) {
            log::info("{}: the machine's model serves", made.error().message);
            return nullptr;
        }
        if (!made) return std::move(made).error();
        shared_.gic = std::move(made).value();
        capabilities_.in_kernel_irqchip = true;
        return shared_.gic.get();
    }

    [[nodiscard]] devices::DoorbellHost* doorbells() override { return doorbells_.get(); }

    [[nodiscard]] std::string statistics() const override {
        return fmt::format("{:<30}{}\n{:<30}{}\n", "returns from KVM_RUN", shared_.exits.load(), "signals to vCPU threads",
                           shared_.kicks.load());
    }

private:
    Result<void> enable(u32 capability) {
        kvm_enable_cap cap{};
        cap.cap = capability;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(shared_.vm, KVM_ENABLE_CAP, &cap));
        return {};
    }

    const Arm64KvmOptions options_;
    Capabilities capabilities_{"kvm", true, false};
    Arm64Shared shared_;
    std::unique_ptr<Doorbells> doorbells_;
    std::vector<unsigned> created_;
};

}  // namespace

Result<std::unique_ptr<Accelerator>> create_arm64_kvm_accelerator(Arm64KvmOptions options) {
    auto accelerator = std::make_unique<KvmAccelerator>(options);
    TANDEM_TRY(accelerator->start());
    return std::unique_ptr<Accelerator>(std::move(accelerator));
}

}  // namespace tandem::accel
