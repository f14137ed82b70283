// A level-triggered line with several sources: up while any source is up.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "devices/fabric/interrupts.h"

namespace tandem::devices::pci {

// Copyable handle to one line; source() may be called any number of times during set-up.
class SharedLine {
public:
    SharedLine() = default;
    explicit SharedLine(IrqLine out) : core_(std::make_shared<Core>(std::move(out))) {}

    // A new source, initially down. The handle's level is its own: setting it twice counts once.
    [[nodiscard]] IrqLine source() const {
        if (!core_) return {};
        return IrqLine([core = core_, up = std::make_shared<bool>(false)](bool level) {
            std::lock_guard guard(core->lock);
            if (*up == level) return Delivery::Ignored;
            *up = level;
            core->count += level ? 1 : -1;
            return core->count == (level ? 1 : 0) ? core->out.set(level) : Delivery::Ignored;
        });
    }

private:
    struct Core {
        explicit Core(IrqLine line) : out(std::move(line)) {}
        std::mutex lock;  // held while `out` is driven, so that its edges keep their order
        int count = 0;
        IrqLine out;
    };
    std::shared_ptr<Core> core_;
};

}  // namespace tandem::devices::pci
