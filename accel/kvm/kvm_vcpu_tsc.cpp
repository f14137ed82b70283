// The guest's time-stamp counter: the machine's clock plus the guest's own offset, on every engine (contracts I9, I10).
#include <fmt/format.h>
#include <x86intrin.h>

#include <algorithm>
#include <cstring>

#include "accel/kvm/kvm_vcpu.h"

namespace tandem::accel::kvm {

// A measurement is wrong by half of its width at most, of which a thread that was interrupted between two of the readings
// has a large one.
KvmVcpu::TscBase KvmVcpu::tsc_base() {
    constexpr u64 kTolerance = 20'000;  // cycles: what is not worth moving the guest's counter for
    if (const auto exact = handler_.host_tsc_base()) return {*exact, 0};
    TscBase best{0, ~u64{0}};
    for (int i = 0; i < 4; ++i) {
        const u64 before = __rdtsc();
        const u64 guest = handler_.tsc(index_);
        const u64 half = (__rdtsc() - before) / 2;
        if (half < best.error) best = {guest - (before + half), half};
    }
    best.error = std::max(best.error, kTolerance);
    return best;
}

// All vCPUs take the first one's measurement of the clock's distance to the host's counter, made anew when the clock has
// been stopped in between.
Result<void> KvmVcpu::sync_tsc() {
    const TscBase base = tsc_base();
    const auto differs = [&base](u64 other) { return base.value - other + base.error > 2 * base.error; };
    // The guest reads the host's counter: whoever counts in the guest's is told by how much that is off the clock's.
    if (shared_.system.tsc_fixed) {
        if (differs(0 - tsc_offset_)) {
            tsc_offset_ = 0 - base.value;
            handler_.tsc_offset_changed(index_, tsc_offset_);
        }
        // So that the kernel's APIC counts in the same time.
        return shared_.apic_in_kernel() ? set_kernel_tsc(0) : Result<void>{};
    }
    u64 shared = shared_.tsc_base.load();
    while (differs(shared)) {
        if (shared_.tsc_base.compare_exchange_weak(shared, base.value)) shared = base.value;
    }
    return set_kernel_tsc(shared + tsc_offset_);
}

// A deadline that the kernel's APIC waits for is one of the guest's TSC, which KVM has converted by the old offset.
Result<void> KvmVcpu::set_kernel_tsc(u64 offset) {
    if (kernel_tsc_ == offset) return {};
    if (!shared_.apic_in_kernel()) return move_kernel_tsc(offset);
    TANDEM_TRY_ASSIGN(const u64 deadline, access_kernel_msr(KVM_GET_MSRS, kMsrTscDeadline, 0));
    TANDEM_TRY(move_kernel_tsc(offset));
    if (deadline == 0) return {};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const u64 set, access_kernel_msr(KVM_SET_MSRS, kMsrTscDeadline, deadline));
    return {};
}

Result<void> KvmVcpu::move_kernel_tsc(u64 offset) {
    if (shared_.system.tsc_offset) {
        kvm_device_attr attribute{0, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, reinterpret_cast<u64>(&offset)};
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(fd_, KVM_SET_DEVICE_ATTR, &attribute));
    } else {
        TANDEM_TRY(write_kernel_tsc(offset));
    }
    kernel_tsc_ = offset;
    return {};
}

// The narrowest of a few readings: a thread that was interrupted in one of them has read nothing there.
Result<KvmVcpu::TscLag> KvmVcpu::kernel_tsc_lag(u64 offset) {
    TscLag best{0, ~u64{0}};
    for (int i = 0; i < 4; ++i) {
        const u64 before = __rdtsc();
        TANDEM_TRY_ASSIGN(const u64 guest, access_kernel_msr(KVM_GET_MSRS, kMsrTsc, 0));
        const u64 width = __rdtsc() - before;
        if (width < best.width) best = {before + width / 2 + offset - guest, width};
    }
    return best;
}

// KVM takes a written TSC within a second of what the last one written would be by now for an attempt to have two vCPUs in
// step, and gives this one the other's offset. That is what the second vCPU with the same offset wants, and what any other
// write has to avoid by writing something far away first. What passes between the reading of the host's counter here and in
// the kernel is measured and made up for. The first readings are wide where the host's code is not in its caches, or not
// yet translated, and where in them the kernel reads the counter is anybody's guess then: they count only where narrower
// ones do not come.
Result<void> KvmVcpu::write_kernel_tsc(u64 offset) {
    constexpr u64 kFarAway = u64{1} << 44;  // over an hour at any rate
    constexpr u64 kGoodEnough = 4'000, kNarrow = 4 * kGoodEnough;
    constexpr int kCold = 12, kAttempts = 48;
    const std::lock_guard guard(shared_.tsc_lock);
    if (shared_.tsc_written == offset) {
        TANDEM_TRY_ASSIGN([[maybe_unused]] const u64 in_step, access_kernel_msr(KVM_SET_MSRS, kMsrTsc, __rdtsc() + offset));
        return {};
    }
    u64 lead = 0, usual = ~u64{0} / 2;
    for (int i = 0; i < kAttempts; ++i) {
        TANDEM_TRY_ASSIGN([[maybe_unused]] const u64 far,
                          access_kernel_msr(KVM_SET_MSRS, kMsrTsc, __rdtsc() + offset + kFarAway));
        TANDEM_TRY_ASSIGN([[maybe_unused]] const u64 set,
                          access_kernel_msr(KVM_SET_MSRS, kMsrTsc, __rdtsc() + offset + lead));
        TANDEM_TRY_ASSIGN(const TscLag lag, kernel_tsc_lag(offset));
        usual = std::min(usual + usual / 8, lag.width);  // a host may become slower, too
        if (lag.width > kNarrow && (i < kCold || lag.width > 2 * usual)) continue;
        const u64 error = std::max(kGoodEnough, lag.width / 4);
        if (lag.behind + error <= 2 * error) break;
        lead += lag.behind;
    }
    shared_.tsc_written = offset;
    return {};
}

Result<u64> KvmVcpu::access_kernel_msr(unsigned long request, u32 index, u64 value) {
    alignas(kvm_msrs) char raw[sizeof(kvm_msrs) + sizeof(kvm_msr_entry)] = {};
    auto* list = new (raw) kvm_msrs{};
    list->nmsrs = 1;
    kvm_msr_entry entry{index, 0, value};
    std::memcpy(raw + sizeof(kvm_msrs), &entry, sizeof entry);
    TANDEM_TRY_ASSIGN(const int count, fd_.call("KVM_GET/SET_MSRS", request, list));
    if (count != 1) return Error{Errc::Unsupported, fmt::format("KVM refuses MSR {:#x}", index)};
    std::memcpy(&entry, raw + sizeof(kvm_msrs), sizeof entry);
    return entry.data;
}

// A write of either moves the other by as much (SDM volume 3, 17.17.3).
Result<bool> KvmVcpu::access_tsc_msr(u32 index, bool write, u64& value) {
    if (index == kMsrTscAdjust && !model_.has(cpu::x86::Feature::TSC_ADJUST)) return false;
    if (!write) {
        value = tsc_adjust_;
        return true;
    }
    const u64 delta = index == kMsrTscAdjust ? value - tsc_adjust_ : value - (handler_.tsc(index_) + tsc_offset_);
    tsc_adjust_ += delta;
    tsc_offset_ += delta;
    handler_.tsc_offset_changed(index_, tsc_offset_);
    TANDEM_TRY(sync_tsc());
    return true;
}

}  // namespace tandem::accel::kvm
