// The generic timers of all processors (Arm ARM, D11): the system counter, derived from the machine's clock, and what raises
// the timers' private interrupts when it reaches what the processors have programmed.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "devices/fabric/clock.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/state.h"
#include "devices/fabric/system_register.h"

namespace tandem::devices {

struct ArmTimersState {
    static constexpr u32 kVersion = 1;
    std::vector<u8> enabled;  // by processor, then by timer
    std::vector<u64> compare, offset;
    void visit(auto& v) {
        v("enabled", enabled);
        v("compare", compare);
        v("offset", offset);
    }
};

class ArmTimers final : public StatefulDevice<ArmTimersState> {
public:
    // CNTFRQ_EL0: a tick is 16 ns.
    static constexpr u64 kFrequency = 62'500'000;

    // `lines` by processor: the interrupt of each timer (ArmTimer).
    ArmTimers(Clock& clock, std::vector<std::array<IrqLine, kArmTimers>> lines);

    // CNTPCT_EL0. Any thread.
    [[nodiscard]] u64 counter() const { return clock_.now_ns() / kTickNs; }
    // The processor changed a timer. Any thread.
    void program(unsigned cpu, ArmTimer timer, const TimerSetting& setting);

    [[nodiscard]] std::string_view name() const override { return "arm-timers"; }
    void reset() override;

private:
    static constexpr u64 kTickNs = 1'000'000'000 / kFrequency;
    struct Unit {
        mutable std::mutex lock;  // guards the setting; held while the line is driven
        TimerSetting setting;
        IrqLine line;
        std::unique_ptr<Timer> timer;
    };

    [[nodiscard]] ArmTimersState capture() const override;
    Result<void> apply(const ArmTimersState& state) override;
    // Drives the line, and arms the timer for when that changes by itself. Lock held.
    void evaluate(Unit& unit);

    Clock& clock_;
    std::vector<std::unique_ptr<Unit>> units_;  // by processor, then by timer
};

}  // namespace tandem::devices
