#include "devices/timer/hpet.h"

#include <algorithm>

#include "base/bits.h"

namespace tandem::devices {
namespace {

// 2.3.1
enum Register : u64 { kCapabilities = 0x000, kConfig = 0x010, kStatus = 0x020, kCounter = 0x0f0, kFirstTimer = 0x100 };
enum TimerRegister : u64 { kTimerConfig = 0x00, kComparator = 0x08, kFsbRoute = 0x10, kTimerSize = 0x20 };

constexpr u64 kFemtosecondsPerTick = Hpet::kNsPerTick * 1'000'000;
constexpr u16 kRequester = 0xf8;         // the function that it is part of: bus 0, slot 31
constexpr u64 kEnable = 1, kLegacy = 2;  // 2.3.5
// 2.3.8
constexpr u64 kLevel = 1u << 1, kInterrupt = 1u << 2, kPeriodic = 1u << 3, kPeriodicCapable = 1u << 4, kWide = 1u << 5,
              kSetValue = 1u << 6, k32Bit = 1u << 8, kRoute = 0x1fu << 9, kFsb = 1u << 14, kFsbCapable = 1u << 15;
constexpr unsigned kRouteShift = 9;
constexpr u64 kWritable = kLevel | kInterrupt | kPeriodic | kSetValue | k32Bit | kRoute | kFsb;

u64 width_mask(const HpetTimerState& t) { return (t.config & k32Bit) != 0 ? 0xffffffff : ~u64{0}; }

}  // namespace

Hpet::Hpet(Clock& clock, Wiring wiring)
    : clock_(clock), wiring_(std::move(wiring)), timer_(clock.create_timer([this] {
          std::lock_guard guard(lock_);
          catch_up();
          schedule();
      })) {
    for (unsigned i = 0; i < wiring_.input.size(); ++i) inputs_ |= wiring_.input[i].connected() ? 1u << i : 0;
}

void Hpet::reset() {
    std::lock_guard guard(lock_);
    for (unsigned n = 0; n < kTimers; ++n) drive(n, false);
    s_ = {};
    seen_ = 0;
    wiring_.pit.set_closed(false);
    wiring_.rtc.set_closed(false);
    schedule();
}

u64 Hpet::counter() const { return enabled() ? s_.counter + (clock_.now_ns() / kNsPerTick - start_tick_) : s_.counter; }

u64 Hpet::capabilities(unsigned) const {
    return u64{inputs_} << 32 | kPeriodicCapable | kWide | (wiring_.messages != nullptr ? kFsbCapable : 0);
}

u64 Hpet::read_register(u64 offset) const {
    switch (offset) {
        case kCapabilities: return kFemtosecondsPerTick << 32 | kBlockId;
        case kConfig: return s_.config;
        case kStatus: return s_.status;
        case kCounter: return counter();
        default: break;
    }
    if (offset < kFirstTimer || (offset - kFirstTimer) / kTimerSize >= kTimers) return 0;
    const auto n = static_cast<unsigned>((offset - kFirstTimer) / kTimerSize);
    const HpetTimerState& t = s_.timer[n];
    switch ((offset - kFirstTimer) % kTimerSize) {
        case kTimerConfig: return capabilities(n) | t.config;
        case kComparator: return t.comparator & width_mask(t);
        case kFsbRoute: return t.fsb_route;
        default: return 0;
    }
}

u64 Hpet::io_read(u64 offset, unsigned size) {
    std::lock_guard guard(lock_);
    catch_up();
    schedule();
    const u64 value = read_register(align_down(offset, 8)) >> (8 * (offset % 8));
    return size < 8 ? value & mask(8 * size) : value;
}

void Hpet::io_write(u64 offset, u64 value, unsigned size) {
    const u64 at = align_down(offset, 8);
    const u64 shift = 8 * (offset % 8);
    const u64 changed = (size < 8 ? mask(8 * size) : ~u64{0}) << shift;
    std::lock_guard guard(lock_);
    catch_up();
    const u64 old = at == kStatus ? 0 : read_register(at);
    write_register(at, (old & ~changed) | (value << shift & changed), changed);
    schedule();
}

void Hpet::write_register(u64 offset, u64 value, u64 changed) {
    switch (offset) {
        case kConfig: return write_config(value);
        case kStatus:  // 2.3.6: a one clears
            for (unsigned n = 0; n < kTimers; ++n) {
                if ((value & s_.status & u64{1} << n) == 0) continue;
                drive(n, false);
                s_.status &= ~(u64{1} << n);
            }
            return;
        case kCounter:  // 2.3.7: only while it is halted
            if (!enabled()) s_.counter = seen_ = value;
            return;
        default: break;
    }
    if (offset < kFirstTimer || (offset - kFirstTimer) / kTimerSize >= kTimers) return;
    const auto n = static_cast<unsigned>((offset - kFirstTimer) / kTimerSize);
    switch ((offset - kFirstTimer) % kTimerSize) {
        case kTimerConfig: return write_timer_config(n, value);
        case kComparator: return write_comparator(n, value, changed);
        case kFsbRoute: s_.timer[n].fsb_route = value; return;
        default: return;
    }
}

void Hpet::write_config(u64 value) {
    const u64 now = counter();
    for (unsigned n = 0; n < kTimers; ++n) drive(n, false);
    s_.config = value & (kEnable | kLegacy);
    s_.counter = seen_ = now;
    start_tick_ = clock_.now_ns() / kNsPerTick;
    // The interval timer and the clock lose their inputs in legacy replacement (2.3.5).
    wiring_.pit.set_closed((s_.config & kLegacy) != 0);
    wiring_.rtc.set_closed((s_.config & kLegacy) != 0);
    for (unsigned n = 0; n < kTimers; ++n) drive(n, true);
}

void Hpet::write_timer_config(unsigned n, u64 value) {
    HpetTimerState& t = s_.timer[n];
    drive(n, false);
    t.config = value & kWritable;
    // A route that there is not reads back as another one, which is how a driver finds out (2.3.8).
    const auto route = static_cast<unsigned>((t.config & kRoute) >> kRouteShift);
    if ((inputs_ >> route & 1) == 0) t.config &= ~kRoute;
    if (wiring_.messages == nullptr) t.config &= ~kFsb;
    if ((t.config & k32Bit) != 0) {
        t.comparator &= 0xffffffff;
        t.period &= 0xffffffff;
    }
    if ((t.config & kLevel) == 0) s_.status &= ~(u64{1} << n);
    drive(n, true);
}

// In periodic mode what is written is the period, and after the value-set bit the comparator as well (2.3.9.2.2).
void Hpet::write_comparator(unsigned n, u64 value, u64 changed) {
    HpetTimerState& t = s_.timer[n];
    const u64 m = width_mask(t);
    if ((t.config & kPeriodic) == 0) {
        t.comparator = value & m;
        return;
    }
    t.period = ((t.period & ~changed) | (value & changed)) & m;
    if ((t.config & kSetValue) != 0) t.comparator = value & m;
    t.config &= ~kSetValue;
}

u64 Hpet::distance(unsigned n, u64 now) const {
    const HpetTimerState& t = s_.timer[n];
    return (t.comparator - now) & width_mask(t);
}

// Everything that matched after `seen_`, up to now.
void Hpet::catch_up() {
    if (!enabled()) return;
    const u64 now = counter();
    const u64 elapsed = now - seen_;
    for (unsigned n = 0; n < kTimers && elapsed != 0; ++n) {
        HpetTimerState& t = s_.timer[n];
        // Matches lie in (seen, now]; a comparator that equals `seen` has had its match.
        const u64 first = ((t.comparator - seen_ - 1) & width_mask(t)) + 1;
        if (first == 0 || first > elapsed) continue;
        if ((t.config & kPeriodic) != 0 && t.period != 0) {
            const u64 periods = (elapsed - first) / t.period + 1;
            t.comparator = (t.comparator + periods * t.period) & width_mask(t);
        }
        fire(n);
    }
    seen_ = now;
}

IrqLine Hpet::line_of(unsigned n) const {
    if ((s_.config & kLegacy) != 0 && n < wiring_.legacy.size()) return wiring_.legacy[n];
    return wiring_.input[(s_.timer[n].config & kRoute) >> kRouteShift];
}

bool Hpet::raised(unsigned n) const {
    const u64 c = s_.timer[n].config;
    return (c & kLevel) != 0 && (c & kFsb) == 0 && (c & kInterrupt) != 0 && enabled() && (s_.status >> n & 1) != 0;
}

void Hpet::fire(unsigned n) {
    const HpetTimerState& t = s_.timer[n];
    if ((t.config & kLevel) != 0) s_.status |= u64{1} << n;
    if ((t.config & kInterrupt) == 0) return;
    if ((t.config & kFsb) != 0) {
        wiring_.messages->send_msi(t.fsb_route >> 32, static_cast<u32>(t.fsb_route), kRequester);
    } else if ((t.config & kLevel) != 0) {
        line_of(n).set(true);
    } else {
        (void)line_of(n).pulse();
    }
}

// Before and after a change: a timer whose level is up takes it down, or puts it up where the line is now.
void Hpet::drive(unsigned n, bool level) {
    if (raised(n)) line_of(n).set(level);
}

void Hpet::schedule() {
    u64 nearest = ~u64{0};
    for (unsigned n = 0; n < kTimers && enabled(); ++n) {
        const u64 c = s_.timer[n].config;
        if ((c & kInterrupt) == 0) continue;  // status bits are found when somebody looks
        const u64 left = distance(n, seen_);
        nearest = std::min(nearest, left == 0 ? width_mask(s_.timer[n]) : left);
    }
    constexpr u64 kFar = u64{1} << 56;  // no overflow of nanoseconds
    if (nearest > kFar) return timer_->arm(Timer::kNever);
    timer_->arm((start_tick_ + (seen_ - s_.counter) + nearest) * kNsPerTick);
}

HpetState Hpet::capture() const {
    std::lock_guard guard(lock_);
    HpetState s = s_;
    s.counter = counter();
    s.pit_level = wiring_.pit.level();
    s.rtc_level = wiring_.rtc.level();
    return s;
}

Result<void> Hpet::apply(const HpetState& state) {
    if ((state.config & ~(kEnable | kLegacy)) != 0) return corrupt("unknown configuration bits");
    if (state.status >> kTimers != 0) return corrupt("status of a timer that there is not");
    for (const HpetTimerState& t : state.timer) {
        const auto route = (t.config & kRoute) >> kRouteShift;
        if ((t.config & ~kWritable) != 0 || (route != 0 && (inputs_ >> route & 1) == 0)) {
            return corrupt("timer configuration this machine cannot have");
        }
    }
    std::lock_guard guard(lock_);
    for (unsigned n = 0; n < kTimers; ++n) drive(n, false);
    s_ = state;
    seen_ = state.counter;
    start_tick_ = clock_.now_ns() / kNsPerTick;
    const bool legacy = (s_.config & kLegacy) != 0;
    wiring_.pit.restore(state.pit_level, legacy);
    wiring_.rtc.restore(state.rtc_level, legacy);
    for (unsigned n = 0; n < kTimers; ++n) drive(n, true);
    schedule();
    return {};
}

}  // namespace tandem::devices
