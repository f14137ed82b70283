// Integer instructions on elements of one size: "Advanced SIMD three same", "two-register miscellaneous", "across lanes",
// "scalar pairwise" and "vector x indexed element". The scalar forms share their functions.
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

template <class F>
void compare_integers(Unit& u, u32 word, F holds) {
    const Shape s = shape(word);
    map_two(u, word, s, [&](u64 a, u64 b) {
        return holds(integer(a, s.esize, is_u(word)), integer(b, s.esize, is_u(word))) ? mask(s.esize) : 0;
    });
}

template <class F>
void compare_zero(Unit& u, u32 word, F holds) {
    const Shape s = shape(word);
    map_one(u, word, s, [&](u64 a) { return holds(sign_extend(a, s.esize)) ? mask(s.esize) : 0; });
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

// f over all elements of Rn into one of `result` bits.
template <class F>
void reduce(Unit& u, u32 word, unsigned result, F f) {
    const Shape s = shape(word);
    const Vector128 a = u.v(rn(word));
    i128 sum = integer(element(a, s.esize, 0), s.esize, is_u(word));
    for (unsigned i = 1; i < s.count; ++i) sum = f(sum, integer(element(a, s.esize, i), s.esize, is_u(word)));
    Vector128 r;
    set_element(r, result, 0, static_cast<u64>(sum));
    u.s.v[rd(word)] = r;
}

// Adjacent elements of Rn added to elements of twice the size, and to those of Rd.
void add_long_pairs(Unit& u, u32 word, bool accumulate) {
    const Shape s = shape(word);
    const Vector128 a = u.v(rn(word));
    const Vector128 d = u.v(rd(word));
    Vector128 r;
    for (unsigned i = 0; i < s.count / 2; ++i) {
        const i128 sum = integer(element(a, s.esize, 2 * i), s.esize, is_u(word)) +
                         integer(element(a, s.esize, 2 * i + 1), s.esize, is_u(word));
        set_element(r, 2 * s.esize, i, static_cast<u64>(sum) + (accumulate ? element(d, 2 * s.esize, i) : 0));
    }
    u.s.v[rd(word)] = r;
}

constexpr i128 smaller(i128 a, i128 b) { return std::min(a, b); }
constexpr i128 larger(i128 a, i128 b) { return std::max(a, b); }
constexpr i128 distance(i128 a, i128 b) { return a < b ? b - a : a - b; }

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
void compare_greater(Unit& u, u32 word) {
    compare_integers(u, word, [](i128 a, i128 b) { return a > b; });
}
void compare_greater_equal(Unit& u, u32 word) {
    compare_integers(u, word, [](i128 a, i128 b) { return a >= b; });
}
void compare_equal_test(Unit& u, u32 word) {  // CMEQ, CMTST
    compare_integers(u, word, [&](i128 a, i128 b) { return is_u(word) ? a == b : (a & b) != 0; });
}
void maximum(Unit& u, u32 word) { map_integers(u, word, larger); }
void minimum(Unit& u, u32 word) { map_integers(u, word, smaller); }
void absolute_difference(Unit& u, u32 word) { map_integers(u, word, distance); }
void absolute_difference_accumulate(Unit& u, u32 word) {
    const Shape s = shape(word);
    map_three(u, word, s, [&](u64 d, u64 a, u64 b) {
        return d + static_cast<u64>(distance(integer(a, s.esize, is_u(word)), integer(b, s.esize, is_u(word))));
    });
}
void add_subtract(Unit& u, u32 word) {
    map_two(u, word, shape(word), [&](u64 a, u64 b) { return is_u(word) ? a - b : a + b; });
}
void multiply_accumulate(Unit& u, u32 word) {
    map_three(u, word, shape(word), [&](u64 d, u64 a, u64 b) { return is_u(word) ? d - a * b : d + a * b; });
}
void multiply(Unit& u, u32 word) {
    map_two(u, word, shape(word), [](u64 a, u64 b) { return a * b; });
}
void polynomial_multiply(Unit& u, u32 word) {
    map_two(u, word, shape(word), [](u64 a, u64 b) {
        u64 r = 0;
        for (unsigned i = 0; i < 8; ++i) r ^= bit(b, i) ? a << i : 0;
        return r;
    });
}
void pairwise_maximum(Unit& u, u32 word) {
    const Shape s = shape(word);
    map_pairs(u, word, s, [&](u64 a, u64 b) {
        return static_cast<u64>(larger(integer(a, s.esize, is_u(word)), integer(b, s.esize, is_u(word))));
    });
}
void pairwise_minimum(Unit& u, u32 word) {
    const Shape s = shape(word);
    map_pairs(u, word, s, [&](u64 a, u64 b) {
        return static_cast<u64>(smaller(integer(a, s.esize, is_u(word)), integer(b, s.esize, is_u(word))));
    });
}
void pairwise_add(Unit& u, u32 word) {
    map_pairs(u, word, shape(word), [](u64 a, u64 b) { return a + b; });
}
void scalar_pairwise_add(Unit& u, u32 word) {
    const Vector128 a = u.v(rn(word));
    u.s.v[rd(word)] = {{a.lane[0] + a.lane[1], 0}};
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

// SDOT, UDOT, and by element.
void dot_product(Unit& u, u32 word) {
    const Shape s = shape(word, 32);
    const bool by_element = bit(word, 24);
    const Vector128 a = u.v(rn(word));
    const Vector128 b = u.v(rm(word));
    const Indexed where = indexed_element(word, 32);
    Vector128 r = u.v(rd(word));
    if (s.count == 2) r.lane[1] = 0;
    for (unsigned i = 0; i < s.count; ++i) {
        i128 sum = element(r, 32, i);
        for (unsigned j = 0; j < 4; ++j) {
            const unsigned second = 4 * (by_element ? where.index : i) + j;
            sum += integer(element(a, 8, 4 * i + j), 8, is_u(word)) * integer(element(b, 8, second), 8, is_u(word));
        }
        set_element(r, 32, i, static_cast<u64>(sum));
    }
    u.s.v[rd(word)] = r;
}

void multiply_by_element(Unit& u, u32 word) {
    map_indexed(u, word, [](unsigned, u64, u64 a, u64 b) { return a * b; });
}
void multiply_accumulate_by_element(Unit& u, u32 word) {  // MLA, MLS
    map_indexed(u, word, [&](unsigned, u64 d, u64 a, u64 b) { return bit(word, 14) ? d - a * b : d + a * b; });
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

void compare_greater_zero(Unit& u, u32 word) {  // CMGT, CMGE
    compare_zero(u, word, [&](i64 a) { return is_u(word) ? a >= 0 : a > 0; });
}
void compare_equal_zero(Unit& u, u32 word) {  // CMEQ, CMLE
    compare_zero(u, word, [&](i64 a) { return is_u(word) ? a <= 0 : a == 0; });
}
void compare_less_zero(Unit& u, u32 word) {
    compare_zero(u, word, [](i64 a) { return a < 0; });
}
void absolute_negate(Unit& u, u32 word) {  // ABS, NEG
    const Shape s = shape(word);
    map_one(u, word, s, [&](u64 a) { return is_u(word) || sign_extend(a, s.esize) < 0 ? 0 - a : a; });
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
void count_bits(Unit& u, u32 word) {
    map_one(u, word, shape(word), [](u64 a) { return static_cast<u64>(std::popcount(a)); });
}
void reverse_bits(Unit& u, u32 word) {
    map_one(u, word, shape(word, 8), [](u64 a) {
        u64 r = 0;
        for (unsigned i = 0; i < 8; ++i) r |= (a >> i & 1) << (7 - i);
        return r;
    });
}
void add_long_pairwise(Unit& u, u32 word) { add_long_pairs(u, word, false); }
void add_accumulate_long_pairwise(Unit& u, u32 word) { add_long_pairs(u, word, true); }

void add_long_across(Unit& u, u32 word) {
    reduce(u, word, 2 * shape(word).esize, [](i128 a, i128 b) { return a + b; });
}
void add_across(Unit& u, u32 word) {
    reduce(u, word, shape(word).esize, [](i128 a, i128 b) { return a + b; });
}
void maximum_across(Unit& u, u32 word) { reduce(u, word, shape(word).esize, larger); }
void minimum_across(Unit& u, u32 word) { reduce(u, word, shape(word).esize, smaller); }

// URECPE, URSQRTE.
void integer_estimate(Unit& u, u32 word) {
    map_one(u, word, shape(word, 32), [&](u64 a) {
        const u32 value = static_cast<u32>(a);
        return u64{is_u(word) ? fpu::rsqrt_estimate(value) : fpu::recip_estimate(value)};
    });
}

}  // namespace tandem::cpu::arm64::simd
