// Floating-point instructions on vectors, and their scalar forms of the Advanced SIMD groups.
#include "cpu/arm64/simd/float_shapes.h"
#include "cpu/arm64/simd/kernels.h"

namespace tandem::cpu::arm64::simd {
namespace {

using Binary = u64 (*)(Format, u64, u64, Env&);
using Unary = u64 (*)(Format, u64, Env&);
using Compare = bool (*)(Format, u64, u64, Env&);

void three_same(Unit& u, u32 word, Binary f) {
    const Format format = three_same_format(word);
    map_two(u, word, shape(word, format.bits), [&](u64 a, u64 b) { return f(format, a, b, u.env); });
}
void pairwise(Unit& u, u32 word, Binary f) {
    if (!is_scalar(word)) {
        const Format format = three_same_format(word);
        map_pairs(u, word, shape(word, format.bits), [&](u64 a, u64 b) { return f(format, a, b, u.env); });
        return;
    }
    const Format format = reduction_format(word);
    const Vector128 a = u.v(rn(word));
    Vector128 r;
    set_element(r, format.bits, 0, f(format, element(a, format.bits, 0), element(a, format.bits, 1), u.env));
    u.s.v[rd(word)] = r;
}
void compare(Unit& u, u32 word, bool absolute, Compare holds) {
    const Format f = three_same_format(word);
    map_two(u, word, shape(word, f.bits), [&](u64 a, u64 b) {
        if (absolute) {
            a = fpu::abs(f, a);
            b = fpu::abs(f, b);
        }
        return holds(f, a, b, u.env) ? f.mask() : 0;
    });
}
template <class F>
void two_register(Unit& u, u32 word, F f) {
    const Format format = two_register_format(word);
    map_one(u, word, shape(word, format.bits), [&](u64 a) { return f(format, a); });
}
u64 absolute_difference(Format f, u64 a, u64 b, Env& env) { return fpu::abs(f, fpu::sub(f, a, b, env)); }

// Reduce of the pseudocode: halves first.
u64 reduce(Unit& u, const Vector128& v, Format f, unsigned from, unsigned count, Binary op) {
    if (count == 1) return element(v, f.bits, from);
    const u64 low = reduce(u, v, f, from, count / 2, op);
    return op(f, low, reduce(u, v, f, from + count / 2, count / 2, op), u.env);
}
void across(Unit& u, u32 word, Binary op) {
    const Format f = reduction_format(word);
    const Vector128 a = u.v(rn(word));
    Vector128 r;
    set_element(r, f.bits, 0, reduce(u, a, f, 0, shape(word, f.bits).count, op));
    u.s.v[rd(word)] = r;
}

template <class F>
void by_element(Unit& u, u32 word, F f) {
    const Format format = indexed_format(word);
    const Shape s = shape(word, format.bits);
    const Indexed where = indexed_element(word, format.bits);
    const u64 b = element(u.v(where.reg), format.bits, where.index);
    const Vector128 a = u.v(rn(word));
    const Vector128 d = u.v(rd(word));
    Vector128 r;
    for (unsigned i = 0; i < s.count; ++i) {
        set_element(r, s.esize, i, f(format, element(d, s.esize, i), element(a, s.esize, i), b));
    }
    u.s.v[rd(word)] = r;
}

Binary larger_or_smaller(u32 word) { return bit(word, 23) ? fpu::min : fpu::max; }
Binary larger_or_smaller_number(u32 word) { return bit(word, 23) ? fpu::min_num : fpu::max_num; }

}  // namespace

void fp_add_sub(Unit& u, u32 word) { three_same(u, word, bit(word, 23) ? fpu::sub : fpu::add); }
void fp_multiply(Unit& u, u32 word) { three_same(u, word, is_u(word) ? fpu::mul : fpu::mulx); }
void fp_divide(Unit& u, u32 word) { three_same(u, word, fpu::div); }
void fp_max_min(Unit& u, u32 word) { three_same(u, word, larger_or_smaller(word)); }
void fp_max_min_number(Unit& u, u32 word) { three_same(u, word, larger_or_smaller_number(word)); }
void fp_absolute_difference(Unit& u, u32 word) { three_same(u, word, absolute_difference); }
void fp_steps(Unit& u, u32 word) { three_same(u, word, bit(word, 23) ? fpu::rsqrt_step : fpu::recip_step); }
void fp_fused(Unit& u, u32 word) {
    const Format f = three_same_format(word);
    map_three(u, word, shape(word, f.bits),
              [&](u64 d, u64 a, u64 b) { return fpu::mul_add(f, d, bit(word, 23) ? fpu::neg(f, a) : a, b, u.env); });
}
void fp_compare_equal(Unit& u, u32 word) { compare(u, word, false, fpu::compare_eq); }
void fp_compare_greater(Unit& u, u32 word) { compare(u, word, false, bit(word, 23) ? fpu::compare_gt : fpu::compare_ge); }
void fp_compare_absolute(Unit& u, u32 word) { compare(u, word, true, bit(word, 23) ? fpu::compare_gt : fpu::compare_ge); }

void fp_pairwise_add(Unit& u, u32 word) { pairwise(u, word, fpu::add); }
void fp_pairwise_max_min(Unit& u, u32 word) { pairwise(u, word, larger_or_smaller(word)); }
void fp_pairwise_max_min_number(Unit& u, u32 word) { pairwise(u, word, larger_or_smaller_number(word)); }
void fp_max_min_across(Unit& u, u32 word) { across(u, word, larger_or_smaller(word)); }
void fp_max_min_number_across(Unit& u, u32 word) { across(u, word, larger_or_smaller_number(word)); }

void fp_multiply_by_element(Unit& u, u32 word) {  // FMUL, FMULX
    by_element(u, word, [&](Format f, u64, u64 a, u64 b) {
        return is_u(word) ? fpu::mulx(f, a, b, u.env) : fpu::mul(f, a, b, u.env);
    });
}
void fp_fused_by_element(Unit& u, u32 word) {  // FMLA, FMLS
    by_element(u, word, [&](Format f, u64 d, u64 a, u64 b) {
        return fpu::mul_add(f, d, bit(word, 14) ? fpu::neg(f, a) : a, b, u.env);
    });
}

void fp_fused_long(Unit& u, u32 word) {  // FMLAL, FMLAL2, FMLSL, FMLSL2, and by element
    const bool indexed = bit(word, 24);
    const bool upper = is_u(word);
    const bool subtract = indexed ? bit(word, 14) : bit(word, 23);
    const unsigned count = is_q(word) ? 4 : 2;
    const Indexed where = indexed ? indexed_element(word, 16) : Indexed{rm(word), 0};
    const Vector128 a = u.v(rn(word));
    const Vector128 b = u.v(where.reg);
    const Vector128 d = u.v(rd(word));
    Vector128 r;
    for (unsigned i = 0; i < count; ++i) {
        const unsigned from = i + (upper ? count : 0);
        const u64 x = element(a, 16, from);
        const u64 y = element(b, 16, indexed ? where.index : from);
        set_element(r, 32, i, fpu::mul_add_half(element(d, 32, i), subtract ? fpu::neg(fpu::kHalf, x) : x, y, u.env));
    }
    u.s.v[rd(word)] = r;
}

void fp_compare_zero(Unit& u, u32 word) {
    const unsigned opcode = word >> 12 & 3;  // 00 FCMGT and FCMGE, 01 FCMEQ and FCMLE, 10 FCMLT
    two_register(u, word, [&](Format f, u64 a) {
        bool holds = false;
        if (opcode == 0) holds = is_u(word) ? fpu::compare_ge(f, a, 0, u.env) : fpu::compare_gt(f, a, 0, u.env);
        if (opcode == 1) holds = is_u(word) ? fpu::compare_ge(f, 0, a, u.env) : fpu::compare_eq(f, a, 0, u.env);
        if (opcode == 2) holds = fpu::compare_gt(f, 0, a, u.env);
        return holds ? f.mask() : 0;
    });
}
void fp_square_root(Unit& u, u32 word) {
    two_register(u, word, [&](Format f, u64 a) { return fpu::sqrt(f, a, u.env); });
}
void fp_estimate(Unit& u, u32 word) {  // FRECPE, FRSQRTE
    two_register(u, word, [&](Format f, u64 a) {
        return is_u(word) ? fpu::rsqrt_estimate(f, a, u.env) : fpu::recip_estimate(f, a, u.env);
    });
}
void fp_reciprocal_exponent(Unit& u, u32 word) {
    two_register(u, word, [&](Format f, u64 a) { return fpu::recip_exponent(f, a, u.env); });
}
void fp_round_integral(Unit& u, u32 word) {
    // U : a : opcode<0>. FRINTX alone reports inexact results.
    const unsigned which = (is_u(word) ? 4u : 0) | (bit(word, 23) ? 2u : 0) | (word >> 12 & 1);
    Rounding r = u.env.rounding();
    switch (which) {
        case 0: r = Rounding::TieEven; break;
        case 1: r = Rounding::NegInf; break;
        case 2: r = Rounding::PosInf; break;
        case 3: r = Rounding::Zero; break;
        case 4: r = Rounding::TieAway; break;
        default: break;
    }
    two_register(u, word, [&](Format f, u64 a) { return fpu::round_int(f, a, r, which == 5, u.env); });
}
void fp_round_sized(Unit& u, u32 word) {  // FRINT32Z, FRINT32X, FRINT64Z, FRINT64X
    const Rounding r = is_u(word) ? u.env.rounding() : Rounding::Zero;
    const unsigned int_bits = bit(word, 12) ? 64 : 32;
    two_register(u, word, [&](Format f, u64 a) { return fpu::round_int_sized(f, a, r, int_bits, u.env); });
}
void fp_to_integer(Unit& u, u32 word) {
    const Rounding r = conversion_rounding(word);
    two_register(u, word, [&](Format f, u64 a) { return fpu::to_fixed(f, a, 0, is_u(word), r, f.bits, u.env); });
}
void integer_to_fp(Unit& u, u32 word) {
    two_register(u, word, [&](Format f, u64 a) { return fpu::from_fixed(f, a, f.bits, 0, is_u(word), u.env); });
}

// With a number of fraction bits: immh:immb.
void fp_to_fixed(Unit& u, u32 word) {
    const unsigned value = word >> 16 & 127;
    const Format f = fpu::format_of(value >= 64 ? 64 : value >= 32 ? 32 : 16);
    map_one(u, word, shape(word, f.bits),
            [&](u64 a) { return fpu::to_fixed(f, a, 2 * f.bits - value, is_u(word), Rounding::Zero, f.bits, u.env); });
}
void fixed_to_fp(Unit& u, u32 word) {
    const unsigned value = word >> 16 & 127;
    const Format f = fpu::format_of(value >= 64 ? 64 : value >= 32 ? 32 : 16);
    map_one(u, word, shape(word, f.bits),
            [&](u64 a) { return fpu::from_fixed(f, a, f.bits, 2 * f.bits - value, is_u(word), u.env); });
}

void fp_convert_long(Unit& u, u32 word) {  // FCVTL
    const Format from = bit(word, 22) ? fpu::kSingle : fpu::kHalf;
    const Format to = bit(word, 22) ? fpu::kDouble : fpu::kSingle;
    const unsigned count = 64 / from.bits;
    const Vector128 a = u.v(rn(word));
    Vector128 r;
    for (unsigned i = 0; i < count; ++i) {
        const u64 e = element(a, from.bits, i + (is_q(word) ? count : 0));
        set_element(r, to.bits, i, fpu::convert(to, from, e, u.env.rounding(), u.env));
    }
    u.s.v[rd(word)] = r;
}
void fp_convert_narrow(Unit& u, u32 word) {  // FCVTN, FCVTXN
    const Format from = bit(word, 22) ? fpu::kDouble : fpu::kSingle;
    const Format to = bit(word, 22) ? fpu::kSingle : fpu::kHalf;
    const Rounding rounding = is_u(word) ? Rounding::Odd : u.env.rounding();
    const bool scalar = is_scalar(word);
    const unsigned count = scalar ? 1 : 64 / to.bits;
    const unsigned first = !scalar && is_q(word) ? count : 0;
    const Vector128 a = u.v(rn(word));
    Vector128 r;
    if (first != 0) r.lane[0] = u.v(rd(word)).lane[0];
    for (unsigned i = 0; i < count; ++i) {
        set_element(r, to.bits, first + i, fpu::convert(to, from, element(a, from.bits, i), rounding, u.env));
    }
    u.s.v[rd(word)] = r;
}

void fp_complex_add(Unit& u, u32 word) {  // FCADD
    const Format f = complex_format(word);
    const Shape s = shape(word, f.bits);
    const bool rotate270 = bit(word, 12);
    const Vector128 a = u.v(rn(word));
    const Vector128 b = u.v(rm(word));
    Vector128 r;
    for (unsigned i = 0; i < s.count; i += 2) {
        u64 real = element(b, f.bits, i + 1);
        u64 imaginary = element(b, f.bits, i);
        if (rotate270) {
            imaginary = fpu::neg(f, imaginary);
        } else {
            real = fpu::neg(f, real);
        }
        set_element(r, f.bits, i, fpu::add(f, element(a, f.bits, i), real, u.env));
        set_element(r, f.bits, i + 1, fpu::add(f, element(a, f.bits, i + 1), imaginary, u.env));
    }
    u.s.v[rd(word)] = r;
}
void fp_complex_fused(Unit& u, u32 word) {  // FCMLA
    const Format f = complex_format(word);
    const Shape s = shape(word, f.bits);
    const bool indexed = bit(word, 24);
    const unsigned rotation = indexed ? word >> 13 & 3 : word >> 11 & 3;
    const unsigned h = word >> 11 & 1, l = word >> 21 & 1;
    const unsigned pair = f.bits == 16 ? h << 1 | l : h;
    const Vector128 a = u.v(rn(word));
    const Vector128 b = u.v(rm(word));
    Vector128 r = u.v(rd(word));
    if (!is_q(word)) r.lane[1] = 0;
    for (unsigned i = 0; i < s.count; i += 2) {
        const unsigned second = indexed ? 2 * pair : i;
        u64 x = element(b, f.bits, second);
        u64 y = element(b, f.bits, second + 1);
        const u64 multiplier = element(a, f.bits, i + (rotation & 1));
        if ((rotation & 1) != 0) std::swap(x, y);
        if (rotation == 1 || rotation == 2) x = fpu::neg(f, x);
        if (rotation == 2 || rotation == 3) y = fpu::neg(f, y);
        set_element(r, f.bits, i, fpu::mul_add(f, element(r, f.bits, i), multiplier, x, u.env));
        set_element(r, f.bits, i + 1, fpu::mul_add(f, element(r, f.bits, i + 1), multiplier, y, u.env));
    }
    u.s.v[rd(word)] = r;
}

}  // namespace tandem::cpu::arm64::simd
