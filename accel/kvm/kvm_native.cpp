// Breakpoints and the record of written pages (api.rst 4.87 KVM_SET_GUEST_DEBUG, 4.8 KVM_GET_DIRTY_LOG).
#include <algorithm>
#include <bit>

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

namespace {

constexpr u64 kPage = 4096;

Result<void> log_slot(const Shared& shared, kvm_userspace_memory_region& slot, std::vector<u64>& pages) {
    if ((slot.flags & KVM_MEM_READONLY) != 0) return {};
    if ((slot.flags & KVM_MEM_LOG_DIRTY_PAGES) == 0) {
        slot.flags |= KVM_MEM_LOG_DIRTY_PAGES;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int set, TANDEM_KVM(shared.vm, KVM_SET_USER_MEMORY_REGION, &slot));
        return {};
    }
    std::vector<u64> bits((slot.memory_size / kPage + 63) / 64);
    kvm_dirty_log log{};
    log.slot = slot.slot;
    log.dirty_bitmap = bits.data();
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int got, TANDEM_KVM(shared.vm, KVM_GET_DIRTY_LOG, &log));
    for (std::size_t i = 0; i < bits.size(); ++i) {
        for (u64 word = bits[i]; word != 0; word &= word - 1) {
            const u64 page = i * 64 + static_cast<u64>(std::countr_zero(word));
            pages.push_back(slot.guest_phys_addr + page * kPage);
        }
    }
    return {};
}

}  // namespace

Result<void> KvmVcpu::take_written(std::vector<u64>& pages) {
    for (kvm_userspace_memory_region& slot : shared_.slots) TANDEM_TRY(log_slot(shared_, slot, pages));
    return {};
}

}  // namespace tandem::accel::kvm
