// What KVM_RUN came back for (api.rst, "The kvm_run structure").
#include <fmt/format.h>

#include "accel/kvm/arm64/arm64_vcpu.h"

namespace tandem::accel::kvm {

// Nothing: handled here, go on.
std::optional<Exit> Arm64KvmVcpu::take_exit() {
    switch (page_->exit_reason) {
        case KVM_EXIT_INTR: return {};
        case KVM_EXIT_MMIO: return take_mmio();
        case KVM_EXIT_DEBUG: return take_debug();
        case KVM_EXIT_SYSTEM_EVENT: return take_system_event();
        case KVM_EXIT_ARM_NISV:
            return finish(
                EmulationFailureExit{exit_pc(), fmt::format("KVM does not emulate its access to {:#x} (syndrome {:#x})",
                                                            page_->arm_nisv.fault_ipa, page_->arm_nisv.esr_iss)});
        case KVM_EXIT_FAIL_ENTRY:
            return finish(InternalErrorExit{fmt::format("the processor refused to enter the guest (hardware reason {:#x})",
                                                        page_->fail_entry.hardware_entry_failure_reason)});
        case KVM_EXIT_INTERNAL_ERROR:
            return finish(InternalErrorExit{
                fmt::format("KVM reports internal error {} at {:#x}", page_->internal.suberror, exit_pc())});
        default:
            return finish(InternalErrorExit{
                fmt::format("KVM left the guest for reason {}, which this engine does not know", page_->exit_reason)});
    }
}

std::optional<Exit> Arm64KvmVcpu::take_mmio() {
    access_open_ = true;
    answer_mmio(page_, *this, handler_);
    return {};
}

// Exception classes of ESR_EL2 (DDI 0487, D19.2.37).
Exit Arm64KvmVcpu::take_debug() {
    constexpr u32 kStep = 0x32, kWatchpoint = 0x34;
    const auto& arch = page_->debug.arch;
    const u32 exception_class = arch.hsr >> 26;
    DebugExit exit{DebugExit::Reason::Breakpoint, exit_pc(), 0};
    if (exception_class == kStep) exit.reason = DebugExit::Reason::SingleStep;
    if (exception_class == kWatchpoint) {
        exit.reason = DebugExit::Reason::Watchpoint;
        exit.address = arch.far;
    }
    return finish(exit);
}

Exit Arm64KvmVcpu::take_system_event() {
    using Kind = SystemEventExit::Kind;
    switch (page_->system_event.type) {
        case KVM_SYSTEM_EVENT_SHUTDOWN: return finish(SystemEventExit{Kind::PowerOff});
        case KVM_SYSTEM_EVENT_RESET: return finish(SystemEventExit{Kind::Reset});
        default: return finish(SystemEventExit{Kind::Crash});
    }
}

}  // namespace tandem::accel::kvm
