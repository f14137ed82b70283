// The local APIC's timer (Intel SDM volume 3, 10.5.4).
#include <algorithm>

#include "base/bits.h"
#include "devices/irq/lapic.h"

namespace tandem::devices {
namespace {

constexpr u64 kSecond = 1'000'000'000;
// A periodic timer may not occupy the host with less than this between expiries; what falls in between coalesces.
constexpr u64 kMinPeriodNs = 20'000;

enum TimerMode : u32 { kOneShot = 0, kPeriodic = 1, kTscDeadline = 2 };

// Divide configuration bits 3, 1, 0 (figure 10-10): 000 is 2, 110 is 128, 111 is 1.
u64 divider(u32 divide) {
    const u32 code = (divide & 3) | (divide >> 1 & 4);
    return u64{1} << ((code + 1) & 7);
}

u64 div_up(u64 a, u64 b, u64 c) {
    const u128 product = static_cast<u128>(a) * b;
    const u128 q = product / c + (product % c != 0 ? 1 : 0);
    return q > ~u64{0} ? ~u64{0} : static_cast<u64>(q);
}

}  // namespace

u32 Lapic::timer_mode() const { return static_cast<u32>(bits(lvt_[kLvtTimer].load(), 18, 17)); }
u64 Lapic::ticks_to_ns(u64 ticks) const { return div_up(ticks * divider(divide_.load()), kSecond, config_.timer_hz); }
u64 Lapic::guest_tsc() const { return clock_.tsc() + tsc_offset_; }

// Zero while the start lies ahead, where short periods were coalesced.
u64 Lapic::timer_elapsed() const {
    return static_cast<u64>(std::max<i64>(0, static_cast<i64>(clock_.now_ns() - timer_start_ns_)));
}

u32 Lapic::current_locked(u32 mode) const {
    if (!timer_running_ || mode == kTscDeadline) return 0;
    const u64 elapsed = mul_div(timer_elapsed(), config_.timer_hz, kSecond * divider(divide_.load()));
    if (elapsed < timer_count_) return static_cast<u32>(timer_count_ - elapsed);
    const u32 initial = initial_.load();
    if (mode != kPeriodic || initial == 0) return 0;
    return static_cast<u32>(initial - (elapsed - timer_count_) % initial);
}

void Lapic::load_locked(u32 count) {
    timer_start_ns_ = clock_.now_ns();
    timer_count_ = count;
    timer_running_ = count != 0;
}

// In the clock's time.
u64 Lapic::deadline_locked() const {
    if (bus_.host() != nullptr) return Timer::kNever;  // it runs there
    if (timer_mode() == kTscDeadline) {
        if (tsc_deadline_ == 0) return Timer::kNever;
        const u64 now = guest_tsc();
        const u64 left = tsc_deadline_ > now ? tsc_deadline_ - now : 0;
        // Rounded up, and one more for the rounding of now_ns() itself.
        const u64 ns = div_up(left, kSecond, clock_.tsc_hz());
        const u64 base = clock_.now_ns();
        return ns >= Timer::kNever - base ? Timer::kNever : base + ns + (left != 0 ? 1 : 0);
    }
    return timer_running_ ? timer_start_ns_ + ticks_to_ns(timer_count_) : Timer::kNever;
}

// A second at most, as the clock's own thread: the clock need not keep the time of what the vCPU's thread sleeps by.
u64 Lapic::begin_sleep() {
    std::lock_guard guard(timer_lock_);
    const u64 deadline = deadline_locked();
    if (deadline == Timer::kNever) return deadline;
    timer_->arm(Timer::kNever);
    const u64 now = clock_.now_ns();
    return deadline > now ? std::min(deadline - now, kSecond) : 0;
}

// Whether the timer has expired by now. Advances a periodic one to the period that contains now, and disarms the others.
bool Lapic::expire_locked() {
    if (timer_mode() == kTscDeadline) {
        if (tsc_deadline_ == 0 || guest_tsc() < tsc_deadline_) return false;
        tsc_deadline_ = 0;
        return true;
    }
    const u64 now = clock_.now_ns();
    if (!timer_running_ || timer_elapsed() < ticks_to_ns(timer_count_)) return false;
    const u32 initial = initial_.load();
    if (timer_mode() != kPeriodic || initial == 0) {
        timer_running_ = false;
        return true;
    }
    const u64 step = ticks_to_ns(initial);
    timer_start_ns_ += ticks_to_ns(timer_count_);
    timer_count_ = initial;
    u64 behind = (now - timer_start_ns_) / step;
    if (step < kMinPeriodNs) behind += kMinPeriodNs / step;
    timer_start_ns_ += behind * step;
    return true;
}

void Lapic::on_timer() {
    bool expired = false;
    {
        std::lock_guard guard(timer_lock_);
        expired = expire_locked();
        arm_locked();
    }
    if (expired) deliver_local(kLvtTimer);
}

void Lapic::write_initial(u32, u32 value) {
    std::lock_guard guard(timer_lock_);
    if (timer_mode() == kTscDeadline) return;
    initial_ = value;
    load_locked(value);
    arm_locked();
}

void Lapic::write_divide(u32, u32 value) {
    std::lock_guard guard(timer_lock_);
    const u32 left = current_locked();
    divide_ = value;
    if (timer_running_) load_locked(left);
    arm_locked();
}

void Lapic::change_timer_mode(u32 old_lvt, u32 new_lvt) {
    const auto from = static_cast<u32>(bits(old_lvt, 18, 17)), to = static_cast<u32>(bits(new_lvt, 18, 17));
    bool expired = false;
    {
        std::lock_guard guard(timer_lock_);
        if ((from == kTscDeadline) != (to == kTscDeadline)) {
            // Entering or leaving TSC-deadline mode disarms (SDM volume 3, 10.5.4.1).
            timer_running_ = false;
            tsc_deadline_ = 0;
            initial_ = 0;
        } else if (from != to && timer_running_) {
            // The count goes on from where it is. One that has reached zero stays there, whether or not the clock's thread
            // has noticed yet.
            const u32 left = current_locked(from);
            expired = left == 0;
            load_locked(left);
        }
        arm_locked();
    }
    if (expired) deliver_local(kLvtTimer);
}

void Lapic::write_tsc_deadline(u64 value) {
    bool expired = false;
    {
        std::lock_guard guard(timer_lock_);
        if (timer_mode() != kTscDeadline) return;
        tsc_deadline_ = value;
        expired = expire_locked();  // a deadline in the past needs no trip through the clock's thread
        arm_locked();
    }
    if (expired) deliver_local(kLvtTimer);
}

void Lapic::host_changed() {
    {
        std::lock_guard guard(timer_lock_);
        arm_locked();
    }
    update_interrupt_line();
}

void Lapic::set_tsc_offset(u64 offset) {
    std::lock_guard guard(timer_lock_);
    tsc_offset_ = offset;
    arm_locked();
}

}  // namespace tandem::devices
