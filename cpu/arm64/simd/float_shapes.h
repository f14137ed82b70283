// Formats and shapes of the floating-point groups. Inside cpu/arm64/simd.
#pragma once

#include "cpu/arm64/simd/unit.h"

namespace tandem::cpu::arm64::simd {

using fpu::Env;
using fpu::Format;
using fpu::Rounding;

// "Scalar floating-point": bits 23:22.
constexpr Format scalar_format(u32 word) {
    const unsigned type = word >> 22 & 3;
    return type == 0 ? fpu::kSingle : type == 1 ? fpu::kDouble : fpu::kHalf;
}
// "Advanced SIMD three same" and its FP16 kind, which has bit 21 clear.
constexpr Format three_same_format(u32 word) {
    return !bit(word, 21) ? fpu::kHalf : bit(word, 22) ? fpu::kDouble : fpu::kSingle;
}
// "Advanced SIMD two-register miscellaneous" and its FP16 kind, which has bits 20:19 set.
constexpr Format two_register_format(u32 word) {
    return bit(word, 19) ? fpu::kHalf : bit(word, 22) ? fpu::kDouble : fpu::kSingle;
}
// "Vector x indexed element": size 00, 10, 11.
constexpr Format indexed_format(u32 word) {
    return !bit(word, 23) ? fpu::kHalf : bit(word, 22) ? fpu::kDouble : fpu::kSingle;
}
// Reductions and pairwise scalars: U = 0 is FP16.
constexpr Format reduction_format(u32 word) {
    return !is_u(word) ? fpu::kHalf : bit(word, 22) ? fpu::kDouble : fpu::kSingle;
}
// FCADD, FCMLA: size 01, 10, 11.
constexpr Format complex_format(u32 word) {
    return size_field(word) == 1 ? fpu::kHalf : size_field(word) == 2 ? fpu::kSingle : fpu::kDouble;
}

// What a conversion to an integer rounds by: bits of "two-register miscellaneous" in RMode's order, or the tie-away form.
constexpr Rounding conversion_rounding(u32 word) {
    if ((word >> 12 & 31) == 0b11100) return Rounding::TieAway;
    return static_cast<Rounding>((word >> 12 & 1) << 1 | (word >> 23 & 1));
}

}  // namespace tandem::cpu::arm64::simd
