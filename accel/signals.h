// What other threads tell a vCPU: interrupt line, NMI, INIT, SIPI and exit requests. The part of contracts U1..U4 that every
// engine shares.
#pragma once

#include <atomic>

#include "base/types.h"

namespace tandem::accel {

// Any thread may set; the vCPU's thread takes. All operations are lock-free; wait() sleeps on a futex.
class SignalWord {
public:
    enum Bit : u32 {
        ExitRequest = 1u << 0,
        Interrupt = 1u << 1,  // the interrupt line is up (a level: take() leaves it)
        Nmi = 1u << 2,
        Init = 1u << 3,
        Sipi = 1u << 4,
    };
    static constexpr unsigned kSipiVectorShift = 8;  // bits 15:8 hold the last SIPI's vector

    void raise(u32 bits) {
        const u32 old = word_.fetch_or(bits);
        if ((old & bits) != bits) word_.notify_one();
    }
    void lower(u32 bits) { word_.fetch_and(~bits); }
    // Replaces the SIPI vector and raises Sipi.
    void raise_sipi(u8 vector);
    // Clears and returns those of `bits` that were set, with the SIPI vector when Sipi is among `bits`.
    u32 take(u32 bits);
    [[nodiscard]] u32 peek() const { return word_.load(); }
    // Sleeps until any of `bits` is set.
    void wait(u32 bits) const {
        for (u32 now = word_.load(); (now & bits) == 0; now = word_.load()) word_.wait(now);
    }

private:
    std::atomic<u32> word_{0};
};

}  // namespace tandem::accel
