#include "accel/kvm/kvm_accelerator.h"

#include <fmt/format.h>

#include <algorithm>

#include "accel/kvm/cpuid.h"
#include "accel/kvm/doorbells.h"
#include "accel/kvm/irqchip.h"
#include "accel/kvm/kvm_vcpu.h"
#include "base/log.h"

namespace tandem::accel {
namespace {

using namespace kvm;

// MSRs that the machine's models answer: the APIC base, the TSC deadline and kvmclock (both numberings); and what moves the
// guest's TSC, which the machine's clock keeps. The x2APIC's leave by themselves where no APIC is in the kernel.
struct FilterRange {
    u32 base, count, accesses;
    bool apic = false;  // of the local APIC
};
constexpr u32 kWrites = KVM_MSR_FILTER_WRITE, kBoth = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
constexpr FilterRange kToUserSpace[] = {{kMsrTsc, 1, kWrites},     {0x11, 2, kBoth},       {kMsrApicBase, 1, kBoth, true},
                                        {kMsrTscAdjust, 1, kBoth}, {0x4b564d00, 2, kBoth}, {kMsrTscDeadline, 1, kBoth, true},
                                        {kMsrEoi, 1, kBoth, true}};

class KvmAccelerator final : public Accelerator {
public:
    KvmAccelerator(const cpu::x86::CpuModel& model, KvmOptions options) : model_(model), options_(options) {}

    Result<void> start() {
        TANDEM_TRY_ASSIGN(shared_.system, open_system());
        if (const auto lacking = model_.beyond(narrow(model_, shared_.system.cpuid, options_.irqchip)); !lacking.empty()) {
            return Error{
                Errc::Unsupported,
                fmt::format("KVM on this host does not offer all of CPU model '{}': it lacks {}; name both engines when "
                            "the machine starts (-accel jit -accel kvm), or leave these out with -cpu",
                            model_.name(), fmt::join(lacking, ", "))};
        }
        TANDEM_TRY_ASSIGN(const int vm, TANDEM_KVM(shared_.system.fd, KVM_CREATE_VM, 0ul));
        shared_.vm = Fd(vm);
        doorbells_ = Doorbells::create(shared_.vm);
        if (shared_.system.tsc_fixed) log::info("KVM on this host gives guests the host's time-stamp counter as it is");
        shared_.system.tsc_offset = shared_.system.tsc_offset && options_.tsc_control;
        shared_.system.breakpoints = shared_.system.breakpoints && options_.debug_registers;
        TANDEM_TRY(enable(KVM_CAP_X86_USER_SPACE_MSR,
                          KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER));
        if (shared_.system.exception_payload) TANDEM_TRY(enable(KVM_CAP_EXCEPTION_PAYLOAD, 1));
        // User code gets #UD otherwise for what KVM cannot emulate.
        if (shared_.system.exits_on_failure) TANDEM_TRY(enable(KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1));
        if (options_.irqchip != KvmOptions::Irqchip::User) {
            using Extent = devices::HostControllers::Extent;
            const bool all = options_.irqchip == KvmOptions::Irqchip::Kernel;
            TANDEM_TRY_ASSIGN(irqchip_, Irqchip::create(shared_.vm, all ? Extent::All : Extent::LocalApics));
            shared_.irqchip = options_.irqchip;
            capabilities_.in_kernel_irqchip = true;
        }
        TANDEM_TRY(filter_msrs());
        // VMX keeps a task-state segment and a page table of its own in guest-physical memory for real mode (api.rst 4.26,
        // 4.83): below the firmware, where no board has memory.
        u64 identity = kIdentityMap;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int a, TANDEM_KVM(shared_.vm, KVM_SET_IDENTITY_MAP_ADDR, &identity));
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int b, TANDEM_KVM(shared_.vm, KVM_SET_TSS_ADDR, kTssArea));
        return {};
    }

    [[nodiscard]] const Capabilities& capabilities() const override { return capabilities_; }

    Result<void> map_memory(devices::GuestMemory& memory) override { return shared_.slots.map(shared_.vm, memory); }

    Result<std::unique_ptr<Vcpu>> create_vcpu(unsigned index, ExitHandler& handler) override {
        if (std::find(created_.begin(), created_.end(), index) != created_.end()) {
            return Error{Errc::Busy, fmt::format("vCPU {} exists already", index)};
        }
        cpu::x86::CpuModel::Dynamic dynamic;
        dynamic.cpu_count = handler.cpu_count();
        dynamic.apic_id = model_.topology(dynamic.cpu_count).apic_id(index);
        dynamic.tsc_khz = static_cast<u32>(handler.tsc_hz() / 1000);
        const GuestCpuid cpuid = guest_cpuid(model_, shared_.system.cpuid, options_.irqchip, dynamic);
        if (!cpuid.left_out.empty()) {
            return Error{Errc::Unsupported,
                         fmt::format("KVM on this host does not offer {}", fmt::join(cpuid.left_out, ", "))};
        }
        auto vcpu = std::make_unique<KvmVcpu>(index, handler, shared_, model_);
        TANDEM_TRY(vcpu->open(cpuid.entries));
        created_.push_back(index);
        if (irqchip_) irqchip_->add(index, *vcpu);
        return std::unique_ptr<Vcpu>(std::move(vcpu));
    }

    [[nodiscard]] devices::HostControllers* host_controllers() override { return irqchip_.get(); }

    [[nodiscard]] devices::DoorbellHost* doorbells() override { return doorbells_.get(); }

    [[nodiscard]] std::string statistics() const override {
        return fmt::format("{:<30}{}\n{:<30}{}\n", "returns from KVM_RUN", shared_.exits.load(), "signals to vCPU threads",
                           shared_.kicks.load());
    }

private:
    static constexpr u64 kIdentityMap = 0xfeffc000;

    Result<void> enable(u32 capability, u64 argument) {
        kvm_enable_cap cap{};
        cap.cap = capability;
        cap.args[0] = argument;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(shared_.vm, KVM_ENABLE_CAP, &cap));
        return {};
    }

    Result<void> filter_msrs() {
        u8 none[8] = {};
        kvm_msr_filter filter{};
        filter.flags = KVM_MSR_FILTER_DEFAULT_ALLOW;
        std::size_t used = 0;
        for (const FilterRange& range : kToUserSpace) {
            if (range.apic && irqchip_) continue;
            filter.ranges[used].flags = range.accesses;
            filter.ranges[used].base = range.base;
            filter.ranges[used].nmsrs = range.count;
            filter.ranges[used++].bitmap = none;
        }
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(shared_.vm, KVM_X86_SET_MSR_FILTER, &filter));
        return {};
    }

    Capabilities capabilities_{"kvm", true, false};
    const cpu::x86::CpuModel model_;
    const KvmOptions options_;
    Shared shared_;
    std::unique_ptr<Irqchip> irqchip_;  // none: the machine's models
    std::unique_ptr<Doorbells> doorbells_;
    std::vector<unsigned> created_;
};

}  // namespace

Result<cpu::x86::CpuModel> narrow_to_kvm(const cpu::x86::CpuModel& model, KvmOptions::Irqchip irqchip) {
    auto system = open_system();
    if (!system) return std::move(system).error().context("-accel kvm");
    return narrow(model, system->cpuid, irqchip);
}

Result<cpu::x86::CpuModel> found_under_kvm(const cpu::x86::CpuModel& model) {
    TANDEM_TRY_ASSIGN(const System system, open_system());
    return system.shows_host_cpuid ? model : narrow(model, system.cpuid, KvmOptions::Irqchip::User);
}

Result<bool> kvm_moves_tsc() {
    TANDEM_TRY_ASSIGN(const System system, open_system());
    return !system.tsc_fixed;
}

Result<std::unique_ptr<Accelerator>> create_kvm_accelerator(const cpu::x86::CpuModel& model, KvmOptions options) {
    auto accelerator = std::make_unique<KvmAccelerator>(model, options);
    if (auto started = accelerator->start(); !started) return std::move(started).error().context("-accel kvm");
    return std::unique_ptr<Accelerator>(std::move(accelerator));
}

}  // namespace tandem::accel
