// The host bridge of a root complex whose configuration window is fixed: an identity, nothing else.
#pragma once

#include "devices/pci/function.h"

namespace tandem::devices::pci {

struct GenericHostState {
    static constexpr u32 kVersion = 1;
    FunctionState function;
    void visit(auto& v) { v("function", function); }
};

class GenericHost final : public StatefulDevice<GenericHostState>, public PciFunction {
public:
    GenericHost();
    [[nodiscard]] std::string_view name() const override { return "pcie-host"; }
    void reset() override { reset_function(); }

private:
    [[nodiscard]] GenericHostState capture() const override { return {capture_function()}; }
    Result<void> apply(const GenericHostState& state) override;
};

}  // namespace tandem::devices::pci
