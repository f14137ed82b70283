// LPC bridge of the ICH9 kind (Intel I/O Controller Hub 9 datasheet, 13.1): places the ACPI power-management ports and
// routes PIRQA#..PIRQH# to the 8259 pair. The I/O APIC's inputs 16..23 get the same lines unrouted (10.1.58.9).
#pragma once

#include "devices/pci/root.h"

namespace tandem::devices::pci {

struct LpcBridgeState {
    static constexpr u32 kVersion = 1;
    FunctionState function;
    void visit(auto& v) { v("function", function); }
};

class LpcBridge final : public StatefulDevice<LpcBridgeState>, public PciFunction {
public:
    struct Wiring {
        AddressSpace* io = nullptr;
        IoHandler* pm = nullptr;      // the 128 power-management ports at PMBASE
        std::array<IrqLine, 16> pic;  // 8259 inputs a PIRQ may be routed to
        std::array<IrqLine, kPirqs> gsi;
    };
    explicit LpcBridge(Wiring wiring);

    // The root drives PIRQ `index` through this line; valid as long as the bridge.
    IrqLine pirq_input(unsigned index) {
        return IrqLine([this, index](bool level) { set_pirq(index, level); });
    }
    // What firmware does early: power-management ports enabled at `base` (a multiple of 128).
    void enable_pm(u16 base);

    [[nodiscard]] std::string_view name() const override { return "lpc"; }
    void reset() override;

protected:
    [[nodiscard]] LpcBridgeState capture() const override { return {capture_function()}; }
    Result<void> apply(const LpcBridgeState& state) override;
    void config_written(u16 offset, unsigned size) override;

private:
    void set_pirq(unsigned index, bool level);
    void place_pm();
    void reroute();
    void drive_pic();

    Wiring wiring_;
    u64 pm_base_ = 0;  // 0: not decoded
    std::mutex lock_;  // guards what follows, and keeps the outputs' edges in order
    std::array<bool, kPirqs> level_{};
    std::array<u8, kPirqs> route_{};
    u16 driven_ = 0;  // 8259 inputs held up from here
};

}  // namespace tandem::devices::pci
