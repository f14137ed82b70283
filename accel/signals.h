// What other threads tell a vCPU: interrupt lines, NMI, INIT, SIPI, power-on and exit requests. The part of contracts U1..U4
// that every engine shares.
#pragma once

#include <atomic>

#include "base/types.h"
#include "devices/fabric/interrupts.h"

namespace tandem::accel {

// Any thread may set; the vCPU's thread takes. All operations are lock-free; wait() sleeps on a futex, one thread at a time.
class SignalWord {
public:
    enum Bit : u32 {
        ExitRequest = 1u << 0,
        Interrupt = 1u << 1,  // INTR or IRQ is up (a level, as the other lines: never taken)
        Nmi = 1u << 2,
        Init = 1u << 3,
        Sipi = 1u << 4,
        PowerOn = 1u << 5,
        FastInterrupt = 1u << 16,
        VirtualInterrupt = 1u << 17,
        VirtualFastInterrupt = 1u << 18,
    };
    static constexpr unsigned kSipiVectorShift = 8;  // bits 15:8 hold the last SIPI's vector
    static constexpr Bit bit_of(devices::CpuLine line) {
        constexpr Bit kBits[] = {Interrupt, FastInterrupt, VirtualInterrupt, VirtualFastInterrupt};
        return kBits[static_cast<unsigned>(line)];
    }

    void raise(u32 bits) {
        const u32 old = word_.fetch_or(bits);
        if ((old & bits) != bits) wake();
    }
    void lower(u32 bits) { word_.fetch_and(~bits); }
    // Replaces the SIPI vector and raises Sipi.
    void raise_sipi(u8 vector);
    // Clears and returns those of `bits` that were set, with the SIPI vector when Sipi is among `bits`.
    u32 take(u32 bits);
    [[nodiscard]] u32 peek() const { return word_.load(); }
    // Sleeps until any of `bits` is set, or `limit_ns` nanoseconds of the host's monotonic clock have passed (kNoLimit:
    // without end).
    static constexpr u64 kNoLimit = ~u64{0};
    void wait(u32 bits, u64 limit_ns = kNoLimit) const;

private:
    void wake() {
        if (sleeping_.load()) wake_sleeper();
    }
    void wake_sleeper();

    std::atomic<u32> word_{0};
    mutable std::atomic<bool> sleeping_{false};
};

}  // namespace tandem::accel
