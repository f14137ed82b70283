// I/O APIC 82093AA, version 20H with the EOI register of later parts (24 pins).
#pragma once

#include <array>
#include <mutex>

#include "devices/fabric/address_space.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/pc_controllers.h"
#include "devices/fabric/state.h"
#include "devices/irq/apic_bus.h"

namespace tandem::devices {

// Pins carry logical levels: true is asserted, whatever the polarity bit of an entry says. An edge while masked is lost, as
// the data sheet has it. Lines and EOI come from any thread; the IOAPIC's own lock serialises them (contract I8).
class Ioapic final : public StatefulDevice<IoapicState>, public IoHandler, public EoiListener {
public:
    static constexpr unsigned kPins = 24;
    static constexpr u64 kRegisterPage = 0x1000;

    // Attaches itself to `bus`, which outlives it.
    explicit Ioapic(ApicBus& bus);

    // pin < 24, else Ignored. Coalesced: the previous edge, or this level, is still being served.
    Delivery set_pin(unsigned pin, bool level);
    [[nodiscard]] IrqLine line(unsigned pin) {
        return IrqLine([this, pin](bool level) { return set_pin(pin, level); });
    }

    u64 io_read(u64 offset, unsigned size) override;
    void io_write(u64 offset, u64 value, unsigned size) override;
    void end_of_interrupt(u8 vector) override;

    // As save() and restore(), for who exchanges state inside the program.
    [[nodiscard]] IoapicState save_typed() const { return capture(); }
    Result<void> restore_typed(const IoapicState& state) { return apply(state); }

    [[nodiscard]] std::string_view name() const override { return "ioapic"; }
    void reset() override;

private:
    IoapicState capture() const override;
    Result<void> apply(const IoapicState& state) override;

    [[nodiscard]] u32 read_register(u8 index) const;
    void write_register(u8 index, u32 value);
    Delivery serve(unsigned pin);
    void end_of_interrupt_locked(u8 vector);

    ApicBus& bus_;
    mutable std::mutex lock_;
    IoapicState s_;
};

}  // namespace tandem::devices
