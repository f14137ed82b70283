// Addition, multiplication, division, square root, fused steps, maximum and minimum, comparison.
#include <utility>

#include "cpu/arm64/fpu/unpacked.h"

namespace tandem::cpu::arm64::fpu {
namespace {

// The sign of a sum that is exactly zero.
u64 exact_zero(Format f, const Env& env) { return f.zero(env.rounding() == Rounding::NegInf); }

u64 round_sum(Format f, const Wide& sum, Env& env) {
    return sum.significand == 0 ? exact_zero(f, env) : round(f, sum, env.rounding(), env);
}

bool zero_times_infinity(const Unpacked& a, const Unpacked& b) {
    return (a.infinity() && b.zero()) || (a.zero() && b.infinity());
}

Wide widen_or_zero(const Unpacked& a) { return a.finite() ? widen(a) : Wide{a.sign, 0, 0}; }
Wide product_or_zero(const Unpacked& a, const Unpacked& b) {
    return a.finite() && b.finite() ? multiply_wide(a, b) : Wide{a.sign != b.sign, 0, 0};
}

// -1, 0, 1 of operands that are no NaN.
int order(const Unpacked& a, const Unpacked& b) {
    if (a.zero() && b.zero()) return 0;
    const auto rank = [](const Unpacked& u) { return u.zero() ? 0 : u.sign ? -1 : 1; };
    if (rank(a) != rank(b)) return rank(a) < rank(b) ? -1 : 1;
    int magnitude = 0;
    if (a.infinity() || b.infinity()) {
        magnitude = static_cast<int>(a.infinity()) - static_cast<int>(b.infinity());
    } else if (a.exponent != b.exponent) {
        magnitude = a.exponent < b.exponent ? -1 : 1;
    } else if (a.significand != b.significand) {
        magnitude = a.significand < b.significand ? -1 : 1;
    }
    return a.sign ? -magnitude : magnitude;
}

u64 add_or_subtract(Format f, u64 a, u64 b, bool subtract, Env& env) {
    const Unpacked x = unpack(f, a, env);
    Unpacked y = unpack(f, b, env);
    u64 result = 0;
    if (process_nans(f, x, y, a, b, result, env)) return result;
    if (subtract) y.sign = !y.sign;
    if (x.infinity() && y.infinity() && x.sign != y.sign) return invalid_operation(f, env);
    if (x.infinity() || y.infinity()) return f.infinity(x.infinity() ? x.sign : y.sign);
    if (x.zero() && y.zero() && x.sign == y.sign) return f.zero(x.sign);
    return round_sum(f, add_wide(widen_or_zero(x), widen_or_zero(y)), env);
}

u64 multiply(Format f, u64 a, u64 b, bool extended, Env& env) {
    const Unpacked x = unpack(f, a, env);
    const Unpacked y = unpack(f, b, env);
    u64 result = 0;
    if (process_nans(f, x, y, a, b, result, env)) return result;
    const bool sign = x.sign != y.sign;
    if (zero_times_infinity(x, y)) return extended ? f.power_of_two(sign, 1) : invalid_operation(f, env);
    if (x.infinity() || y.infinity()) return f.infinity(sign);
    if (x.zero() || y.zero()) return f.zero(sign);
    return round(f, multiply_wide(x, y), env.rounding(), env);
}

u64 max_or_min(Format f, u64 a, u64 b, bool maximum, Env& env) {
    const Unpacked x = unpack(f, a, env);
    const Unpacked y = unpack(f, b, env);
    u64 result = 0;
    if (process_nans(f, x, y, a, b, result, env)) return result;
    if (x.zero() && y.zero()) return f.zero(maximum ? x.sign && y.sign : x.sign || y.sign);
    const bool first = maximum ? order(x, y) > 0 : order(x, y) < 0;
    const Unpacked& chosen = first ? x : y;
    return chosen.zero() ? f.zero(chosen.sign) : first ? a : b;
}

// A quiet NaN against a number yields the number.
u64 number_max_or_min(Format f, u64 a, u64 b, bool maximum, Env& env) {
    const Unpacked x = unpack(f, a, env);
    const Unpacked y = unpack(f, b, env);
    if (x.kind == Kind::QuietNan && y.kind != Kind::QuietNan) {
        a = f.infinity(maximum);
    } else if (x.kind != Kind::QuietNan && y.kind == Kind::QuietNan) {
        b = f.infinity(maximum);
    }
    return max_or_min(f, a, b, maximum, env);
}

// constant - a * b for the Newton-Raphson steps, scaled by 2^scale and rounded once.
u64 fused_step(Format f, u64 a, u64 b, const Wide& constant, int scale, u64 zero_by_infinity, Env& env) {
    a = neg(f, a);
    const Unpacked x = unpack(f, a, env);
    const Unpacked y = unpack(f, b, env);
    u64 result = 0;
    if (process_nans(f, x, y, a, b, result, env)) return result;
    if (zero_times_infinity(x, y)) return zero_by_infinity;
    if (x.infinity() || y.infinity()) return f.infinity(x.sign != y.sign);
    Wide sum = add_wide(constant, product_or_zero(x, y));
    sum.exponent += scale;
    return round_sum(f, sum, env);
}

// z + x * y of operands that are no NaN.
u64 fused(Format f, const Unpacked& z, const Unpacked& x, const Unpacked& y, Env& env) {
    const bool sign = x.sign != y.sign;
    const bool infinite = x.infinity() || y.infinity();
    if (zero_times_infinity(x, y) || (z.infinity() && infinite && z.sign != sign)) return invalid_operation(f, env);
    if (z.infinity() || infinite) return f.infinity(z.infinity() ? z.sign : sign);
    if (z.zero() && (x.zero() || y.zero()) && z.sign == sign) return f.zero(sign);
    return round_sum(f, add_wide(widen_or_zero(z), product_or_zero(x, y)), env);
}

// With a NaN among the operands, of which `chosen` was made: an invalid product counts against a quiet addend.
u64 fused_nan(Format f, const Unpacked& z, const Unpacked& x, const Unpacked& y, u64 chosen, Env& env) {
    return z.kind == Kind::QuietNan && zero_times_infinity(x, y) ? invalid_operation(f, env) : chosen;
}

u64 square_root(u128 v) {
    u128 root = 0;
    for (int bit = 63; bit >= 0; --bit) {
        const u128 trial = root | u128{1} << bit;
        if (trial * trial <= v) root = trial;
    }
    return static_cast<u64>(root);
}

}  // namespace

u64 add(Format f, u64 a, u64 b, Env& env) { return add_or_subtract(f, a, b, false, env); }
u64 sub(Format f, u64 a, u64 b, Env& env) { return add_or_subtract(f, a, b, true, env); }
u64 mul(Format f, u64 a, u64 b, Env& env) { return multiply(f, a, b, false, env); }
u64 mulx(Format f, u64 a, u64 b, Env& env) { return multiply(f, a, b, true, env); }
u64 max(Format f, u64 a, u64 b, Env& env) { return max_or_min(f, a, b, true, env); }
u64 min(Format f, u64 a, u64 b, Env& env) { return max_or_min(f, a, b, false, env); }
u64 max_num(Format f, u64 a, u64 b, Env& env) { return number_max_or_min(f, a, b, true, env); }
u64 min_num(Format f, u64 a, u64 b, Env& env) { return number_max_or_min(f, a, b, false, env); }

u64 div(Format f, u64 a, u64 b, Env& env) {
    const Unpacked x = unpack(f, a, env);
    const Unpacked y = unpack(f, b, env);
    u64 result = 0;
    if (process_nans(f, x, y, a, b, result, env)) return result;
    const bool sign = x.sign != y.sign;
    if ((x.infinity() && y.infinity()) || (x.zero() && y.zero())) return invalid_operation(f, env);
    if (x.infinity() || y.zero()) {
        if (!x.infinity()) env.raise(fpsr::DZC);
        return f.infinity(sign);
    }
    if (x.zero() || y.infinity()) return f.zero(sign);
    // 64 bits of quotient, then what remains as one bit below.
    const u128 dividend = u128{x.significand} << 63;
    const u128 quotient = dividend / y.significand;
    const bool remains = dividend % y.significand != 0;
    const Wide value{sign, x.exponent - y.exponent - 63 - 40, quotient << 40 | (remains ? 1 : 0)};
    return round(f, value, env.rounding(), env);
}

u64 sqrt(Format f, u64 a, Env& env) {
    const Unpacked x = unpack(f, a, env);
    if (x.nan()) return process_nan(f, x.kind, a, env);
    if (x.zero()) return f.zero(x.sign);
    if (x.sign) return invalid_operation(f, env);
    if (x.infinity()) return f.infinity(false);
    const int shift = (x.exponent & 1) != 0 ? 63 : 62;  // leaves an even exponent
    const u128 radicand = u128{x.significand} << shift;
    const u64 root = square_root(radicand);
    const bool remains = u128{root} * root != radicand;
    const Wide value{false, (x.exponent - shift) / 2 - 40, u128{root} << 40 | (remains ? 1 : 0)};
    return round(f, value, env.rounding(), env);
}

u64 mul_add(Format f, u64 addend, u64 a, u64 b, Env& env) {
    const Unpacked z = unpack(f, addend, env);
    const Unpacked x = unpack(f, a, env);
    const Unpacked y = unpack(f, b, env);
    u64 result = 0;
    const bool nan = process_nans(f, z, x, y, addend, a, b, result, env);
    return nan ? fused_nan(f, z, x, y, result, env) : fused(f, z, x, y, env);
}

u64 mul_add_half(u64 addend, u64 a, u64 b, Env& env) {
    const Unpacked z = unpack(kSingle, addend, env);
    const Unpacked x = unpack(kHalf, a, env);
    const Unpacked y = unpack(kHalf, b, env);
    // Half-precision NaNs become single ones with their kind (FPConvertNaN, but for the quiet bit).
    const auto widened = [](const Unpacked& u, u64 raw) -> u64 {
        return u.nan() ? kSingle.infinity(u.sign) | (raw & kHalf.fraction_mask()) << 13 : 0;
    };
    u64 result = 0;
    const bool nan = process_nans(kSingle, z, x, y, addend, widened(x, a), widened(y, b), result, env);
    return nan ? fused_nan(kSingle, z, x, y, result, env) : fused(kSingle, z, x, y, env);
}

u64 recip_step(Format f, u64 a, u64 b, Env& env) {
    return fused_step(f, a, b, {false, 1 - 126, u128{1} << 126}, 0, f.power_of_two(false, 1), env);
}
u64 rsqrt_step(Format f, u64 a, u64 b, Env& env) {
    const u64 one_point_five = f.power_of_two(false, 0) | f.quiet_bit();
    return fused_step(f, a, b, {false, -125, u128{3} << 125}, -1, one_point_five, env);
}

u32 compare(Format f, u64 a, u64 b, bool signal_nans, Env& env) {
    constexpr u32 kUnordered = 3, kEqual = 6, kLess = 8, kGreater = 2;
    const Unpacked x = unpack(f, a, env);
    const Unpacked y = unpack(f, b, env);
    if (x.nan() || y.nan()) {
        const bool signalling = x.kind == Kind::SignallingNan || y.kind == Kind::SignallingNan;
        if (signalling || signal_nans) env.raise(fpsr::IOC);
        return kUnordered;
    }
    const int o = order(x, y);
    return o == 0 ? kEqual : o < 0 ? kLess : kGreater;
}
bool compare_eq(Format f, u64 a, u64 b, Env& env) { return compare(f, a, b, false, env) == 6; }
bool compare_ge(Format f, u64 a, u64 b, Env& env) {
    const u32 nzcv = compare(f, a, b, true, env);
    return nzcv == 6 || nzcv == 2;
}
bool compare_gt(Format f, u64 a, u64 b, Env& env) { return compare(f, a, b, true, env) == 2; }

}  // namespace tandem::cpu::arm64::fpu
