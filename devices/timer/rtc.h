// Real-time clock and CMOS memory MC146818A, with the century byte of PCs at 32H (Motorola MC146818A data sheet).
#pragma once

#include <array>
#include <memory>
#include <mutex>

#include "devices/fabric/address_space.h"
#include "devices/fabric/clock.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

struct RtcTime {
    u16 year = 1970;
    u8 month = 1, day = 1, hour = 0, minute = 0, second = 0, weekday = 1;  // weekday: 1 is Sunday
    void visit(auto& v) {
        v("year", year);
        v("month", month);
        v("day", day);
        v("hour", hour);
        v("minute", minute);
        v("second", second);
        v("weekday", weekday);
    }
    bool operator==(const RtcTime&) const = default;
};

// Seconds since 1970-01-01 and back. Fields out of range carry over (31 April is 1 May); 0 for dates before 1970.
u64 rtc_to_seconds(const RtcTime& time);
RtcTime rtc_from_seconds(u64 seconds);

struct RtcOptions {
    i64 offset_s = 0;            // what it shows at first, minus the host's time in UTC
    bool follows_host = true;    // also while the machine is stopped; otherwise its time is the machine's
    bool makes_up_ticks = true;  // periodic interrupts that the guest was too late for come later, faster than their period
};

struct RtcState {
    static constexpr u32 kVersion = 2;
    u8 index = 0;
    std::array<u8, 128> bytes{};  // alarms, status registers, NVRAM; the time registers' bytes are not used
    i64 offset_s = 0;             // this clock minus the host's wall clock
    u8 weekday_offset = 0;
    bool stopped = false;  // SET, or divider held in reset: `stopped_time` is the time
    RtcTime stopped_time;
    u64 last_second = 0;  // up to which update and alarm flags are accounted for
    bool follows_host = true;
    u64 base_ns = 0;  // wall-clock time at the machine's zero, when it does not follow the host's
    u32 backlog = 0;  // periodic interrupts to be made up
    void visit(auto& v) {
        v("index", index);
        v("bytes", bytes);
        v("offset_s", offset_s);
        v("weekday_offset", weekday_offset);
        v("stopped", stopped);
        v("stopped_time", stopped_time);
        v("last_second", last_second);
        v("follows_host", follows_host);
        v("base_ns", base_ns);
        v("backlog", backlog);
    }
};

class Rtc final : public StatefulDevice<RtcState>, public IoHandler {
public:
    static constexpr u64 kPorts = 2;  // index and data: 70H and 71H on a PC

    // `irq` follows IRQF: up until register C is read.
    Rtc(Clock& clock, IrqLine irq, const RtcOptions& options = {});

    u64 io_read(u64 offset, unsigned size) override;
    void io_write(u64 offset, u64 value, unsigned size) override;

    // What firmware or the board leaves in CMOS memory; index in 0EH..7FH, others are ignored. Survives reset().
    void set_nvram(u8 index, u8 value);
    [[nodiscard]] u8 nvram(u8 index) const;

    [[nodiscard]] std::string_view name() const override { return "rtc"; }
    // The clock and its memory run on a battery: only interrupt enables and flags are cleared.
    void reset() override;

private:
    RtcState capture() const override;
    Result<void> apply(const RtcState& state) override;

    u8 read_register(u8 index);
    void write_register(u8 index, u8 value);
    [[nodiscard]] RtcTime now() const;
    [[nodiscard]] u64 wall_ns() const;
    [[nodiscard]] u64 now_seconds() const;
    [[nodiscard]] u64 period_ns() const;
    [[nodiscard]] bool update_in_progress() const;
    [[nodiscard]] u8 encode(unsigned value) const;
    [[nodiscard]] unsigned decode(u8 value) const;
    [[nodiscard]] u8 encode_hour(unsigned hour) const;
    [[nodiscard]] unsigned decode_hour(u8 value) const;
    [[nodiscard]] u64 next_alarm(u64 after) const;
    void set_time(const RtcTime& time);
    void write_time_field(u8 index, u8 value);
    void write_control(u8 index, u8 value);
    [[nodiscard]] u64 periodic_tick() const;
    void account();
    void account_periods();
    void update();
    void schedule();

    Clock& clock_;
    IrqLine irq_;
    mutable std::mutex lock_;
    RtcState s_;
    const bool makes_up_ticks_;
    u64 last_interrupt_ns_ = 0;  // of the machine's time: the latest periodic one
    u64 last_tick_ = 0;          // periods up to which the periodic flag is accounted for
    std::unique_ptr<Timer> timer_;
};

}  // namespace tandem::devices
