// Conversions between formats and to and from integers, rounding to integral values, and the estimates.
#include "cpu/arm64/fpu/unpacked.h"

#include "base/bits.h"

namespace tandem::cpu::arm64::fpu {
namespace {

struct Integral {
    u64 magnitude = 0;
    bool overflow = false;  // 2^64 or more
    bool inexact = false;
};

// The magnitude of a finite value * 2^fbits, rounded to an integer.
Integral round_integral(const Unpacked& x, unsigned fbits, Rounding rounding) {
    Integral r;
    const int exponent = x.exponent + static_cast<int>(fbits);
    if (exponent >= 0) {
        r.overflow = exponent > 0;
        r.magnitude = x.significand;
        return r;
    }
    const int shift = -exponent;
    const bool half = shift <= 64 && (x.significand >> (shift - 1) & 1) != 0;
    const bool below = shift > 64 || (x.significand & mask(static_cast<unsigned>(shift - 1))) != 0;
    r.magnitude = shift > 63 ? 0 : x.significand >> shift;
    r.inexact = half || below;
    bool up = false;
    switch (rounding) {
        case Rounding::TieEven: up = half && (below || (r.magnitude & 1) != 0); break;
        case Rounding::TieAway: up = half; break;
        case Rounding::PosInf: up = r.inexact && !x.sign; break;
        case Rounding::NegInf: up = r.inexact && x.sign; break;
        case Rounding::Zero:
        case Rounding::Odd: break;
    }
    if (up) ++r.magnitude;  // below 2^63 when shifted
    return r;
}

// FPConvertNaN: sign and the top fraction bits, quiet.
u64 convert_nan(Format to, Format from, u64 a) {
    const u64 left_aligned = (a & from.fraction_mask()) << (64 - from.fraction);
    return to.infinity((a & from.sign_bit()) != 0) | to.quiet_bit() | left_aligned >> (64 - to.fraction);
}

// RecipEstimate: 0.5 to 1 as 256 to 511 -> 1 to 2 likewise.
u32 table_recip(u32 a) {
    a = a * 2 + 1;
    const u32 b = (1u << 19) / a;
    return (b + 1) / 2;
}

// RecipSqrtEstimate: 0.25 to 1 as 128 to 511.
u32 table_rsqrt(u32 a) {
    a = a < 256 ? a * 2 + 1 : ((a & ~1u) + 1) * 2;
    u32 b = 512;
    while (u64{a} * (b + 1) * (b + 1) < u64{1} << 28) ++b;
    return (b + 1) / 2;
}

constexpr u64 kFraction52 = (u64{1} << 52) - 1;

}  // namespace

u64 convert(Format to, Format from, u64 a, Rounding rounding, Env& env) {
    const Unpacked x = unpack_cv(from, a, env);
    const bool alternative = to.bits == 16 && env.alternative_half();
    if (x.nan()) {
        if (x.kind == Kind::SignallingNan || alternative) env.raise(fpsr::IOC);
        return alternative ? to.zero(x.sign) : env.default_nan() ? to.default_nan() : convert_nan(to, from, a);
    }
    if (x.infinity()) {
        if (!alternative) return to.infinity(x.sign);
        env.raise(fpsr::IOC);
        return to.zero(x.sign) | 0x7fff;
    }
    if (x.zero()) return to.zero(x.sign);
    return round_cv(to, widen(x), rounding, env);
}

u64 to_fixed(Format f, u64 a, unsigned fbits, bool is_unsigned, Rounding rounding, unsigned bits, Env& env) {
    const Unpacked x = unpack(f, a, env);
    if (x.nan()) {
        env.raise(fpsr::IOC);
        return 0;
    }
    if (x.zero()) return 0;
    Integral r;
    r.overflow = x.infinity();
    if (x.finite()) r = round_integral(x, fbits, rounding);
    const u64 most = is_unsigned ? (x.sign ? 0 : mask(bits)) : mask(bits - 1) + (x.sign ? 1 : 0);
    const bool saturated = r.overflow || r.magnitude > most;
    if (saturated) {
        env.raise(fpsr::IOC);
    } else if (r.inexact) {
        env.raise(fpsr::IXC);
    }
    const u64 magnitude = saturated ? most : r.magnitude;
    return (x.sign ? 0 - magnitude : magnitude) & mask(bits);
}

u64 from_fixed(Format f, u64 a, unsigned bits, unsigned fbits, bool is_unsigned, Env& env) {
    a &= mask(bits);
    const bool sign = !is_unsigned && bit(a, bits - 1);
    const u64 magnitude = sign ? (0 - a) & mask(bits) : a;
    if (magnitude == 0) return f.zero(false);
    return round(f, {sign, -static_cast<int>(fbits), magnitude}, env.rounding(), env);
}

u32 to_fixed_js(u64 a, bool& exact, Env& env) {
    const Unpacked x = unpack(kDouble, a, env);
    exact = false;
    if (x.nan() || x.infinity()) {
        env.raise(fpsr::IOC);
        return 0;
    }
    if (x.zero()) {
        exact = !x.sign && (a & kDouble.fraction_mask()) == 0;  // -0 and a flushed denormal are not
        return 0;
    }
    // The integer part modulo 2^32 lies in the significand's bits -exponent to -exponent + 31.
    u64 low = 0;
    bool too_large = x.exponent >= 0;
    bool inexact = false;
    if (x.exponent >= 0) {
        low = x.exponent > 31 ? 0 : x.significand << x.exponent;
    } else {
        const Integral r = round_integral(x, 0, Rounding::Zero);
        low = r.magnitude;
        inexact = r.inexact;
        too_large = r.magnitude > u64{0x7fffffff} + (x.sign ? 1 : 0);
    }
    if (too_large) {
        env.raise(fpsr::IOC);
    } else if (inexact) {
        env.raise(fpsr::IXC);
    } else {
        exact = true;
    }
    return static_cast<u32>(x.sign ? 0 - low : low);
}

u64 round_int(Format f, u64 a, Rounding rounding, bool exact, Env& env) {
    const Unpacked x = unpack(f, a, env);
    if (x.nan()) return process_nan(f, x.kind, a, env);
    if (x.infinity() || x.zero()) return x.zero() ? f.zero(x.sign) : a;
    if (x.exponent >= 0) return a;  // no fraction bits
    const Integral r = round_integral(x, 0, rounding);
    if (r.inexact && exact) env.raise(fpsr::IXC);
    if (r.magnitude == 0) return f.zero(x.sign);
    return round(f, {x.sign, 0, r.magnitude}, Rounding::Zero, env);
}

u64 round_int_sized(Format f, u64 a, Rounding rounding, unsigned int_bits, Env& env) {
    const Unpacked x = unpack(f, a, env);
    if (x.zero()) return f.zero(x.sign);
    Integral r;
    r.overflow = !x.finite();
    if (x.finite()) r = round_integral(x, 0, rounding);
    if (r.overflow || r.magnitude > mask(int_bits - 1) + (x.sign ? 1 : 0)) {
        env.raise(fpsr::IOC);
        return f.power_of_two(true, static_cast<int>(int_bits) - 1);
    }
    if (r.inexact) env.raise(fpsr::IXC);
    if (r.magnitude == 0) return f.zero(x.sign);
    return round(f, {x.sign, 0, r.magnitude}, Rounding::Zero, env);
}

u32 recip_estimate(u32 a) { return a >> 31 == 0 ? ~0u : table_recip(a >> 23) << 23; }
u32 rsqrt_estimate(u32 a) { return a >> 30 == 0 ? ~0u : table_rsqrt(a >> 23) << 23; }

u64 recip_estimate(Format f, u64 a, Env& env) {
    const Unpacked x = unpack(f, a, env);
    if (x.nan()) return process_nan(f, x.kind, a, env);
    if (x.infinity()) return f.zero(x.sign);
    if (x.zero()) {
        env.raise(fpsr::DZC);
        return f.infinity(x.sign);
    }
    const int magnitude = x.exponent + 63;  // floor(log2(|value|))
    const int largest = 1 - f.min_exponent();
    if (magnitude < -largest - 1) {
        env.raise(fpsr::OFC | fpsr::IXC);
        const Rounding r = env.rounding();
        const bool infinite =
            r == Rounding::TieEven || (r == Rounding::PosInf && !x.sign) || (r == Rounding::NegInf && x.sign);
        return infinite ? f.infinity(x.sign) : f.max_normal(x.sign);
    }
    const u32 flush = f.bits == 16 ? fpcr::FZ16 : fpcr::FZ;
    if ((env.control & flush) != 0 && magnitude >= largest - 1) {
        env.raise(fpsr::UFC);
        return f.zero(x.sign);
    }
    const u32 estimate = table_recip(static_cast<u32>(x.significand >> 55));
    u64 fraction = u64{estimate & 0xff} << 44;
    // 2^magnitude * [1, 2) has a reciprocal of 2^(-magnitude - 1) * [1, 2].
    int biased = -magnitude - 1 - f.min_exponent() + 1;
    if (biased == 0) {
        fraction = u64{1} << 51 | fraction >> 1;
    } else if (biased == -1) {
        fraction = u64{1} << 50 | fraction >> 2;
        biased = 0;
    }
    return f.zero(x.sign) | static_cast<u64>(biased) << f.fraction | (fraction & kFraction52) >> (52 - f.fraction);
}

u64 rsqrt_estimate(Format f, u64 a, Env& env) {
    const Unpacked x = unpack(f, a, env);
    if (x.nan()) return process_nan(f, x.kind, a, env);
    if (x.zero()) {
        env.raise(fpsr::DZC);
        return f.infinity(x.sign);
    }
    if (x.sign) return invalid_operation(f, env);
    if (x.infinity()) return f.zero(false);
    const int magnitude = x.exponent + 63;
    const int biased_in = magnitude - f.min_exponent() + 1;  // zero and below for denormals
    const bool even = (biased_in & 1) == 0;
    const u32 estimate = table_rsqrt(static_cast<u32>(x.significand >> (even ? 55 : 56)));
    const int bias = 1 - f.min_exponent();
    const int biased = (3 * bias - 1 - biased_in) >> 1;
    return static_cast<u64>(biased) << f.fraction | u64{estimate & 0xff} << (f.fraction - 8);
}

u64 recip_exponent(Format f, u64 a, Env& env) {
    const Unpacked x = unpack(f, a, env);
    if (x.nan()) return process_nan(f, x.kind, a, env);
    const u64 exponent = a >> f.fraction & f.exponent_ones();
    const u64 result = exponent == 0 ? f.exponent_ones() - 1 : ~exponent & f.exponent_ones();
    return f.zero(x.sign) | result << f.fraction;
}

}  // namespace tandem::cpu::arm64::fpu
