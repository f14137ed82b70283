// Breakpoints (api.rst 4.87 KVM_SET_GUEST_DEBUG) and the record of written pages.
#include "accel/kvm/kvm_vcpu.h"

namespace tandem::accel::kvm {

Result<void> KvmVcpu::set_breakpoints(std::span<const u64> addresses) {
    if (addresses.size() > kBreakpoints) return invalid("more breakpoints than the processor has");
    breakpoints_.assign(addresses.begin(), addresses.end());
    debug_known_ = false;
    return {};
}

Result<void> KvmVcpu::set_debug(bool stepping) {
    if (debug_known_ && stepping == stepping_) return {};
    kvm_guest_debug debug{};
    if (stepping) {
        debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
        if (shared_.system.step_blocks_interrupts) debug.control |= KVM_GUESTDBG_BLOCKIRQ;
    } else if (!breakpoints_.empty()) {
        constexpr u64 kReserved = 0x400;  // reads as one; length and condition 0: execution
        debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
        debug.arch.debugreg[7] = kReserved;
        for (std::size_t i = 0; i < breakpoints_.size(); ++i) {
            debug.arch.debugreg[i] = breakpoints_[i];
            debug.arch.debugreg[7] |= u64{2} << (2 * i);  // global enable
        }
    }
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(fd_, KVM_SET_GUEST_DEBUG, &debug));
    stepping_ = stepping;
    debug_known_ = true;
    return {};
}

Result<void> KvmVcpu::take_written(std::vector<u64>& pages) { return shared_.slots.take_written(shared_.vm, pages); }

}  // namespace tandem::accel::kvm
