// WFI, WFE, SEV and the event streams (DDI 0487, D1.6 "Mechanisms for entering a low-power state", D11.2.4 "Event streams").
#include <algorithm>
#include <array>
#include <chrono>

#include "base/bits.h"
#include "cpu/arm64/lift/helpers.h"
#include "cpu/arm64/system/system.h"

namespace tandem::cpu::arm64 {
namespace {

// A trap of WFI or WFE: its target, 0 for none (AArch64.CheckForWFxTrap).
unsigned wait_trap(const TranslateState& t, bool event) {
    const unsigned el = t.s.el();
    const u64 control = current_sctlr(t);
    if (el == 0 && (control & (event ? sctlr::nTWE : sctlr::nTWI)) == 0) return default_target(t);
    if (el < 2 && (effective_hcr(t) & (event ? hcr::TWE : hcr::TWI)) != 0) return 2;
    return 0;
}

// An event stream as CNTKCTL_EL1 (from the virtual counter) or CNTHCTL_EL2 (from the physical one) makes it: an event
// whenever bit EVNTI of the counter becomes 1, or 0 with EVNTDIR.
struct EventStream {
    u64 control = 0;
    u64 counter = 0;
    [[nodiscard]] bool enabled() const { return bit(control, 2); }
    [[nodiscard]] unsigned shift() const { return static_cast<unsigned>(bits(control, 7, 4)) + 1; }
    [[nodiscard]] u64 phase() const { return bit(control, 3) ? 0 : u64{1} << (shift() - 1); }
    // Events since the counter was 0, and counter ticks until the next.
    [[nodiscard]] u64 count() const { return (counter + phase()) >> shift(); }
    [[nodiscard]] u64 distance() const { return (u64{1} << shift()) - ((counter + phase()) & mask(shift())); }
};

std::array<EventStream, 2> event_streams(const TranslateState& t) {
    const u64 counter = t.platform->counter();
    const bool el2 = el2_enabled(t);
    const Sysregs& sys = t.s.sys;
    return {{{sys.cntkctl_el1, counter - (el2 ? sys.cntvoff_el2 : 0)}, {el2 ? sys.cnthctl_el2 : 0, counter}}};
}

// Takes the Event Register, with what has been sent to it since it was last looked at.
bool take_event(TranslateState& t) {
    bool arrived = t.s.event_register;
    t.s.event_register = false;
    if (t.platform->take_event()) arrived = true;
    const auto streams = event_streams(t);
    for (std::size_t i = 0; i < streams.size(); ++i) {
        if (!streams[i].enabled() || streams[i].count() == t.stream_events[i]) continue;
        t.stream_events[i] = streams[i].count();
        arrived = true;
    }
    return arrived;
}

u64 nanoseconds_to_stream_event(const TranslateState& t) {
    constexpr u64 kSecond = 1'000'000'000;
    u64 nearest = ~u64{0};
    for (const EventStream& stream : event_streams(t)) {
        if (!stream.enabled()) continue;
        const u64 hz = std::max<u64>(t.platform->counter_hz(), 1);
        nearest = std::min(nearest, static_cast<u64>(static_cast<u128>(stream.distance()) * kSecond / hz));
    }
    return nearest;
}

u64 host_nanoseconds() {
    return static_cast<u64>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

// A PE that has marked memory waits for another one's store there, which nothing tells of: it goes on at once for a while,
// since most such waits are short, and then looks again after naps.
bool spins(TranslateState& t) {
    constexpr u64 kSpin = 20'000;  // nanoseconds
    const u64 now = host_nanoseconds();
    if (now - t.last_wait > kSpin) t.first_wait = now;
    t.last_wait = now;
    return now - t.first_wait < kSpin;
}

}  // namespace

LeaveReason wait_for_interrupt(TranslateState* t, u64 next) {
    if (wakes_up(*t)) return LeaveReason::None;
    if (const unsigned target = wait_trap(*t, false)) return raise(*t, Ec::WfxTrap, kConditionAlways, target);
    t->s.pc = next;
    t->s.activity = Activity::Halted;
    return LeaveReason::Halt;
}

// WFE may end for any reason, so a sleep has a limit and what ends it need not be told apart.
LeaveReason wait_for_event(TranslateState* t, u64) {
    constexpr u64 kLongest = 10'000'000, kNap = 50'000;  // nanoseconds
    if (take_event(*t)) return LeaveReason::None;
    if (const unsigned target = wait_trap(*t, true)) return raise(*t, Ec::WfxTrap, kConditionAlways | 1, target);
    if (interrupt_due(*t)) return LeaveReason::None;
    const bool marked = t->s.exclusive.address != ~u64{0};
    if (marked && spins(*t)) {
        spin_wait(t);
        return LeaveReason::None;
    }
    t->platform->sleep_until_event(std::min(nanoseconds_to_stream_event(*t), marked ? kNap : kLongest));
    if (marked) t->last_wait = host_nanoseconds();
    return LeaveReason::None;
}

void send_event(TranslateState* t, u32 local_only) {
    t->s.event_register = true;
    if (local_only == 0) t->platform->send_event();
}

}  // namespace tandem::cpu::arm64
