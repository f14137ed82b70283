// The generic timer's counter (api.rst 4.68: KVM_REG_ARM_TIMER_CNT). It goes on while the machine is stopped.
#include "accel/kvm/arm64/arm64_vcpu.h"

namespace tandem::accel::kvm {
namespace {

constexpr u64 kTolerancePerSecond = 1000;  // a millisecond: host clocks are steered, counters are not

u64 host_count() {
    u64 value = 0;
    __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(value)::"memory");
    return value;
}

u64 host_hz() {
    u64 value = 0;
    __asm__("mrs %0, cntfrq_el0" : "=r"(value));
    return value;
}

}  // namespace

u64 Arm64KvmVcpu::machine_count() {
    const auto hz = handler_.tsc_hz();
    __extension__ using Wide = unsigned __int128;
    return static_cast<u64>(Wide{handler_.tsc(index_)} * host_hz() / hz);
}

Result<void> Arm64KvmVcpu::sync_counter() {
    if (handler_.tsc_hz() == 0) return {};  // a machine without a clock
    const std::lock_guard guard(shared_.counter.lock);
    const u64 now = machine_count(), gap = host_count() - now;
    const u64 tolerance = host_hz() / kTolerancePerSecond;
    if (shared_.counter.gap && gap - *shared_.counter.gap + tolerance <= 2 * tolerance) return {};
    const u64 value = now - shared_.counter.offset;
    TANDEM_TRY(set_register(fd_, KVM_REG_ARM_TIMER_CNT, &value));
    shared_.counter.gap = gap;
    return {};
}

}  // namespace tandem::accel::kvm
