// ACPI fixed hardware: PM1 event and control blocks, PM timer, general-purpose events (ACPI specification 6.5, 4.8).
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include "devices/fabric/address_space.h"
#include "devices/fabric/clock.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/register_bank.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

struct AcpiPmState {
    static constexpr u32 kVersion = 1;
    u16 pm1_status = 0, pm1_enable = 0, pm1_control = 0;
    u32 gpe_status = 0, gpe_enable = 0;
    u64 timer_ticks = 0;
    void visit(auto& v) {
        v("pm1_status", pm1_status);
        v("pm1_enable", pm1_enable);
        v("pm1_control", pm1_control);
        v("gpe_status", gpe_status);
        v("gpe_enable", gpe_enable);
        v("timer_ticks", timer_ticks);
    }
};

// The machine is always in ACPI mode: SCI_EN reads as 1 and there is no SMI_CMD port (FADT.SMI_CMD is 0).
class AcpiPm final : public StatefulDevice<AcpiPmState>, public IoHandler {
public:
    // Layout of the register region, for the FADT.
    static constexpr u64 kPorts = 0x40;
    static constexpr u64 kPm1Event = 0x00;    // PM1_EVT_LEN is 4: status, enable
    static constexpr u64 kPm1Control = 0x04;  // PM1_CNT_LEN is 2
    static constexpr u64 kTimer = 0x08;       // 24 bits, 3.579545 MHz (TMR_VAL_EXT is 0)
    static constexpr u64 kGpe0 = 0x20;        // GPE0_BLK_LEN is 8: 32 status bits, 32 enable bits
    static constexpr u64 kSmiEnable = 0x30;   // ICH9's SMI_EN
    static constexpr u64 kTimerHz = 3'579'545;

    // `sci` is level triggered. `sleep` gets SLP_TYP (0..7) when the guest sets SLP_EN; called on the vCPU's thread without
    // locks.
    AcpiPm(Clock& clock, IrqLine sci, std::function<void(unsigned slp_typ)> sleep);

    // Any thread.
    void press_power_button();
    void raise_gpe(unsigned event);  // 0..31

    u64 io_read(u64 offset, unsigned size) override;
    void io_write(u64 offset, u64 value, unsigned size) override;

    [[nodiscard]] std::string_view name() const override { return "acpi-pm"; }
    void reset() override;

private:
    AcpiPmState capture() const override;
    Result<void> apply(const AcpiPmState& state) override;

    using Row = Register<AcpiPm>;
    static std::span<const Row> rows();
    u64 read_timer(const Row& row, u64 stored);
    void control_written(const Row& row, u64 old, u64 written);

    [[nodiscard]] u64 ticks() const;
    void account_timer();
    void update();

    Clock& clock_;
    IrqLine sci_;
    std::function<void(unsigned)> sleep_;
    mutable std::mutex lock_;
    RegisterBank<AcpiPm> regs_;
    u64 tick_offset_ = 0;
    u64 carries_ = 0;  // toggles of the timer's top bit that TMR_STS accounts for
    int sleep_request_ = -1;
    std::unique_ptr<Timer> timer_;
};

}  // namespace tandem::devices
