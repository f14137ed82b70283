// Seeded operands that meet the corner cases of floating point: NaNs of both kinds, infinities, zeroes, denormals, the ends
// of ranges, and the 80-bit encodings that are not numbers.
#pragma once

#include <random>

#include "cpu/x86/state.h"

namespace tandem::test {

class RandomOperands {
public:
    explicit RandomOperands(u64 seed) : engine_(seed) {}

    u64 bits() { return engine_(); }
    u64 below(u64 n) { return engine_() % n; }
    bool one_in(u64 n) { return below(n) == 0; }

    u32 real32() { return static_cast<u32>(real(23, 8, 127)); }
    u64 real64() { return real(52, 11, 1023); }

    cpu::x86::X87Reg real80() {
        const u64 top = u64{1} << 63;
        const u16 sign = static_cast<u16>(one_in(2) ? 0x8000 : 0);
        const auto exponent = [&](u64 e) { return static_cast<u16>(e | sign); };
        switch (below(14)) {
            case 0: return {0, sign};
            case 1: return {bits() >> 1, sign};                                     // denormal
            case 2: return {bits() | top, sign};                                    // pseudo-denormal
            case 3: return {top, exponent(0x7fff)};                                 // infinity
            case 4: return {bits() | top | top >> 1, exponent(0x7fff)};             // QNaN
            case 5: return {(bits() & (top / 2 - 1)) | top | 1, exponent(0x7fff)};  // SNaN
            case 6: return {bits() >> 1, exponent(below(0x7fff))};                  // unnormal
            case 7: return {bits() >> 1, exponent(0x7fff)};                         // pseudo-infinity, pseudo-NaN
            case 8: return {bits() | top, exponent(below(0x7fff))};                 // any magnitude
            case 9: return {bits() | top, exponent(16383 + below(64))};             // around the integers
            case 10: return {(bits() | top) & ~u64{0} << below(63), exponent(16383 + below(64))};
            case 11: return {bits() | top, exponent(below(3))};           // smallest normal numbers
            case 12: return {bits() | top, exponent(0x7ffc + below(3))};  // largest
            default: return {bits() | top, exponent(16383 - 8 + below(16))};
        }
    }

    // 64 bits of a vector register: singles, doubles, characters or anything.
    u64 lane(unsigned style) {
        switch (style) {
            case 0: return real32() | u64{real32()} << 32;
            case 1: return real64();
            case 2: {
                u64 v = 0;
                for (unsigned i = 0; i < 8; ++i) v = v << 8 | (one_in(10) ? 0 : 'a' + below(4));
                return v;
            }
            case 3: return one_in(3) ? below(80) : bits() & bits();
            default: return bits();
        }
    }

private:
    u64 real(unsigned fraction, unsigned exponent_bits, u64 bias) {
        const u64 ones = (u64{1} << exponent_bits) - 1;
        const u64 quiet = u64{1} << (fraction - 1);
        const u64 f = bits() & (2 * quiet - 1);
        const u64 sign = (one_in(2) ? u64{1} : 0) << (fraction + exponent_bits);
        const auto with = [&](u64 e, u64 m) { return sign | e << fraction | m; };
        switch (below(11)) {
            case 0: return with(0, 0);
            case 1: return with(0, f);                         // denormal
            case 2: return with(ones, 0);                      // infinity
            case 3: return with(ones, f | quiet);              // QNaN
            case 4: return with(ones, (f & (quiet - 1)) | 1);  // SNaN
            case 5: return with(1 + below(2), f);              // smallest normal numbers
            case 6: return with(ones - 1 - below(2), f);       // largest
            case 7: return with(bias + below(70), f & ~u64{0} << below(fraction));
            case 8: return with(bias, 0);
            case 9: return with(below(ones), f);
            default: return with(bias - 3 + below(6), f);
        }
    }

    std::mt19937_64 engine_;
};

}  // namespace tandem::test
