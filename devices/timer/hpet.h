// High precision event timer (IA-PC HPET Specification 1.0a): a 64-bit counter at 100 MHz and three comparators, all
// periodic.
#pragma once

#include <array>
#include <memory>
#include <mutex>

#include "devices/fabric/address_space.h"
#include "devices/fabric/clock.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/state.h"
#include "devices/irq/gated_line.h"

namespace tandem::devices {

struct HpetTimerState {
    u64 config = 0;  // the writable bits
    u64 comparator = ~u64{0};
    u64 period = ~u64{0};
    u64 fsb_route = 0;
    void visit(auto& v) {
        v("config", config);
        v("comparator", comparator);
        v("period", period);
        v("fsb_route", fsb_route);
    }
};

struct HpetState {
    static constexpr u32 kVersion = 1;
    u64 config = 0;
    u64 status = 0;
    u64 counter = 0;  // at the moment of saving
    std::array<HpetTimerState, 3> timer;
    bool pit_level = false, rtc_level = false;  // of the lines that legacy replacement takes over
    void visit(auto& v) {
        v("config", config);
        v("status", status);
        v("counter", counter);
        v("timer", timer);
        v("pit_level", pit_level);
        v("rtc_level", rtc_level);
    }
};

class Hpet final : public StatefulDevice<HpetState>, public IoHandler {
public:
    static constexpr u64 kWindow = 1024;
    static constexpr unsigned kTimers = 3;
    static constexpr u64 kNsPerTick = 10;
    static constexpr u32 kBlockId = 0x8086a201;  // low half of the capabilities, which the ACPI table repeats
    static constexpr u16 kMinimumTick = 128;     // of periodic timers, for the ACPI table

    struct Wiring {
        std::array<IrqLine, 2> legacy;  // timers 0 and 1 with legacy replacement: ISA interrupts 0 and 8
        GatedLine pit, rtc;             // closed meanwhile
        std::array<IrqLine, 32> input;  // I/O APIC inputs; those that are connected can be chosen
        MsiSink* messages = nullptr;    // outlives the device; null: no interrupt messages
    };
    Hpet(Clock& clock, Wiring wiring);

    // 32-bit and 64-bit accesses within a register (2.3.2); narrower ones are parts of these.
    u64 io_read(u64 offset, unsigned size) override;
    void io_write(u64 offset, u64 value, unsigned size) override;

    [[nodiscard]] std::string_view name() const override { return "hpet"; }
    void reset() override;

private:
    HpetState capture() const override;
    Result<void> apply(const HpetState& state) override;

    [[nodiscard]] bool enabled() const { return (s_.config & 1) != 0; }
    [[nodiscard]] u64 counter() const;
    [[nodiscard]] u64 read_register(u64 offset) const;
    void write_register(u64 offset, u64 value, u64 changed);
    void write_config(u64 value);
    void write_timer_config(unsigned n, u64 value);
    void write_comparator(unsigned n, u64 value, u64 changed);
    [[nodiscard]] u64 capabilities(unsigned n) const;
    // Ticks from `now` until comparator `n` matches, 0 when it does now.
    [[nodiscard]] u64 distance(unsigned n, u64 now) const;
    void catch_up();
    void fire(unsigned n);
    [[nodiscard]] IrqLine line_of(unsigned n) const;
    [[nodiscard]] bool raised(unsigned n) const;
    void drive(unsigned n, bool level);
    void schedule();

    Clock& clock_;
    const Wiring wiring_;
    u32 inputs_ = 0;           // those that can be chosen
    mutable std::mutex lock_;  // guards what follows; held while lines are driven, so that their edges keep their order
    HpetState s_;              // `counter`: its value at start_tick_, or where it stands
    u64 start_tick_ = 0;
    u64 seen_ = 0;  // the counter up to which comparators have been looked at
    std::unique_ptr<Timer> timer_;
};

}  // namespace tandem::devices
