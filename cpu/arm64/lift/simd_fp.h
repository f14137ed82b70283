// Checks of floating-point results on the host, and element formats. Inside cpu/arm64/lift.
#pragma once

#include "cpu/arm64/lift/simd.h"

namespace tandem::cpu::arm64 {

// Single or double precision as operations of IR name them.
struct FpSize {
    bool wide;
    [[nodiscard]] unsigned bits() const { return wide ? 64 : 32; }
    [[nodiscard]] Type type() const { return wide ? Type::I64 : Type::I32; }
    [[nodiscard]] u64 sign() const { return u64{1} << (bits() - 1); }
    [[nodiscard]] u64 infinity() const { return wide ? u64{0x7ff} << 52 : u64{0xff} << 23; }
    [[nodiscard]] u64 smallest_normal() const { return wide ? u64{1} << 52 : u64{1} << 23; }
    [[nodiscard]] Op of(Op single, Op wide_op) const { return wide ? wide_op : single; }
    // The pattern of 2^power.
    [[nodiscard]] u64 power_of_two(unsigned power) const { return wide ? u64{1023 + power} << 52 : u64{127 + power} << 23; }
};

// What the host may have got wrong: a result that is a NaN (which one, its sign, default NaNs), and one at the smallest
// normal number (tininess is detected before rounding on Arm, after it on x86).
enum class Suspect { Nan, NanOrTiny, Tiny };

// 1 when lane 0 of `v` is suspect; when any lane is.
Value suspect_scalar(Lifter& l, Value v, FpSize size, Suspect what);
Value suspect_vector(Lifter& l, Value v, FpSize size, Suspect what);
// 1 when a bit of the mask vector is set at the top of a byte.
Value any_lane(Lifter& l, Value mask_vector);
// VFPExpandImm.
u64 expand_fp_immediate(u64 imm8, unsigned bits);

}  // namespace tandem::cpu::arm64
