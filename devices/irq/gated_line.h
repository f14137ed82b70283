// A line that something else can take out of the circuit.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "devices/fabric/interrupts.h"

namespace tandem::devices {

// While closed the output is down; opened again, it shows the input's level. Copyable handle. Any thread.
class GatedLine {
public:
    GatedLine() = default;
    explicit GatedLine(IrqLine out) : core_(std::make_shared<Core>(std::move(out))) {}

    [[nodiscard]] IrqLine input() const {
        if (!core_) return {};
        return IrqLine([core = core_](bool level) {
            std::lock_guard guard(core->lock);
            core->level = level;
            return core->closed ? Delivery::Ignored : core->out.set(level);
        });
    }
    void set_closed(bool closed) const {
        if (!core_) return;
        std::lock_guard guard(core_->lock);
        if (core_->closed == closed) return;
        core_->closed = closed;
        if (core_->told) core_->told(closed);
        core_->out.set(!closed && core_->level);
    }
    // `told` hears of every change. Before the line is in use; must not come back.
    void on_change(std::function<void(bool closed)> told) const {
        if (core_) core_->told = std::move(told);
    }
    [[nodiscard]] bool closed() const {
        if (!core_) return false;
        std::lock_guard guard(core_->lock);
        return core_->closed;
    }
    [[nodiscard]] bool level() const {
        if (!core_) return false;
        std::lock_guard guard(core_->lock);
        return core_->level;
    }
    // After a restore: drives nothing.
    void restore(bool level, bool closed) const {
        if (!core_) return;
        std::lock_guard guard(core_->lock);
        core_->level = level;
        core_->closed = closed;
    }

private:
    struct Core {
        explicit Core(IrqLine line) : out(std::move(line)) {}
        std::mutex lock;  // held while `out` is driven, so that its edges keep their order
        bool level = false, closed = false;
        IrqLine out;
        std::function<void(bool)> told;
    };
    std::shared_ptr<Core> core_;
};

}  // namespace tandem::devices
