// Integer instructions whose operands and results differ in size ("Advanced SIMD three different", narrowing), and shifts.
#include "cpu/arm64/simd/kernels.h"
#include "cpu/arm64/simd/unit.h"

namespace tandem::cpu::arm64::simd {
namespace {

// Elements of the half of Rn that a "2" form names: its first element's index.
unsigned part(u32 word, unsigned count) { return !is_scalar(word) && is_q(word) ? count : 0; }

// The narrow shape of a long, wide or narrowing instruction: elements of the size in bits 23:22 that fill 64 bits.
Shape narrow_shape(u32 word) {
    const unsigned esize = 8u << size_field(word);
    return {esize, is_scalar(word) ? 1 : 64 / esize};
}

// r = f(d, a, b) with a and b integers of the narrow size, d and r of twice that.
template <class F>
void map_long(Unit& u, u32 word, F f) {
    const Shape s = narrow_shape(word);
    const unsigned from = part(word, s.count);
    const Vector128 a = u.v(rn(word));
    const Vector128 d = u.v(rd(word));
    const bool by_element = bit(word, 24);
    const Indexed where = by_element ? indexed_element(word, s.esize) : Indexed{rm(word), 0};
    const Vector128 b = u.v(where.reg);
    Vector128 r;
    for (unsigned i = 0; i < s.count; ++i) {
        const i128 x = integer(element(a, s.esize, from + i), s.esize, is_u(word));
        const i128 y = integer(element(b, s.esize, by_element ? where.index : from + i), s.esize, is_u(word));
        set_element(r, 2 * s.esize, i, f(element(d, 2 * s.esize, i), x, y));
    }
    u.s.v[rd(word)] = r;
}

// Narrow elements to the low half with the high half cleared, or to the high half (Vpart[d, part]).
template <class F>
void narrow(Unit& u, u32 word, Shape s, F f) {
    Vector128 r;
    const unsigned from = part(word, s.count);
    if (from != 0) r.lane[0] = u.v(rd(word)).lane[0];
    for (unsigned i = 0; i < s.count; ++i) set_element(r, s.esize, from + i, f(i));
    u.s.v[rd(word)] = r;
}

void narrow_high(Unit& u, u32 word, bool subtract) {
    const Shape s = narrow_shape(word);
    const Vector128 a = u.v(rn(word));
    const Vector128 b = u.v(rm(word));
    const u64 rounding = is_u(word) ? u64{1} << (s.esize - 1) : 0;
    narrow(u, word, s, [&](unsigned i) {
        const u64 x = element(a, 2 * s.esize, i);
        const u64 y = element(b, 2 * s.esize, i);
        return ((subtract ? x - y : x + y) + rounding) >> s.esize;
    });
}

i128 doubled(Unit& u, i128 x, i128 y, unsigned esize) {
    return sign_extend(saturate_signed(u, 2 * x * y, 2 * esize), 2 * esize);
}

void double_multiply_accumulate(Unit& u, u32 word, bool subtract) {
    const unsigned esize = 8u << size_field(word);
    map_long(u, word, [&](u64 d, i128 x, i128 y) {
        const i128 product = doubled(u, x, y, esize);
        const i128 sum = i128{sign_extend(d, 2 * esize)} + (subtract ? -product : product);
        return saturate_signed(u, sum, 2 * esize);
    });
}

// --- Shifts

// value / 2^count, rounded down or to nearest; count may be anything from 1.
i128 shift_right(i128 value, unsigned count, bool rounded) {
    if (count > 100) return rounded ? 0 : value >> 100;
    return (value + (rounded ? i128{1} << (count - 1) : 0)) >> count;
}

// SSHL to UQRSHL by the signed low byte of the second operand.
template <bool kRounded, bool kSaturating>
void shift_by_register(Unit& u, u32 word) {
    const Shape s = shape(word);
    map_two(u, word, s, [&](u64 a, u64 b) -> u64 {
        const int count = (static_cast<int>(b & 0xff) ^ 0x80) - 0x80;  // the low byte, signed
        const i128 value = integer(a, s.esize, is_u(word));
        if (count < 0) {
            return static_cast<u64>(shift_right(value, static_cast<unsigned>(-count), kRounded)) & mask(s.esize);
        }
        if (!kSaturating) return count >= static_cast<int>(s.esize) ? 0 : a << count;
        if (value == 0) return 0;
        // A shift by the size or more leaves the range whatever it is.
        const i128 shifted = count >= static_cast<int>(s.esize) ? (value < 0 ? -1 : 1) * (i128{1} << 100) : value << count;
        return saturate(u, shifted, s.esize, is_u(word));
    });
}

// immh:immb (DDI 0487, "Advanced SIMD shift by immediate").
struct ShiftImmediate {
    unsigned esize;
    unsigned right;
    unsigned left;
};
ShiftImmediate shift_immediate(u32 word) {
    const unsigned value = word >> 16 & 127;
    const unsigned esize = value >= 64 ? 64 : value >= 32 ? 32 : value >= 16 ? 16 : 8;
    return {esize, 2 * esize - value, value - esize};
}

template <bool kAccumulate>
void rounding_shift_right_immediate(Unit& u, u32 word) {
    const ShiftImmediate n = shift_immediate(word);
    const Vector128 d = u.v(rd(word));
    unsigned i = 0;
    map_one(u, word, shape(word, n.esize), [&](u64 a) {
        const u64 shifted = static_cast<u64>(shift_right(integer(a, n.esize, is_u(word)), n.right, true));
        return shifted + (kAccumulate ? element(d, n.esize, i++) : 0);
    });
}

// The saturating kinds of SHRN and XTN: whether source and result are unsigned.
template <bool kRounded>
void shift_right_narrow(Unit& u, u32 word, bool unsigned_source, bool unsigned_result) {
    const ShiftImmediate n = shift_immediate(word);
    const Shape s{n.esize, is_scalar(word) ? 1 : 64 / n.esize};
    const Vector128 a = u.v(rn(word));
    narrow(u, word, s, [&](unsigned i) {
        const i128 shifted =
            shift_right(integer(element(a, 2 * n.esize, i), 2 * n.esize, unsigned_source), n.right, kRounded);
        return saturate(u, shifted, n.esize, unsigned_result);
    });
}

void extract_narrow(Unit& u, u32 word, bool unsigned_source, bool unsigned_result) {
    const Shape s = narrow_shape(word);
    const Vector128 a = u.v(rn(word));
    narrow(u, word, s, [&](unsigned i) {
        const u64 e = element(a, 2 * s.esize, i);
        return saturate(u, integer(e, 2 * s.esize, unsigned_source), s.esize, unsigned_result);
    });
}

}  // namespace

void absolute_difference_long(Unit& u, u32 word) {
    map_long(u, word, [](u64, i128 x, i128 y) { return static_cast<u64>(x < y ? y - x : x - y); });
}
void absolute_difference_accumulate_long(Unit& u, u32 word) {
    map_long(u, word, [](u64 d, i128 x, i128 y) { return d + static_cast<u64>(x < y ? y - x : x - y); });
}
void double_multiply_long(Unit& u, u32 word) {
    const unsigned esize = 8u << size_field(word);
    map_long(u, word, [&](u64, i128 x, i128 y) { return static_cast<u64>(doubled(u, x, y, esize)); });
}
void double_multiply_add_long(Unit& u, u32 word) { double_multiply_accumulate(u, word, false); }
void double_multiply_sub_long(Unit& u, u32 word) { double_multiply_accumulate(u, word, true); }
void add_high_narrow(Unit& u, u32 word) { narrow_high(u, word, false); }
void sub_high_narrow(Unit& u, u32 word) { narrow_high(u, word, true); }

void polynomial_multiply_long(Unit& u, u32 word) {
    if (size_field(word) == 0) {
        map_long(u, word, [](u64, i128 x, i128 y) {
            u64 r = 0;
            for (unsigned i = 0; i < 8; ++i) r ^= bit(static_cast<u64>(y), i) ? (static_cast<u64>(x) & 0xff) << i : 0;
            return r;
        });
        return;
    }
    const unsigned half = is_q(word) ? 1 : 0;
    const u128 a = u.v(rn(word)).lane[half];
    const u64 b = u.v(rm(word)).lane[half];
    u128 r = 0;
    for (unsigned i = 0; i < 64; ++i) r ^= bit(b, i) ? a << i : 0;
    u.s.v[rd(word)] = {{static_cast<u64>(r), static_cast<u64>(r >> 64)}};
}

void saturating_extract_narrow(Unit& u, u32 word) { extract_narrow(u, word, is_u(word), is_u(word)); }
void saturating_extract_unsigned_narrow(Unit& u, u32 word) { extract_narrow(u, word, false, true); }

void shift(Unit& u, u32 word) { shift_by_register<false, false>(u, word); }
void rounding_shift(Unit& u, u32 word) { shift_by_register<true, false>(u, word); }
void saturating_shift(Unit& u, u32 word) { shift_by_register<false, true>(u, word); }
void saturating_rounding_shift(Unit& u, u32 word) { shift_by_register<true, true>(u, word); }

void rounding_shift_right(Unit& u, u32 word) { rounding_shift_right_immediate<false>(u, word); }
void rounding_shift_right_accumulate(Unit& u, u32 word) { rounding_shift_right_immediate<true>(u, word); }

void saturating_shift_left(Unit& u, u32 word) {  // SQSHL, UQSHL (immediate)
    const ShiftImmediate n = shift_immediate(word);
    map_one(u, word, shape(word, n.esize),
            [&](u64 a) { return saturate(u, integer(a, n.esize, is_u(word)) << n.left, n.esize, is_u(word)); });
}
void saturating_shift_left_unsigned(Unit& u, u32 word) {  // SQSHLU
    const ShiftImmediate n = shift_immediate(word);
    map_one(u, word, shape(word, n.esize),
            [&](u64 a) { return saturate_unsigned(u, integer(a, n.esize, false) << n.left, n.esize); });
}
void narrow_saturating_shift_right(Unit& u, u32 word) { shift_right_narrow<false>(u, word, is_u(word), is_u(word)); }
void narrow_saturating_rounding_shift_right(Unit& u, u32 word) { shift_right_narrow<true>(u, word, is_u(word), is_u(word)); }
void narrow_shift_right_unsigned(Unit& u, u32 word) { shift_right_narrow<false>(u, word, false, true); }
void narrow_rounding_shift_right_unsigned(Unit& u, u32 word) { shift_right_narrow<true>(u, word, false, true); }

}  // namespace tandem::cpu::arm64::simd
