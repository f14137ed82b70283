// The PC's way to report x87 exceptions: the processor's FERR# raises IRQ 13, a write to port F0H (or F1H, which also resets
// a 387) lowers it again. (IBM PC AT Technical Reference, "Coprocessor"; Intel SDM volume 1, 8.7.2.)
#pragma once

#include <mutex>

#include "devices/fabric/address_space.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

struct FpuErrorState {
    static constexpr u32 kVersion = 1;
    bool asserted = false;
    void visit(auto& v) { v("asserted", asserted); }
};

// Any thread; its lock is taken before those of the interrupt controllers behind the line.
class FpuError final : public StatefulDevice<FpuErrorState>, public IoHandler {
public:
    // `line`: IRQ 13.
    explicit FpuError(IrqLine line) : line_(std::move(line)) {}

    // FERR# was asserted by a processor.
    void assert_error() { set(true); }

    u64 io_read(u64, unsigned) override { return 0xff; }
    void io_write(u64, u64, unsigned) override { set(false); }
    [[nodiscard]] std::string_view name() const override { return "fpu-error"; }
    void reset() override { set(false); }

private:
    void set(bool asserted) {
        std::lock_guard guard(lock_);
        asserted_ = asserted;
        line_.set(asserted);
    }
    FpuErrorState capture() const override {
        std::lock_guard guard(lock_);
        return {asserted_};
    }
    Result<void> apply(const FpuErrorState& state) override {
        set(state.asserted);
        return {};
    }

    mutable std::mutex lock_;
    IrqLine line_;
    bool asserted_ = false;
};

}  // namespace tandem::devices
