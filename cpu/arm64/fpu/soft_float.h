// Floating point after the Arm ARM's shared pseudocode (DDI 0487, J1.3 "shared/functions/float"), exact to the bit and to
// the cumulative flag: the slow path of lifted code, and the reference that the fast path is tested against. Integers only:
// the host's floating-point state is neither used nor changed.
//
// Values are the bit patterns of `format`, zero-extended. Every function is pure but for Env::status. Any thread.
#pragma once

#include "base/types.h"
#include "cpu/arm64/fpu/control.h"

namespace tandem::cpu::arm64::fpu {

struct Format {
    unsigned bits;
    unsigned fraction;

    [[nodiscard]] constexpr unsigned exponent() const { return bits - 1 - fraction; }
    [[nodiscard]] constexpr int min_exponent() const { return 2 - (1 << (exponent() - 1)); }
    [[nodiscard]] constexpr u64 mask() const { return bits == 64 ? ~u64{0} : (u64{1} << bits) - 1; }
    [[nodiscard]] constexpr u64 sign_bit() const { return u64{1} << (bits - 1); }
    [[nodiscard]] constexpr u64 fraction_mask() const { return (u64{1} << fraction) - 1; }
    [[nodiscard]] constexpr u64 quiet_bit() const { return u64{1} << (fraction - 1); }
    [[nodiscard]] constexpr u64 exponent_ones() const { return (u64{1} << exponent()) - 1; }
    [[nodiscard]] constexpr u64 zero(bool sign) const { return sign ? sign_bit() : 0; }
    [[nodiscard]] constexpr u64 infinity(bool sign) const { return zero(sign) | exponent_ones() << fraction; }
    [[nodiscard]] constexpr u64 max_normal(bool sign) const { return infinity(sign) - 1; }
    [[nodiscard]] constexpr u64 default_nan() const { return infinity(false) | quiet_bit(); }
    // 1.0 * 2^power.
    [[nodiscard]] constexpr u64 power_of_two(bool sign, int power) const {
        return zero(sign) | static_cast<u64>(power - min_exponent() + 1) << fraction;
    }
};
constexpr Format kHalf{16, 10};
constexpr Format kSingle{32, 23};
constexpr Format kDouble{64, 52};
// Of an element of so many bits.
constexpr Format format_of(unsigned bits) { return bits == 16 ? kHalf : bits == 32 ? kSingle : kDouble; }

// FPAbs, FPNeg: no NaN processing (FEAT_AFP is not implemented).
constexpr u64 abs(Format f, u64 a) { return a & ~f.sign_bit(); }
constexpr u64 neg(Format f, u64 a) { return a ^ f.sign_bit(); }

u64 add(Format f, u64 a, u64 b, Env& env);
u64 sub(Format f, u64 a, u64 b, Env& env);
u64 mul(Format f, u64 a, u64 b, Env& env);
u64 mulx(Format f, u64 a, u64 b, Env& env);
u64 div(Format f, u64 a, u64 b, Env& env);
u64 sqrt(Format f, u64 a, Env& env);
// addend + a * b, rounded once.
u64 mul_add(Format f, u64 addend, u64 a, u64 b, Env& env);
// FPMulAddH: a single-precision addend, half-precision factors.
u64 mul_add_half(u64 addend, u64 a, u64 b, Env& env);
u64 max(Format f, u64 a, u64 b, Env& env);
u64 min(Format f, u64 a, u64 b, Env& env);
u64 max_num(Format f, u64 a, u64 b, Env& env);
u64 min_num(Format f, u64 a, u64 b, Env& env);

// FPRecipEstimate, FPRSqrtEstimate, FPRecpX; FPRecipStepFused, FPRSqrtStepFused.
u64 recip_estimate(Format f, u64 a, Env& env);
u64 rsqrt_estimate(Format f, u64 a, Env& env);
u64 recip_exponent(Format f, u64 a, Env& env);
u64 recip_step(Format f, u64 a, u64 b, Env& env);
u64 rsqrt_step(Format f, u64 a, u64 b, Env& env);
// UnsignedRecipEstimate, UnsignedRSqrtEstimate.
u32 recip_estimate(u32 a);
u32 rsqrt_estimate(u32 a);

// FPCompare: NZCV in bits 3:0.
u32 compare(Format f, u64 a, u64 b, bool signal_nans, Env& env);
bool compare_eq(Format f, u64 a, u64 b, Env& env);
bool compare_ge(Format f, u64 a, u64 b, Env& env);
bool compare_gt(Format f, u64 a, u64 b, Env& env);

// FPConvert between formats.
u64 convert(Format to, Format from, u64 a, Rounding rounding, Env& env);
// FPToFixed: a * 2^fbits as an integer of `bits` (16, 32, 64), saturated; the result is truncated to `bits`.
u64 to_fixed(Format f, u64 a, unsigned fbits, bool is_unsigned, Rounding rounding, unsigned bits, Env& env);
// FixedToFP: the integer of `bits` (16, 32, 64) in `a`, divided by 2^fbits.
u64 from_fixed(Format f, u64 a, unsigned bits, unsigned fbits, bool is_unsigned, Env& env);
// FPToFixedJS: a double to an integer modulo 2^32; `exact` is PSTATE.Z.
u32 to_fixed_js(u64 a, bool& exact, Env& env);
// FPRoundInt; `exact`: a changed value is inexact.
u64 round_int(Format f, u64 a, Rounding rounding, bool exact, Env& env);
// FPRoundIntN: to an integral value within a signed integer of `int_bits` (32, 64).
u64 round_int_sized(Format f, u64 a, Rounding rounding, unsigned int_bits, Env& env);

}  // namespace tandem::cpu::arm64::fpu
