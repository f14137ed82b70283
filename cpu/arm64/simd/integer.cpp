// Integer instructions on elements of one size: "Advanced SIMD three same", "two-register miscellaneous" and "vector x
// indexed element". The scalar forms share their functions.
#include <algorithm>
#include <bit>

#include "cpu/arm64/simd/kernels.h"
#include "cpu/arm64/simd/unit.h"

namespace tandem::cpu::arm64::simd {
namespace {

template <class F>
void map_integers(Unit& u, u32 word, F f) {
    const Shape s = shape(word);
    map_two(u, word, s, [&](u64 a, u64 b) {
        return static_cast<u64>(f(integer(a, s.esize, is_u(word)), integer(b, s.esize, is_u(word))));
    });
}

// SQDMULH, SQRDMULH and the accumulating forms: (accumulator << esize) +- 2 * a * b, its high half.
u64 double_multiply_high(Unit& u, unsigned esize, u64 accumulator, u64 a, u64 b, bool subtract, bool rounded) {
    const i128 product = i128{sign_extend(a, esize)} * sign_extend(b, esize) * 2;
    const i128 base = (i128{sign_extend(accumulator, esize)} << esize) + (rounded ? i128{1} << (esize - 1) : 0);
    return saturate_signed(u, (subtract ? base - product : base + product) >> esize, esize);
}

// r = f(d, a, element), the element one of Rm's.
template <class F>
void map_indexed(Unit& u, u32 word, F f) {
    const Shape s = shape(word);
    const Indexed where = indexed_element(word, s.esize);
    const u64 b = element(u.v(where.reg), s.esize, where.index);
    const Vector128 a = u.v(rn(word));
    const Vector128 d = u.v(rd(word));
    Vector128 r;
    for (unsigned i = 0; i < s.count; ++i) {
        set_element(r, s.esize, i, f(s.esize, element(d, s.esize, i), element(a, s.esize, i), b));
    }
    u.s.v[rd(word)] = r;
}

}  // namespace

void halving_add(Unit& u, u32 word) {
    map_integers(u, word, [](i128 a, i128 b) { return (a + b) >> 1; });
}
void halving_sub(Unit& u, u32 word) {
    map_integers(u, word, [](i128 a, i128 b) { return (a - b) >> 1; });
}
void rounding_halving_add(Unit& u, u32 word) {
    map_integers(u, word, [](i128 a, i128 b) { return (a + b + 1) >> 1; });
}
void saturating_add(Unit& u, u32 word) {
    map_integers(u, word, [&](i128 a, i128 b) { return saturate(u, a + b, shape(word).esize, is_u(word)); });
}
void saturating_sub(Unit& u, u32 word) {
    map_integers(u, word, [&](i128 a, i128 b) { return saturate(u, a - b, shape(word).esize, is_u(word)); });
}
void polynomial_multiply(Unit& u, u32 word) {
    map_two(u, word, shape(word), [](u64 a, u64 b) {
        u64 r = 0;
        for (unsigned i = 0; i < 8; ++i) r ^= bit(b, i) ? a << i : 0;
        return r;
    });
}
void double_multiply_high(Unit& u, u32 word) {  // SQDMULH, SQRDMULH
    const Shape s = shape(word);
    map_two(u, word, s, [&](u64 a, u64 b) { return double_multiply_high(u, s.esize, 0, a, b, false, is_u(word)); });
}
void rounding_double_multiply_accumulate(Unit& u, u32 word) {  // SQRDMLAH, SQRDMLSH
    const Shape s = shape(word);
    map_three(u, word, s,
              [&](u64 d, u64 a, u64 b) { return double_multiply_high(u, s.esize, d, a, b, bit(word, 11), true); });
}

void double_multiply_high_by_element(Unit& u, u32 word) {
    map_indexed(u, word, [&](unsigned esize, u64, u64 a, u64 b) {
        return double_multiply_high(u, esize, 0, a, b, false, bit(word, 12));
    });
}
void rounding_double_multiply_accumulate_by_element(Unit& u, u32 word) {
    map_indexed(u, word, [&](unsigned esize, u64 d, u64 a, u64 b) {
        return double_multiply_high(u, esize, d, a, b, bit(word, 13), true);
    });
}

void saturating_absolute_negate(Unit& u, u32 word) {  // SQABS, SQNEG
    const Shape s = shape(word);
    map_one(u, word, s, [&](u64 a) {
        const i128 value = sign_extend(a, s.esize);
        return saturate_signed(u, is_u(word) || value < 0 ? -value : value, s.esize);
    });
}
// SUQADD, USQADD: the other signedness is added to Rd.
void saturating_accumulate(Unit& u, u32 word) {
    const Shape s = shape(word);
    const Vector128 a = u.v(rn(word));
    const Vector128 d = u.v(rd(word));
    Vector128 r;
    for (unsigned i = 0; i < s.count; ++i) {
        const i128 sum =
            integer(element(a, s.esize, i), s.esize, !is_u(word)) + integer(element(d, s.esize, i), s.esize, is_u(word));
        set_element(r, s.esize, i, saturate(u, sum, s.esize, is_u(word)));
    }
    u.s.v[rd(word)] = r;
}
void count_sign_zeros(Unit& u, u32 word) {  // CLS, CLZ
    const Shape s = shape(word);
    const auto zeros = [&](u64 a) { return static_cast<u64>(std::countl_zero(a)) - (64 - s.esize); };
    map_one(u, word, s, [&](u64 a) {
        if (is_u(word)) return zeros(a);
        return zeros((a ^ static_cast<u64>(sign_extend(a, s.esize) >> 1)) & mask(s.esize)) - 1;
    });
}

// URECPE, URSQRTE.
void integer_estimate(Unit& u, u32 word) {
    map_one(u, word, shape(word, 32), [&](u64 a) {
        const u32 value = static_cast<u32>(a);
        return u64{is_u(word) ? fpu::rsqrt_estimate(value) : fpu::recip_estimate(value)};
    });
}

}  // namespace tandem::cpu::arm64::simd
