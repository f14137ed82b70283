// Programmable interval timer 8254 and the PC's port 61H (Intel 8254 data sheet).
#pragma once

#include <array>
#include <memory>
#include <mutex>

#include "devices/fabric/address_space.h"
#include "devices/fabric/clock.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

constexpr u64 kPitHz = 1'193'182;

// Times are in ticks of the input clock. `age` fields are relative to the moment of saving.
struct PitChannelState {
    u8 control = 0x36;        // read/write, mode and BCD bits (5:0) of the last control word
    u32 reload = 0x10000;     // the count register as a number of ticks
    u32 period = 0x10000;     // the count that the counting element was loaded with
    u32 next_period = 0;      // modes 2 and 3: takes over at switch_tick; 0: none
    bool programmed = false;  // a count was written since the control word
    bool running = false;     // the counting element was loaded (modes 1 and 5: triggered)
    bool gate = true;
    i64 start_tick = 0;  // when the counting element was loaded; while the gate holds it: elapsed ticks
    i64 switch_tick = 0;
    u8 write_low = 0;
    bool write_high_next = false, read_high_next = false;
    u16 latched_count = 0;
    u8 latched_bytes = 0;  // of it, still to be read
    u8 latched_status = 0;
    bool status_latched = false;
    void visit(auto& v) {
        v("control", control);
        v("reload", reload);
        v("period", period);
        v("next_period", next_period);
        v("programmed", programmed);
        v("running", running);
        v("gate", gate);
        v("start_tick", start_tick);
        v("switch_tick", switch_tick);
        v("write_low", write_low);
        v("write_high_next", write_high_next);
        v("read_high_next", read_high_next);
        v("latched_count", latched_count);
        v("latched_bytes", latched_bytes);
        v("latched_status", latched_status);
        v("status_latched", status_latched);
    }
};

struct PitState {
    static constexpr u32 kVersion = 1;
    std::array<PitChannelState, 3> channel;
    u8 port61 = 0;
    u32 backlog = 0;
    void visit(auto& v) {
        v("channel", channel);
        v("port61", port61);
        v("backlog", backlog);
    }
};

// One channel of the chip, a function of time.
class PitChannel {
public:
    [[nodiscard]] unsigned mode() const;
    [[nodiscard]] bool out(i64 tick) const;
    // The first tick after `tick` at which OUT rises; kNone when it will not without further programming.
    [[nodiscard]] i64 next_rise(i64 tick) const;
    static constexpr i64 kNone = INT64_MAX;

    // Applies what happened up to `tick`; called before everything below.
    void advance(i64 tick);
    void write_control(u8 value, i64 tick);
    void write_count(u8 value, i64 tick);
    u8 read_count(i64 tick);
    void latch_count(i64 tick);
    void latch_status(i64 tick);
    void set_gate(bool level, i64 tick);

    PitChannelState s;

private:
    [[nodiscard]] i64 elapsed(i64 tick) const;
    [[nodiscard]] u16 count(i64 tick) const;
    [[nodiscard]] u16 encode(i64 value) const;
    void load(i64 tick);
    void complete_count(u16 raw, i64 tick);
};

// Channel 0 drives `irq` (OUT rising is the interrupt). Periodic interrupts that coalesced in the controller, or that the
// host was too late for, are injected later, faster than their period. Channel 1 only feeds the refresh bit, which follows
// the clock.
class Pit final : public StatefulDevice<PitState> {
public:
    static constexpr u64 kPorts = 4;

    Pit(Clock& clock, IrqLine irq);

    [[nodiscard]] IoHandler& ports() { return ports_; }          // four ports, 40H on a PC
    [[nodiscard]] IoHandler& control_port() { return port61_; }  // one port, 61H on a PC

    [[nodiscard]] std::string_view name() const override { return "pit"; }
    void reset() override;

private:
    PitState capture() const override;
    Result<void> apply(const PitState& state) override;

    struct Ports final : IoHandler {
        explicit Ports(Pit& p) : pit(p) {}
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
        Pit& pit;
    };
    struct ControlPort final : IoHandler {
        explicit ControlPort(Pit& p) : pit(p) {}
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
        Pit& pit;
    };

    [[nodiscard]] i64 now_tick() const;
    u8 read_port(unsigned port);
    void write_port(unsigned port, u8 value);
    void write_control(u8 value, i64 tick);
    void on_timer();
    void schedule(i64 tick);
    void drive(i64 tick);

    Clock& clock_;
    IrqLine irq_;
    mutable std::mutex lock_;
    std::array<PitChannel, 3> channel_;
    u8 port61_value_ = 0;
    u32 backlog_ = 0;
    i64 rise_at_ = PitChannel::kNone;
    Ports ports_{*this};
    ControlPort port61_{*this};
    std::unique_ptr<Timer> timer_;
};

}  // namespace tandem::devices
