// Inside the exact floating-point functions: unpacked operands and the one rounding step.
#pragma once

#include <bit>

#include "cpu/arm64/fpu/soft_float.h"

namespace tandem::cpu::arm64::fpu {

enum class Kind : u8 { Zero, Finite, Infinity, QuietNan, SignallingNan };

// Finite: the magnitude is significand * 2^exponent, with bit 63 of the significand set.
struct Unpacked {
    Kind kind = Kind::Zero;
    bool sign = false;
    int exponent = 0;
    u64 significand = 0;

    [[nodiscard]] bool zero() const { return kind == Kind::Zero; }
    [[nodiscard]] bool finite() const { return kind == Kind::Finite; }
    [[nodiscard]] bool infinity() const { return kind == Kind::Infinity; }
    [[nodiscard]] bool nan() const { return kind >= Kind::QuietNan; }
};

// A magnitude of exact operations: significand * 2^exponent; where bits were lost below, bit 0 is set. At least 100 bits
// stand above that bit, so that rounding sees on which side of a half the exact value lies.
struct Wide {
    bool sign = false;
    int exponent = 0;
    u128 significand = 0;
};

// FPUnpack: alternative half precision does not apply. FPUnpackCV: FZ16 does not.
Unpacked unpack(Format f, u64 a, Env& env);
Unpacked unpack_cv(Format f, u64 a, Env& env);
// FPRound and FPRoundCV of a non-zero value.
u64 round(Format f, const Wide& value, Rounding rounding, Env& env);
u64 round_cv(Format f, const Wide& value, Rounding rounding, Env& env);

// FPProcessNaN, for an operand that is a NaN.
u64 process_nan(Format f, Kind kind, u64 a, Env& env);
// FPProcessNaNs, FPProcessNaNs3: whether there is one, and the result.
bool process_nans(Format f, const Unpacked& a, const Unpacked& b, u64 raw_a, u64 raw_b, u64& result, Env& env);
bool process_nans(Format f, const Unpacked& a, const Unpacked& b, const Unpacked& c, u64 raw_a, u64 raw_b, u64 raw_c,
                  u64& result, Env& env);
inline u64 invalid_operation(Format f, Env& env) {
    env.raise(fpsr::IOC);
    return f.default_nan();
}

inline int top_bit(u128 v) {
    const u64 high = static_cast<u64>(v >> 64);
    return high != 0 ? 127 - std::countl_zero(high) : 63 - std::countl_zero(static_cast<u64>(v));
}
// Logical right shift whose lost bits are remembered in bit 0.
constexpr u128 shift_right_jam(u128 v, int count) {
    if (count <= 0) return v;
    if (count > 127) return v != 0 ? 1 : 0;
    return v >> count | ((v & ((u128{1} << count) - 1)) != 0 ? 1 : 0);
}
inline Wide widen(const Unpacked& a) { return {a.sign, a.exponent - 62, u128{a.significand} << 62}; }
// Sum of two magnitudes with signs; a zero significand when they cancel.
Wide add_wide(Wide a, Wide b);
inline Wide multiply_wide(const Unpacked& a, const Unpacked& b) {
    return {a.sign != b.sign, a.exponent + b.exponent, u128{a.significand} * b.significand};
}

}  // namespace tandem::cpu::arm64::fpu
