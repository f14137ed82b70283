// Interrupt wiring. Lines carry levels; message interrupts carry address and data; the CPU side is two small interfaces.
#pragma once

#include <concepts>
#include <functional>
#include <type_traits>
#include <utility>

#include "base/types.h"

namespace tandem::devices {

// Level-sensitive inputs of a processor.
enum class CpuLine : u8 {
    Interrupt,             // x86: INTR; Arm: IRQ
    FastInterrupt,         // Arm: FIQ
    VirtualInterrupt,      // Arm: virtual IRQ from the controller's list registers, beside HCR_EL2.VI
    VirtualFastInterrupt,  // Arm: virtual FIQ, beside HCR_EL2.VF
};

// From a local interrupt controller (or reset logic) to its processor. Implemented by the engine's vCPU.
// Any thread; must not block, must not call back. What an architecture does not have leads nowhere.
class CpuSignals {
public:
    virtual ~CpuSignals() = default;
    // The controller has (or no longer has) an interrupt to deliver; wakes a halted processor.
    virtual void set_line(CpuLine line, bool level) = 0;
    void set_interrupt_line(bool level) { set_line(CpuLine::Interrupt, level); }
    // x86
    virtual void raise_nmi() {}
    virtual void raise_init() {}
    virtual void raise_sipi(u8 /*vector*/) {}
    // Arm: a processor that is off goes through a cold reset and starts at `entry`, in the highest exception level it has,
    // with `context` in X0 (PSCI 1.1, 6.4). Nobody calls it for one that is on.
    virtual void power_on(u64 /*entry*/, u64 /*context*/) {}
};

// From a processor to its local interrupt controller where interrupts have vectors (x86). On Arm the guest asks the
// controller itself, and the processor sees nothing but its lines. Called on the vCPU's thread.
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
    // Around a sleep of the processor: its thread, which has nothing else to do, waits for the controller's timer in place
    // of the clock's thread, which need not wake for it. begin_sleep() answers after how many nanoseconds the sleep is
    // to end at the latest; end_sleep() does what is due by then.
    [[nodiscard]] virtual u64 begin_sleep() { return ~u64{0}; }
    virtual void end_sleep() {}
    // Around guest code that runs where an access to the controller is dear. offer_eoi(), behind acknowledge(): whether the
    // guest may end that interrupt by a bit in its memory now; take_eoi() comes before anything else asks the controller.
    [[nodiscard]] virtual bool offer_eoi() { return false; }
    virtual void take_eoi() {}
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
    // `requester`: who writes, as bus 15:8, slot 7:3 and function 2:0, which some controllers look at.
    virtual void send_msi(u64 address, u32 data, u16 requester) = 0;
};

}  // namespace tandem::devices
