#include "cpu/arm64/fpu/unpacked.h"

#include <initializer_list>
#include <utility>

namespace tandem::cpu::arm64::fpu {
namespace {

bool flushes(Format f, const Env& env) { return (env.control & (f.bits == 16 ? fpcr::FZ16 : fpcr::FZ)) != 0; }

Unpacked unpack_base(Format f, u64 a, bool alternative_half, Env& env) {
    Unpacked u;
    u.sign = (a & f.sign_bit()) != 0;
    const u64 exponent = a >> f.fraction & f.exponent_ones();
    const u64 fraction = a & f.fraction_mask();
    if (exponent == 0) {
        if (fraction == 0) return u;
        if (flushes(f, env)) {
            // Half-precision operands are flushed without a flag (FPUnpackBase).
            if (f.bits != 16) env.raise(fpsr::IDC);
            return u;
        }
        const int shift = std::countl_zero(fraction);
        u.kind = Kind::Finite;
        u.significand = fraction << shift;
        u.exponent = f.min_exponent() - static_cast<int>(f.fraction) - shift;
        return u;
    }
    if (exponent == f.exponent_ones() && !(f.bits == 16 && alternative_half)) {
        u.kind = fraction == 0 ? Kind::Infinity : (fraction & f.quiet_bit()) != 0 ? Kind::QuietNan : Kind::SignallingNan;
        return u;
    }
    u.kind = Kind::Finite;
    u.significand = (fraction | u64{1} << f.fraction) << (63 - f.fraction);
    u.exponent = static_cast<int>(exponent) - 1 + f.min_exponent() - 63;
    return u;
}

// Whether a value whose part below the last place is (half, below) is rounded away from zero.
bool rounds_up(Rounding rounding, bool sign, bool odd, bool half, bool below) {
    switch (rounding) {
        case Rounding::TieEven: return half && (below || odd);
        case Rounding::PosInf: return !sign && (half || below);
        case Rounding::NegInf: return sign && (half || below);
        case Rounding::TieAway: return half;
        case Rounding::Zero:
        case Rounding::Odd: return false;
    }
    return false;
}

bool overflows_to_infinity(Rounding rounding, bool sign) {
    switch (rounding) {
        case Rounding::PosInf: return !sign;
        case Rounding::NegInf: return sign;
        case Rounding::TieEven:
        case Rounding::TieAway: return true;
        case Rounding::Zero:
        case Rounding::Odd: return false;
    }
    return false;
}

u64 round_base(Format f, const Wide& value, Rounding rounding, bool alternative_half, Env& env) {
    const int top = top_bit(value.significand);
    const int exponent = value.exponent + top;
    const int minimum = f.min_exponent();
    if (exponent < minimum && flushes(f, env)) {
        env.raise(fpsr::UFC);
        return f.zero(value.sign);
    }
    u64 biased = exponent < minimum ? 0 : static_cast<u64>(exponent - minimum + 1);
    int shift = top - static_cast<int>(f.fraction) + (biased == 0 ? minimum - exponent : 0);
    u128 significand = value.significand;
    if (shift > 120) {  // keeps the half bit within reach
        significand = shift_right_jam(significand, shift - 120);
        shift = 120;
    }
    bool half = false;
    bool below = false;
    u64 mantissa = 0;
    if (shift > 0) {
        half = (significand >> (shift - 1) & 1) != 0;
        below = (significand & ((u128{1} << (shift - 1)) - 1)) != 0;
        mantissa = static_cast<u64>(significand >> shift);
    } else {
        mantissa = static_cast<u64>(significand << -shift);
    }
    bool inexact = half || below;
    if (biased == 0 && inexact) env.raise(fpsr::UFC);  // tininess is detected before rounding
    if (rounds_up(rounding, value.sign, (mantissa & 1) != 0, half, below)) {
        ++mantissa;
        if (mantissa == u64{1} << f.fraction) biased = 1;
        if (mantissa == u64{1} << (f.fraction + 1)) {
            ++biased;
            mantissa >>= 1;
        }
    }
    if (inexact && rounding == Rounding::Odd) mantissa |= 1;
    u64 result = f.zero(value.sign) | biased << f.fraction | (mantissa & f.fraction_mask());
    if (f.bits == 16 && alternative_half) {
        if (biased > f.exponent_ones()) {
            env.raise(fpsr::IOC);
            return f.zero(value.sign) | 0x7fff;
        }
    } else if (biased >= f.exponent_ones()) {
        result = overflows_to_infinity(rounding, value.sign) ? f.infinity(value.sign) : f.max_normal(value.sign);
        env.raise(fpsr::OFC);
        inexact = true;
    }
    if (inexact) env.raise(fpsr::IXC);
    return result;
}

}  // namespace

Unpacked unpack(Format f, u64 a, Env& env) { return unpack_base(f, a, false, env); }
Unpacked unpack_cv(Format f, u64 a, Env& env) {
    Env without{env.control & ~fpcr::FZ16, env.status};
    const Unpacked u = unpack_base(f, a, env.alternative_half(), without);
    env.status = without.status;
    return u;
}
u64 round(Format f, const Wide& value, Rounding rounding, Env& env) { return round_base(f, value, rounding, false, env); }
u64 round_cv(Format f, const Wide& value, Rounding rounding, Env& env) {
    Env without{env.control & ~fpcr::FZ16, env.status};
    const u64 result = round_base(f, value, rounding, env.alternative_half(), without);
    env.status = without.status;
    return result;
}

u64 process_nan(Format f, Kind kind, u64 a, Env& env) {
    if (kind == Kind::SignallingNan) env.raise(fpsr::IOC);
    return env.default_nan() ? f.default_nan() : a | f.quiet_bit();
}

bool process_nans(Format f, const Unpacked& a, const Unpacked& b, u64 raw_a, u64 raw_b, u64& result, Env& env) {
    return process_nans(f, a, b, Unpacked{}, raw_a, raw_b, 0, result, env);
}

bool process_nans(Format f, const Unpacked& a, const Unpacked& b, const Unpacked& c, u64 raw_a, u64 raw_b, u64 raw_c,
                  u64& result, Env& env) {
    for (const Kind kind : {Kind::SignallingNan, Kind::QuietNan}) {
        if (a.kind == kind) return result = process_nan(f, kind, raw_a, env), true;
        if (b.kind == kind) return result = process_nan(f, kind, raw_b, env), true;
        if (c.kind == kind) return result = process_nan(f, kind, raw_c, env), true;
    }
    return false;
}

Wide add_wide(Wide a, Wide b) {
    if (a.significand == 0) return b;
    if (b.significand == 0) return a;
    // Both top bits to 126: one position above for the carry, and none of an operand's bits is lost by less than 2.
    const auto normalize = [](Wide& w) {
        const int shift = 126 - top_bit(w.significand);
        w.significand = shift >= 0 ? w.significand << shift : shift_right_jam(w.significand, -shift);
        w.exponent -= shift;
    };
    normalize(a);
    normalize(b);
    if (a.exponent < b.exponent || (a.exponent == b.exponent && a.significand < b.significand)) std::swap(a, b);
    b.significand = shift_right_jam(b.significand, a.exponent - b.exponent);
    a.significand = a.sign == b.sign ? a.significand + b.significand : a.significand - b.significand;
    return a;
}

}  // namespace tandem::cpu::arm64::fpu
