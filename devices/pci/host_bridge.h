// Host bridge of the Q35 kind (Intel 3 Series Express Chipset datasheet, 5.1): identity and PCIEXBAR, the register that
// places the memory-mapped configuration window; PAM and SMRAM registers are stored for firmware that sets and reads them.
#pragma once

#include "devices/pci/root.h"

namespace tandem::devices::pci {

struct HostBridgeState {
    static constexpr u32 kVersion = 1;
    FunctionState function;
    void visit(auto& v) { v("function", function); }
};

class HostBridge final : public StatefulDevice<HostBridgeState>, public PciFunction {
public:
    explicit HostBridge(PcieRoot& root);

    // What firmware does early: PCIEXBAR enabled at `base` with 256 buses. `base` is a multiple of 256 MiB.
    void enable_window(u64 base);

    [[nodiscard]] std::string_view name() const override { return "mch"; }
    void reset() override;

protected:
    [[nodiscard]] HostBridgeState capture() const override { return {capture_function()}; }
    Result<void> apply(const HostBridgeState& state) override;
    void config_written(u16 offset, unsigned size) override;

private:
    void place_window();

    PcieRoot& root_;
    bool asked_for_smram_ = false;  // and has been told; under the root's lock
};

}  // namespace tandem::devices::pci
