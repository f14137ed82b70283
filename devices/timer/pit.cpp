#include "devices/timer/pit.h"

#include <algorithm>

#include "base/bits.h"

namespace tandem::devices {
namespace {

constexpr u64 kSecond = 1'000'000'000;
// Shorter periods coalesce: the host's timers cannot serve them.
constexpr i64 kMinTicks = 24;  // 20 microseconds
constexpr u32 kMaxBacklog = 1000;
constexpr u64 kRefreshNs = 15'085;

constexpr u8 kOut2 = 0x20, kRefresh = 0x10;

u64 tick_to_ns(i64 tick) {
    // The first nanosecond in which now_tick() is `tick`.
    const u128 product = static_cast<u128>(static_cast<u64>(tick)) * kSecond;
    return static_cast<u64>((product + kPitHz - 1) / kPitHz);
}

u32 from_bcd(u16 raw) { return (raw >> 12) * 1000u + (raw >> 8 & 15) * 100u + (raw >> 4 & 15) * 10u + (raw & 15u); }
u16 to_bcd(u32 v) { return static_cast<u16>((v / 1000 % 10) << 12 | (v / 100 % 10) << 8 | (v / 10 % 10) << 4 | v % 10); }

bool periodic(unsigned mode) { return mode == 2 || mode == 3; }
bool triggered(unsigned mode) { return mode == 1 || mode == 5; }
i64 high_ticks(u32 period) { return (i64{period} + 1) / 2; }

}  // namespace

// --- One channel ----------------------------------------------------------------------------------------------------

unsigned PitChannel::mode() const {
    const unsigned m = s.control >> 1 & 7;
    return m > 5 ? m - 4 : m;  // 6 and 7 are 2 and 3
}

i64 PitChannel::elapsed(i64 tick) const {
    // Modes 0 and 4 stand still while the gate is low.
    const bool held = !s.gate && (mode() == 0 || mode() == 4);
    return held ? s.start_tick : std::max<i64>(tick - s.start_tick, 0);
}

bool PitChannel::out(i64 tick) const {
    const i64 e = elapsed(tick);
    switch (mode()) {
        case 0: return s.running && e >= s.period;
        case 1: return !s.running || e >= s.period;
        case 2: return !s.running || !s.gate || e % s.period != s.period - 1 || s.period == 1;
        case 3: return !s.running || !s.gate || e % s.period < high_ticks(s.period);
        default: return !s.running || e != s.period;
    }
}

i64 PitChannel::next_rise(i64 tick) const {
    if (!s.running) return kNone;
    const i64 e = elapsed(tick);
    if (periodic(mode())) {
        if (!s.gate) return kNone;
        if (s.next_period != 0) {
            const bool mid = mode() == 3 && (s.switch_tick - s.start_tick) % s.period == high_ticks(s.period);
            return std::max(tick + 1, s.switch_tick + (mid ? s.next_period - high_ticks(s.next_period) : 0));
        }
        return s.start_tick + (e / s.period + 1) * s.period;
    }
    if (!s.gate && !triggered(mode())) return kNone;
    const i64 at = s.start_tick + s.period + (mode() >= 4 ? 1 : 0);
    return at > tick ? at : kNone;
}

void PitChannel::advance(i64 tick) {
    if (!s.running || !s.gate || !periodic(mode())) return;
    if (s.next_period != 0 && tick >= s.switch_tick) {
        // The new count begins the half cycle that is due.
        const bool mid = mode() == 3 && (s.switch_tick - s.start_tick) % s.period == high_ticks(s.period);
        s.period = s.next_period;
        s.next_period = 0;
        s.start_tick = s.switch_tick - (mid ? high_ticks(s.period) : 0);
    }
    // While a new count waits, the cycle it was measured in stays the reference.
    if (s.next_period == 0) s.start_tick += elapsed(tick) / s.period * s.period;
}

void PitChannel::load(i64 tick) {
    s.period = s.reload;
    s.next_period = 0;
    s.running = true;
    // The count reaches the counting element with the next clock.
    const bool held = !s.gate && (mode() == 0 || mode() == 4);
    s.start_tick = held ? 0 : tick + 1;
}

void PitChannel::write_control(u8 value, i64) {
    s.control = value & 0x3f;
    s.programmed = s.running = false;
    s.next_period = 0;
    s.write_high_next = s.read_high_next = false;
    s.latched_bytes = 0;
    s.status_latched = false;
}

void PitChannel::write_count(u8 value, i64 tick) {
    const unsigned format = s.control >> 4 & 3;
    if (format == 3 && !s.write_high_next) {
        s.write_low = value;
        s.write_high_next = true;
        // The first byte of a two-byte count stops mode 0.
        if (mode() == 0) s.running = false;
        return;
    }
    const int raw = format == 1 ? value : format == 2 ? value << 8 : value << 8 | s.write_low;
    s.write_high_next = false;
    complete_count(static_cast<u16>(raw), tick);
}

void PitChannel::complete_count(u16 raw, i64 tick) {
    const bool bcd = bit(s.control, 0);
    s.reload = bcd ? from_bcd(raw) : raw;
    if (s.reload == 0) s.reload = bcd ? 10000 : 0x10000;
    s.programmed = true;
    if (triggered(mode())) return;
    if (!periodic(mode()) || !s.running) return load(tick);
    s.next_period = s.reload;
    const i64 e = elapsed(tick);
    const i64 cycle = s.start_tick + e / s.period * s.period;
    const i64 half = cycle + high_ticks(s.period);
    s.switch_tick = mode() == 3 && tick < half ? half : cycle + s.period;
}

u16 PitChannel::encode(i64 value) const {
    if (bit(s.control, 0)) return to_bcd(static_cast<u32>((value % 10000 + 10000) % 10000));
    return static_cast<u16>(value);
}

u16 PitChannel::count(i64 tick) const {
    if (!s.running) return encode(s.reload);
    const i64 e = elapsed(tick);
    const i64 n = s.period;
    if (mode() == 2) return encode(n - e % n);
    if (mode() != 3) return encode(n - e);
    // Counts by two, from an even number, once for each half.
    const i64 position = e % n;
    const i64 step = position < high_ticks(s.period) ? position : position - high_ticks(s.period);
    return encode(std::max<i64>((n & ~i64{1}) - 2 * step, 0));
}

void PitChannel::latch_count(i64 tick) {
    if (s.latched_bytes != 0) return;  // a second latch command before the first was read is ignored
    s.latched_count = count(tick);
    s.latched_bytes = (s.control >> 4 & 3) == 3 ? 2 : 1;
}

void PitChannel::latch_status(i64 tick) {
    if (s.status_latched) return;
    const bool null_count = !s.programmed || !s.running || s.next_period != 0 || (s.gate && s.start_tick > tick) ||
                            (triggered(mode()) && s.period != s.reload);
    s.latched_status = static_cast<u8>(s.control | (null_count ? 0x40 : 0) | (out(tick) ? 0x80 : 0));
    s.status_latched = true;
}

u8 PitChannel::read_count(i64 tick) {
    if (s.status_latched) {
        s.status_latched = false;
        return s.latched_status;
    }
    const unsigned format = s.control >> 4 & 3;
    const u16 value = s.latched_bytes != 0 ? s.latched_count : count(tick);
    if (s.latched_bytes != 0) --s.latched_bytes;
    bool high = format == 2;
    if (format == 3) {
        high = s.read_high_next;
        s.read_high_next = !high;
    }
    return static_cast<u8>(high ? value >> 8 : value);
}

void PitChannel::set_gate(bool level, i64 tick) {
    if (level == s.gate) return;
    const bool holds = mode() == 0 || mode() == 4;
    const i64 e = elapsed(tick);
    s.gate = level;
    if (holds) {
        s.start_tick = level ? tick - e : e;
    } else if (level && s.programmed) {
        load(tick);  // modes 1 and 5: the trigger; 2 and 3: synchronises
    }
}

// --- The chip -------------------------------------------------------------------------------------------------------

Pit::Pit(Clock& clock, IrqLine irq)
    : clock_(clock), irq_(std::move(irq)), timer_(clock.create_timer([this] { on_timer(); })) {
    reset();
}

void Pit::reset() {
    std::lock_guard guard(lock_);
    for (auto& c : channel_) c.s = {};
    channel_[2].s.gate = false;
    port61_value_ = 0;
    backlog_ = 0;
    const i64 tick = now_tick();
    schedule(tick);
    drive(tick);
}

i64 Pit::now_tick() const { return static_cast<i64>(mul_div(clock_.now_ns(), kPitHz, kSecond)); }

void Pit::drive(i64 tick) { irq_.set(channel_[0].s.programmed && channel_[0].out(tick)); }

void Pit::set_hosted(bool hosted) {
    std::lock_guard guard(lock_);
    hosted_ = hosted;
    schedule(now_tick());
}

void Pit::schedule(i64 tick) {
    if (hosted_) return timer_->arm(Timer::kNever);
    const PitChannel& c = channel_[0];
    rise_at_ = c.next_rise(tick);
    if (rise_at_ == PitChannel::kNone) {
        backlog_ = 0;
        timer_->arm(Timer::kNever);
        return;
    }
    i64 at = rise_at_;
    if (periodic(c.mode())) {
        // Short periods: skip to the first edge that is far enough away; what was owed comes in between.
        if (at - tick < kMinTicks) at += (kMinTicks - (at - tick) + c.s.period - 1) / c.s.period * c.s.period;
        if (backlog_ > 0) at = std::min(at, tick + std::max<i64>(c.s.period / 4, kMinTicks));
    }
    timer_->arm(tick_to_ns(at));
}

void Pit::on_timer() {
    std::lock_guard guard(lock_);
    const i64 tick = now_tick();
    PitChannel& c = channel_[0];
    const bool risen = rise_at_ != PitChannel::kNone && tick >= rise_at_;
    if (risen || backlog_ > 0) {
        const i64 missed = risen && periodic(c.mode()) ? (tick - rise_at_) / c.s.period : 0;
        const bool serviceable = c.s.period >= kMinTicks;
        irq_.set(false);
        const Delivery d = irq_.set(true);
        i64 owed = backlog_ + (risen ? 1 + missed : 0);
        if (d != Delivery::Coalesced) --owed;
        // Nobody listens: nothing is owed. Nor for periods that nobody could serve, nor for single shots.
        if (d == Delivery::Ignored || !serviceable || !periodic(c.mode())) owed = 0;
        backlog_ = static_cast<u32>(std::clamp<i64>(owed, 0, kMaxBacklog));
    }
    c.advance(tick);
    schedule(tick);
}

void Pit::write_control(u8 value, i64 tick) {
    const unsigned select = value >> 6;
    if (select == 3) {
        // Read-back command: bits 5 and 4 clear ask for count and status of the channels in bits 3:1.
        for (unsigned i = 0; i < 3; ++i) {
            if (!bit(value, i + 1)) continue;
            if (!bit(value, 5)) channel_[i].latch_count(tick);
            if (!bit(value, 4)) channel_[i].latch_status(tick);
        }
        return;
    }
    if ((value & 0x30) == 0) return channel_[select].latch_count(tick);
    channel_[select].write_control(value, tick);
    if (select == 0) backlog_ = 0;
}

u8 Pit::read_port(unsigned port) {
    std::lock_guard guard(lock_);
    if (port > 2) return 0xff;  // the control word register cannot be read
    const i64 tick = now_tick();
    channel_[port].advance(tick);
    return channel_[port].read_count(tick);
}

void Pit::write_port(unsigned port, u8 value) {
    std::lock_guard guard(lock_);
    const i64 tick = now_tick();
    for (auto& c : channel_) c.advance(tick);
    if (port == 3) {
        write_control(value, tick);
    } else {
        channel_[port].write_count(value, tick);
    }
    const bool latch_only = port == 3 && (value >> 6 == 3 || (value & 0x30) == 0);
    if (latch_only || (port != 0 && !(port == 3 && value >> 6 == 0))) return;
    drive(tick);
    schedule(tick);
}

u64 Pit::Ports::io_read(u64 offset, unsigned size) {
    u64 value = 0;
    for (unsigned i = 0; i < size && offset + i < kPorts; ++i) {
        value |= u64{pit.read_port(static_cast<unsigned>(offset + i))} << (8 * i);
    }
    return value;
}

void Pit::Ports::io_write(u64 offset, u64 value, unsigned size) {
    for (unsigned i = 0; i < size && offset + i < kPorts; ++i) {
        pit.write_port(static_cast<unsigned>(offset + i), static_cast<u8>(value >> (8 * i)));
    }
}

u64 Pit::ControlPort::io_read(u64, unsigned) {
    std::lock_guard guard(pit.lock_);
    const i64 tick = pit.now_tick();
    PitChannel& speaker = pit.channel_[2];
    speaker.advance(tick);
    const bool refresh = pit.clock_.now_ns() / kRefreshNs % 2 != 0;
    return static_cast<u64>(pit.port61_value_ | (refresh ? kRefresh : 0) | (speaker.out(tick) ? kOut2 : 0));
}

void Pit::ControlPort::io_write(u64, u64 value, unsigned) {
    std::lock_guard guard(pit.lock_);
    const i64 tick = pit.now_tick();
    pit.port61_value_ = value & 0xf;
    pit.channel_[2].advance(tick);
    pit.channel_[2].set_gate(bit(value, 0), tick);
}

PitState Pit::capture() const {
    std::lock_guard guard(lock_);
    PitState out;
    const i64 tick = now_tick();
    for (unsigned i = 0; i < 3; ++i) {
        PitChannel c = channel_[i];
        c.advance(tick);
        const bool held = !c.s.gate && (c.mode() == 0 || c.mode() == 4);
        if (!held) c.s.start_tick -= tick;
        c.s.switch_tick = c.s.next_period != 0 ? c.s.switch_tick - tick : 0;
        out.channel[i] = c.s;
    }
    out.port61 = port61_value_;
    out.backlog = backlog_;
    return out;
}

Result<void> Pit::apply(const PitState& state) {
    constexpr i64 kFar = i64{1} << 62;
    for (const auto& c : state.channel) {
        const bool counts =
            c.reload != 0 && c.reload <= 0x10000 && c.period != 0 && c.period <= 0x10000 && c.next_period <= 0x10000;
        const bool times = std::abs(c.start_tick) < kFar && std::abs(c.switch_tick) < kFar;
        if (!counts || !times || c.control > 0x3f || c.latched_bytes > 2) return corrupt("invalid channel state");
    }
    std::lock_guard guard(lock_);
    const i64 tick = now_tick();
    for (unsigned i = 0; i < 3; ++i) {
        PitChannel& c = channel_[i];
        c.s = state.channel[i];
        const bool held = !c.s.gate && (c.mode() == 0 || c.mode() == 4);
        if (!held) c.s.start_tick += tick;
        c.s.switch_tick += tick;
    }
    port61_value_ = state.port61 & 0xf;
    backlog_ = std::min(state.backlog, kMaxBacklog);
    schedule(tick);
    return {};
}

}  // namespace tandem::devices
