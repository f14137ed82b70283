// Interrupt wiring. Lines carry levels; message interrupts carry address and data; the CPU side is two small interfaces.
#pragma once

#include <concepts>
#include <functional>
#include <type_traits>
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

// What became of an interrupt request (contract I8).
enum class Delivery : u8 {
    Delivered,  // the processor will see it
    Coalesced,  // merged with an earlier request that the processor has not taken yet
    Ignored,    // masked, disabled, nobody addressed, or the level did not change anything
};

// An input pin of an interrupt controller. Copyable handle; unconnected lines swallow. set() may be called from any thread.
class IrqLine {
public:
    using Sink = std::function<Delivery(bool level)>;
    IrqLine() = default;
    // `sink` is called with the level and returns a Delivery, or nothing (taken as Delivered).
    template <class F>
        requires std::invocable<F&, bool>
    explicit IrqLine(F sink) {
        if constexpr (std::is_void_v<std::invoke_result_t<F&, bool>>) {
            sink_ = [f = std::move(sink)](bool level) mutable {
                f(level);
                return Delivery::Delivered;
            };
        } else {
            sink_ = std::move(sink);
        }
    }
    Delivery set(bool level) const { return sink_ ? sink_(level) : Delivery::Ignored; }
    // An edge: up and down again. The answer is that of the rising edge.
    Delivery pulse() const {
        const Delivery d = set(true);
        set(false);
        return d;
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
