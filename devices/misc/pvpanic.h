// pvpanic: a port, or a PCI function, through which a guest's kernel says that it has panicked (QEMU's documentation,
// docs/specs/pvpanic).
#pragma once

#include <functional>

#include "devices/fabric/address_space.h"
#include "devices/fabric/state.h"
#include "devices/pci/function.h"

namespace tandem::devices {

// One byte: reads say which events the device takes, a write is one of them.
class PanicPort final : public IoHandler {
public:
    static constexpr u8 kPanicked = 1, kCrashLoaded = 2;
    static constexpr u8 kEvents = kPanicked | kCrashLoaded;

    // Called on the vCPU's thread; `loaded`: the guest goes on in a kernel that saves its memory.
    explicit PanicPort(std::function<void(bool loaded)> panicked) : panicked_(std::move(panicked)) {}
    u64 io_read(u64 offset, unsigned) override { return offset == 0 ? kEvents : 0; }
    void io_write(u64 offset, u64 value, unsigned) override {
        if (offset != 0 || !panicked_) return;
        if ((value & kPanicked) != 0) {
            panicked_(false);
        } else if ((value & kCrashLoaded) != 0) {
            panicked_(true);
        }
    }

private:
    std::function<void(bool)> panicked_;
};

struct PanicFunctionState {
    static constexpr u32 kVersion = 1;
    pci::FunctionState function;
    void visit(auto& v) { v("function", function); }
};

// The same as a PCI function: the byte is the first of BAR 0.
class PanicFunction final : public StatefulDevice<PanicFunctionState>, public pci::PciFunction {
public:
    explicit PanicFunction(std::function<void(bool loaded)> panicked);
    [[nodiscard]] std::string_view name() const override { return "pvpanic-pci"; }
    void reset() override { reset_function(); }

private:
    PanicFunctionState capture() const override { return {capture_function()}; }
    Result<void> apply(const PanicFunctionState& state) override;

    PanicPort port_;
};

}  // namespace tandem::devices
