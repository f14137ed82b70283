// Interrupt wiring. Lines carry levels; message interrupts carry address and data; the CPU side is two small interfaces.
#pragma once

#include <functional>
#include <utility>

#include "base/types.h"

namespace tandem::devices {

// From a local interrupt controller (or reset logic) to its processor. Implemented by the engine's vCPU.
// Any thread; must not block, must not call back.
class CpuSignals {
public:
    virtual ~CpuSignals() = default;
    // INTR: the controller has (or no longer has) an interrupt to deliver; wakes a halted processor.
    virtual void set_interrupt_line(bool level) = 0;
    virtual void raise_nmi() = 0;
    virtual void raise_init() = 0;
    virtual void raise_sipi(u8 vector) = 0;
};

// From a processor to its local interrupt controller. Called on the vCPU's thread.
class CpuInterruptController {
public:
    virtual ~CpuInterruptController() = default;
    // Whether INTR is up right now. Lock-free.
    [[nodiscard]] virtual bool interrupt_pending() const = 0;
    // Interrupt acknowledge: moves the highest-priority request into service and returns its vector, -1 when none.
    virtual int acknowledge() = 0;
    // Task priority as CR8 (4 bits; contract I7).
    [[nodiscard]] virtual u8 cr8() const = 0;
    virtual void set_cr8(u8 value) = 0;
};

// An input pin of an interrupt controller. Copyable handle; unconnected lines swallow. set() may be called from any thread.
class IrqLine {
public:
    using Sink = std::function<void(bool level)>;
    IrqLine() = default;
    explicit IrqLine(Sink sink) : sink_(std::move(sink)) {}
    void set(bool level) const {
        if (sink_) sink_(level);
    }
    void pulse() const {
        set(true);
        set(false);
    }
    [[nodiscard]] bool connected() const { return static_cast<bool>(sink_); }

private:
    Sink sink_;
};

// Message-signalled interrupts: a 4-byte write to `address` outside RAM. Any thread.
class MsiSink {
public:
    virtual ~MsiSink() = default;
    virtual void send_msi(u64 address, u32 data) = 0;
};

}  // namespace tandem::devices
