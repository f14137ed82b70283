#include "devices/timer/arm_timers.h"

namespace tandem::devices {

ArmTimers::ArmTimers(Clock& clock, std::vector<std::array<IrqLine, kArmTimers>> lines) : clock_(clock) {
    for (auto& cpu : lines) {
        for (IrqLine& line : cpu) {
            auto unit = std::make_unique<Unit>();
            unit->line = std::move(line);
            unit->timer = clock.create_timer([this, u = unit.get()] {
                std::lock_guard guard(u->lock);
                evaluate(*u);
            });
            units_.push_back(std::move(unit));
        }
    }
}

void ArmTimers::program(unsigned cpu, ArmTimer timer, const TimerSetting& setting) {
    Unit& unit = *units_[cpu * kArmTimers + static_cast<unsigned>(timer)];
    std::lock_guard guard(unit.lock);
    unit.setting = setting;
    evaluate(unit);
}

void ArmTimers::evaluate(Unit& unit) {
    const TimerSetting& s = unit.setting;
    const u64 now = counter(), elapsed = now - s.offset;
    const bool up = s.enabled && elapsed >= s.compare;
    // What lies beyond the clock's range is never reached.
    constexpr u64 kReach = Timer::kNever / kTickNs;
    const u64 left = s.compare - elapsed;
    const bool waits = s.enabled && !up && left < kReach - now;
    unit.timer->arm(waits ? (now + left) * kTickNs : Timer::kNever);
    unit.line.set(up);
}

void ArmTimers::reset() {
    for (auto& unit : units_) {
        std::lock_guard guard(unit->lock);
        unit->setting = {};
        evaluate(*unit);
    }
}

ArmTimersState ArmTimers::capture() const {
    ArmTimersState s;
    for (const auto& unit : units_) {
        std::lock_guard guard(unit->lock);
        s.enabled.push_back(unit->setting.enabled ? 1 : 0);
        s.compare.push_back(unit->setting.compare);
        s.offset.push_back(unit->setting.offset);
    }
    return s;
}

Result<void> ArmTimers::apply(const ArmTimersState& s) {
    if (s.enabled.size() != units_.size() || s.compare.size() != units_.size() || s.offset.size() != units_.size()) {
        return corrupt(fmt::format("state of {} timers for {}", s.enabled.size(), units_.size()));
    }
    for (std::size_t i = 0; i < units_.size(); ++i) {
        std::lock_guard guard(units_[i]->lock);
        units_[i]->setting = {s.enabled[i] != 0, s.compare[i], s.offset[i]};
        evaluate(*units_[i]);
    }
    return {};
}

}  // namespace tandem::devices
