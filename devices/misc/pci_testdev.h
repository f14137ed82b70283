// pci-testdev: a PCI function with a memory and an I/O BAR that count writes (QEMU's documentation, docs/specs/pci-testdev).
#pragma once

#include <array>
#include <mutex>

#include "devices/fabric/state.h"
#include "devices/pci/function.h"

namespace tandem::devices {

struct PciTestDevState {
    static constexpr u32 kVersion = 1;
    pci::FunctionState function;
    std::array<u8, 2> test{};    // selected test of each BAR
    std::array<u32, 2> count{};  // writes it has seen
    void visit(auto& v) {
        v("function", function);
        v("test", test);
        v("count", count);
    }
};

class PciTestDev final : public StatefulDevice<PciTestDevState>, public pci::PciFunction {
public:
    PciTestDev();
    [[nodiscard]] std::string_view name() const override { return "pci-testdev"; }
    void reset() override;

private:
    PciTestDevState capture() const override;
    Result<void> apply(const PciTestDevState& state) override;

    struct Window final : IoHandler {
        Window(PciTestDev& o, unsigned i) : owner(o), index(i) {}
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
        PciTestDev& owner;
        unsigned index;
    };
    [[nodiscard]] std::array<u8, 64> header(unsigned window) const;

    mutable std::mutex lock_;  // guards what follows
    std::array<u8, 2> test_{};
    std::array<u32, 2> count_{};
    std::array<Window, 2> windows_{Window{*this, 0}, Window{*this, 1}};
};

}  // namespace tandem::devices
