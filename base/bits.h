// Bit-field arithmetic. All functions are pure and usable from any thread.
#pragma once

#include <concepts>
#include <type_traits>

#include "base/types.h"

namespace tandem {

// The low `count` bits set; count in 0..64.
constexpr u64 mask(unsigned count) { return count >= 64 ? ~u64{0} : (u64{1} << count) - 1; }

// Bits high..low (inclusive) of `value`, shifted down to bit 0. high in low..63.
constexpr u64 bits(u64 value, unsigned high, unsigned low) { return (value >> low) & mask(high - low + 1); }

constexpr bool bit(u64 value, unsigned index) { return ((value >> index) & 1) != 0; }

// `value` with bits high..low replaced by the low bits of `field`.
constexpr u64 with_bits(u64 value, unsigned high, unsigned low, u64 field) {
    const u64 m = mask(high - low + 1) << low;
    return (value & ~m) | ((field << low) & m);
}

// Sign-extends the low `width` bits (1..64) of `value`.
constexpr i64 sign_extend(u64 value, unsigned width) {
    const unsigned shift = 64 - width;
    return static_cast<i64>(value << shift) >> shift;
}

// `alignment` must be a power of two.
constexpr u64 align_down(u64 value, u64 alignment) { return value & ~(alignment - 1); }
constexpr u64 align_up(u64 value, u64 alignment) { return align_down(value + alignment - 1, alignment); }
constexpr bool is_aligned(u64 value, u64 alignment) { return (value & (alignment - 1)) == 0; }

}  // namespace tandem
