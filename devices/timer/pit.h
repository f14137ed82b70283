// Programmable interval timer 8254 and the PC's port 61H (Intel 8254 data sheet).
#pragma once

#include <array>
#include <memory>
#include <mutex>

#include "devices/fabric/address_space.h"
#include "devices/fabric/clock.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/pc_controllers.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

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

    // Something else runs the chip in place of this model, or no longer does: the state was restored. While no vCPU runs.
    void set_hosted(bool hosted);

    // As save() and restore(), for who exchanges state inside the program.
    [[nodiscard]] PitState save_typed() const { return capture(); }
    Result<void> restore_typed(const PitState& state) { return apply(state); }

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
    bool hosted_ = false;
    i64 rise_at_ = PitChannel::kNone;
    Ports ports_{*this};
    ControlPort port61_{*this};
    std::unique_ptr<Timer> timer_;
};

}  // namespace tandem::devices
