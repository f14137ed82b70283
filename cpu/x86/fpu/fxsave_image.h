// The 512-byte legacy region that FXSAVE and XSAVE share (SDM volume 1, table 10-2).
#pragma once

#include <array>

#include "cpu/x86/state.h"

namespace tandem::cpu::x86 {

struct LegacyRegion {
    static constexpr unsigned kMxcsr = 24;  // MXCSR, MXCSR_MASK
    static constexpr unsigned kSt = 32;     // ST0..ST7, 16 bytes each
    static constexpr unsigned kXmm = 160;   // XMM0..XMM15
    static constexpr unsigned kReserved = 416;
    static constexpr unsigned kAvailable = 464;  // software's: never written
    alignas(16) std::array<u8, 512> byte{};

    // `wide`: 64-bit pointers, else 32-bit ones with selectors.
    void put_x87(const X87& x, bool wide);
    void put_mxcsr(u32 mxcsr);
    void put_xmm(const State& s, unsigned count);

    void get_x87(X87& x, bool wide) const;
    [[nodiscard]] u32 mxcsr() const;
    void get_xmm(State& s, unsigned count) const;
};

}  // namespace tandem::cpu::x86
