#include "devices/timer/rtc.h"

#include <algorithm>

#include "base/bits.h"

namespace tandem::devices {
namespace {

constexpr u64 kSecond = 1'000'000'000;
constexpr u64 kDay = 86400;
constexpr u64 kNoAlarm = ~u64{0};
constexpr u32 kMaxBacklog = 4096;
constexpr u64 kUipNs = 244'141;  // 8 periods of 32768 Hz before the update (table "update cycle")

enum Index : u8 {
    kSeconds = 0,
    kSecondsAlarm = 1,
    kMinutes = 2,
    kMinutesAlarm = 3,
    kHours = 4,
    kHoursAlarm = 5,
    kWeekday = 6,
    kDayOfMonth = 7,
    kMonth = 8,
    kYear = 9,
    kA = 0xa,
    kB = 0xb,
    kC = 0xc,
    kD = 0xd,
    kCentury = 0x32
};

constexpr u8 kUip = 0x80, kRate = 0x0f, kDivider = 0x70, kDividerReset = 0x60;
constexpr u8 kSet = 0x80, kPie = 0x40, kAie = 0x20, kUie = 0x10, kBinary = 0x04, k24Hours = 0x02;
constexpr u8 kIrqf = 0x80, kPf = 0x40, kAf = 0x20, kUf = 0x10;

}  // namespace

// Civil calendar by days since 0000-03-01, in eras of 400 years.
u64 rtc_to_seconds(const RtcTime& t) {
    const i64 month0 = i64{t.month} - 1;
    const i64 year = i64{t.year} + (month0 >= 12 ? month0 / 12 : 0) - (month0 < 0 ? 1 : 0);
    const i64 month = (month0 + 12) % 12 + 1;
    const i64 y = year - (month <= 2 ? 1 : 0);
    const i64 era = y / 400;
    const i64 year_of_era = y - era * 400;
    const i64 day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + i64{t.day} - 1;
    const i64 day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    const i64 days = era * 146097 + day_of_era - 719468;
    const i64 seconds = days * static_cast<i64>(kDay) + i64{t.hour} * 3600 + i64{t.minute} * 60 + t.second;
    return static_cast<u64>(std::max<i64>(seconds, 0));
}

RtcTime rtc_from_seconds(u64 seconds) {
    const u64 days = seconds / kDay, rest = seconds % kDay;
    const u64 z = days + 719468;
    const u64 era = z / 146097;
    const u64 day_of_era = z - era * 146097;
    const u64 year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    const u64 day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const u64 shifted = (5 * day_of_year + 2) / 153;
    RtcTime t;
    t.day = static_cast<u8>(day_of_year - (153 * shifted + 2) / 5 + 1);
    t.month = static_cast<u8>(shifted < 10 ? shifted + 3 : shifted - 9);
    t.year = static_cast<u16>(year_of_era + era * 400 + (t.month <= 2 ? 1 : 0));
    t.hour = static_cast<u8>(rest / 3600);
    t.minute = static_cast<u8>(rest / 60 % 60);
    t.second = static_cast<u8>(rest % 60);
    t.weekday = static_cast<u8>((days + 4) % 7 + 1);  // 1970-01-01 was a Thursday
    return t;
}

Rtc::Rtc(Clock& clock, IrqLine irq, const RtcOptions& options)
    : clock_(clock), irq_(std::move(irq)), makes_up_ticks_(options.makes_up_ticks), timer_(clock.create_timer([this] {
          std::lock_guard guard(lock_);
          account();
          update();
      })) {
    s_.bytes[kA] = 0x26;  // 32768 Hz crystal, 1024 Hz periodic rate
    s_.bytes[kB] = k24Hours;
    s_.offset_s = options.offset_s;
    s_.follows_host = options.follows_host;
    if (!s_.follows_host) s_.base_ns = clock.wall_ns() - clock.now_ns();
    s_.last_second = now_seconds();
    reset();
}

void Rtc::reset() {
    std::lock_guard guard(lock_);
    s_.bytes[kB] &= static_cast<u8>(~(kPie | kAie | kUie));
    s_.bytes[kC] = 0;
    s_.backlog = 0;
    update();
}

void Rtc::set_nvram(u8 index, u8 value) {
    std::lock_guard guard(lock_);
    if (index > kD && index < s_.bytes.size() && index != kCentury) s_.bytes[index] = value;
}

u8 Rtc::nvram(u8 index) const {
    std::lock_guard guard(lock_);
    return index > kD && index < s_.bytes.size() ? s_.bytes[index] : u8{0};
}

u64 Rtc::wall_ns() const { return s_.follows_host ? clock_.wall_ns() : s_.base_ns + clock_.now_ns(); }

u64 Rtc::now_seconds() const {
    const i64 t = static_cast<i64>(wall_ns() / kSecond) + s_.offset_s;
    return static_cast<u64>(std::max<i64>(t, 0));
}

RtcTime Rtc::now() const {
    if (s_.stopped) return s_.stopped_time;
    RtcTime t = rtc_from_seconds(now_seconds());
    t.weekday = static_cast<u8>((t.weekday - 1u + s_.weekday_offset) % 7 + 1);
    return t;
}

bool Rtc::update_in_progress() const { return !s_.stopped && wall_ns() % kSecond >= kSecond - kUipNs; }

u64 Rtc::period_ns() const {
    const unsigned rate = s_.bytes[kA] & kRate;
    if (rate == 0) return 0;
    // Rates 1 and 2 are 256 and 128 Hz with the 32768 Hz crystal, as are 8 and 9.
    const unsigned shift = rate <= 2 ? rate + 6 : rate - 1;
    return kSecond * (u64{1} << shift) / 32768;
}

u8 Rtc::encode(unsigned value) const {
    if ((s_.bytes[kB] & kBinary) != 0) return static_cast<u8>(value);
    return static_cast<u8>((value / 10 % 10) << 4 | value % 10);
}
unsigned Rtc::decode(u8 value) const { return (s_.bytes[kB] & kBinary) != 0 ? value : (value >> 4) * 10u + (value & 15u); }
u8 Rtc::encode_hour(unsigned hour) const {
    if ((s_.bytes[kB] & k24Hours) != 0) return encode(hour);
    const unsigned twelve = hour % 12 == 0 ? 12 : hour % 12;
    return static_cast<u8>(encode(twelve) | (hour >= 12 ? 0x80 : 0));
}
unsigned Rtc::decode_hour(u8 value) const {
    if ((s_.bytes[kB] & k24Hours) != 0) return decode(value);
    return decode(value & 0x7f) % 12 + ((value & 0x80) != 0 ? 12 : 0);
}

// The first second after `after` that matches the alarm bytes; kNoAlarm when none can. 11xxxxxx does not care.
u64 Rtc::next_alarm(u64 after) const {
    const auto any = [](u8 v) { return v >= 0xc0; };
    const u8 hour = s_.bytes[kHoursAlarm], minute = s_.bytes[kMinutesAlarm], second = s_.bytes[kSecondsAlarm];
    const u64 midnight = after / kDay * kDay;
    for (unsigned h = 0; h < 48; ++h) {
        if (!any(hour) && decode_hour(hour) != h % 24) continue;
        if (midnight + (h + 1) * 3600 <= after) continue;
        for (unsigned m = 0; m < 60; ++m) {
            const u64 start = midnight + h * 3600 + m * 60;
            if ((!any(minute) && decode(minute) != m) || start + 60 <= after) continue;
            const u64 first = after >= start ? after - start + 1 : 0;
            const u64 s = any(second) ? first : decode(second);
            if (s >= first && s < 60) return start + s;
        }
    }
    return kNoAlarm;
}

u64 Rtc::periodic_tick() const {
    const u64 period = period_ns();
    return period == 0 ? 0 : clock_.now_ns() / period;
}

// An interrupt that found the one before unanswered, or that the host was too late for, is made up half a period after the
// latest (contract I8).
void Rtc::account_periods() {
    u8& c = s_.bytes[kC];
    const u64 now_ns = clock_.now_ns();
    const u64 ticks = periodic_tick() - last_tick_;
    last_tick_ += ticks;
    const bool counts = makes_up_ticks_ && (s_.bytes[kB] & kPie) != 0;
    if (!counts) s_.backlog = 0;
    if (ticks != 0) {
        const u64 missed = (c & kPf) != 0 ? ticks : ticks - 1;
        if (counts) s_.backlog = static_cast<u32>(std::min<u64>(s_.backlog + missed, kMaxBacklog));
    } else if (s_.backlog == 0 || (c & kPf) != 0 || now_ns < last_interrupt_ns_ + period_ns() / 2) {
        return;
    } else {
        --s_.backlog;
    }
    c |= kPf;
    last_interrupt_ns_ = now_ns;
}

// Sets the flags for everything that happened since the last call.
void Rtc::account() {
    account_periods();
    if (s_.stopped) return;
    const u64 second = now_seconds();
    if (second > s_.last_second) {
        s_.bytes[kC] |= kUf;
        if (next_alarm(s_.last_second) <= second) s_.bytes[kC] |= kAf;
    }
    s_.last_second = second;
}

void Rtc::update() {
    u8& c = s_.bytes[kC];
    const bool irq = (c & s_.bytes[kB] & (kPie | kAie | kUie)) != 0;
    c = static_cast<u8>((c & ~kIrqf) | (irq ? kIrqf : 0));
    irq_.set(irq);
    schedule();
}

void Rtc::schedule() {
    const u64 now_ns = clock_.now_ns();
    const u8 enabled = static_cast<u8>(s_.bytes[kB] & ~s_.bytes[kC]);
    u64 deadline = Timer::kNever;
    if (const u64 period = period_ns(); (enabled & kPie) != 0 && period != 0) {
        deadline = (last_tick_ + 1) * period;
        if (s_.backlog != 0) deadline = std::min(deadline, last_interrupt_ns_ + period / 2);
    }
    // The alarm is looked at every second, so that a step of the host's clock cannot make it late.
    if ((enabled & (kUie | kAie)) != 0 && !s_.stopped) {
        deadline = std::min(deadline, now_ns + kSecond - wall_ns() % kSecond);
    }
    timer_->arm(deadline);
}

void Rtc::set_time(const RtcTime& time) {
    if (s_.stopped) {
        s_.stopped_time = time;
        return;
    }
    const u64 seconds = rtc_to_seconds(time);
    s_.offset_s = static_cast<i64>(seconds) - static_cast<i64>(wall_ns() / kSecond);
    s_.weekday_offset = static_cast<u8>((time.weekday + 7u - rtc_from_seconds(seconds).weekday) % 7);
    s_.last_second = seconds;
}

void Rtc::write_time_field(u8 index, u8 value) {
    RtcTime t = now();
    const auto field = static_cast<u8>(decode(value));
    switch (index) {
        case kSeconds: t.second = field; break;
        case kMinutes: t.minute = field; break;
        case kHours: t.hour = static_cast<u8>(decode_hour(value)); break;
        case kWeekday: t.weekday = static_cast<u8>(field % 7 == 0 ? 7 : field % 7); break;
        case kDayOfMonth: t.day = field; break;
        case kMonth: t.month = field; break;
        case kYear: t.year = static_cast<u16>(t.year / 100 * 100 + field); break;
        default: t.year = static_cast<u16>(field * 100 + t.year % 100); break;
    }
    set_time(t);
}

void Rtc::write_control(u8 index, u8 value) {
    if (index == kA) {
        s_.bytes[kA] = value & static_cast<u8>(~kUip);
        last_tick_ = periodic_tick();
    } else {
        // Setting SET clears UIE.
        s_.bytes[kB] = static_cast<u8>((value & kSet) != 0 ? value & ~kUie : value);
    }
    const bool stop = (s_.bytes[kB] & kSet) != 0 || (s_.bytes[kA] & kDivider) >= kDividerReset;
    if (stop == s_.stopped) return;
    const RtcTime t = now();
    s_.stopped = stop;
    set_time(t);
}

u8 Rtc::read_register(u8 index) {
    const RtcTime t = now();
    switch (index) {
        case kSeconds: return encode(t.second);
        case kMinutes: return encode(t.minute);
        case kHours: return encode_hour(t.hour);
        case kWeekday: return encode(t.weekday);
        case kDayOfMonth: return encode(t.day);
        case kMonth: return encode(t.month);
        case kYear: return encode(t.year % 100u);
        case kCentury: return encode(t.year / 100u);
        case kA: return static_cast<u8>(s_.bytes[kA] | (update_in_progress() ? kUip : 0));
        case kC: {
            const u8 value = s_.bytes[kC];
            s_.bytes[kC] = 0;
            return value;
        }
        case kD: return 0x80;  // the battery is good
        default: return s_.bytes[index];
    }
}

void Rtc::write_register(u8 index, u8 value) {
    switch (index) {
        case kSeconds:
        case kMinutes:
        case kHours:
        case kWeekday:
        case kDayOfMonth:
        case kMonth:
        case kYear:
        case kCentury: write_time_field(index, value); break;
        case kA:
        case kB: write_control(index, value); break;
        case kC:
        case kD: break;
        default: s_.bytes[index] = value; break;
    }
}

u64 Rtc::io_read(u64 offset, unsigned size) {
    std::lock_guard guard(lock_);
    u64 value = 0;
    for (unsigned i = 0; i < size; ++i) {
        u8 byte = 0xff;  // the index register cannot be read
        if (offset + i == 1) {
            account();
            update();
            byte = read_register(s_.index);
            update();
        }
        value |= u64{byte} << (8 * i);
    }
    return value;
}

void Rtc::io_write(u64 offset, u64 value, unsigned size) {
    std::lock_guard guard(lock_);
    for (unsigned i = 0; i < size; ++i) {
        const auto byte = static_cast<u8>(value >> (8 * i));
        if (offset + i == 0) s_.index = byte & 0x7f;  // bit 7 masks NMI on PCs
        if (offset + i == 1) {
            account();
            write_register(s_.index, byte);
            update();
        }
    }
}

RtcState Rtc::capture() const {
    std::lock_guard guard(lock_);
    RtcState s = s_;
    if (periodic_tick() != last_tick_) s.bytes[kC] |= kPf;
    return s;
}

Result<void> Rtc::apply(const RtcState& state) {
    if (state.index > 0x7f || state.weekday_offset > 6) return corrupt("index or weekday out of range");
    constexpr i64 kMaxOffset = i64{1} << 40;
    if (state.offset_s > kMaxOffset || state.offset_s < -kMaxOffset) return corrupt("time offset out of range");
    if (state.backlog > kMaxBacklog) return corrupt("too many interrupts to be made up");
    std::lock_guard guard(lock_);
    if (state.follows_host != s_.follows_host) return corrupt("saved with another -rtc clock=");
    s_ = state;
    last_interrupt_ns_ = clock_.now_ns();
    last_tick_ = periodic_tick();
    schedule();
    return {};
}

}  // namespace tandem::devices
