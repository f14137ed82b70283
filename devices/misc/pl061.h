// PL061 general-purpose input and output (Arm PrimeCell GPIO technical reference manual, DDI 0190B): eight pins. Pin
// kPowerKey is the power key; nothing is connected to the others.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "devices/fabric/address_space.h"
#include "devices/fabric/clock.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/register_bank.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

struct Pl061State {
    static constexpr u32 kVersion = 1;
    std::vector<u64> registers;
    u8 output = 0, input = 0, raised = 0;
    void visit(auto& v) {
        v("registers", registers);
        v("output", output);
        v("input", input);
        v("raised", raised);
    }
};

class Pl061 final : public StatefulDevice<Pl061State>, public IoHandler {
public:
    static constexpr u64 kFrameSize = 0x1000;
    static constexpr unsigned kPowerKey = 3;

    Pl061(Clock& clock, IrqLine irq);

    // Down now, up a tenth of a second later. Any thread.
    void press_power_key();

    u64 io_read(u64 offset, unsigned size) override;
    void io_write(u64 offset, u64 value, unsigned size) override;

    [[nodiscard]] std::string_view name() const override { return "pl061"; }
    void reset() override;

private:
    using Reg = Register<Pl061>;
    enum Row : std::size_t { kDirection, kSense, kBothEdges, kEvent, kEnable };
    static std::span<const Reg> rows();

    [[nodiscard]] Pl061State capture() const override;
    Result<void> apply(const Pl061State& state) override;

    u64 read_raw(const Reg&, u64 stored);
    u64 read_masked(const Reg&, u64 stored);
    void clear(const Reg&, u64 old, u64 written);

    void set_input(u8 input);
    [[nodiscard]] u8 pins() const;
    // Pins that are at the level which interrupts.
    [[nodiscard]] u8 levels() const;
    void update();

    Clock& clock_;
    IrqLine irq_;
    mutable std::mutex lock_;
    RegisterBank<Pl061> registers_;
    u8 output_ = 0, input_ = 0, raised_ = 0;
    std::unique_ptr<Timer> release_;
};

}  // namespace tandem::devices
