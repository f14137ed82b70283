// What the exact Advanced SIMD and floating-point functions work on, and the shapes that their instruction words name.
// Inside cpu/arm64/simd.
#pragma once

#include <cstring>

#include "base/bits.h"
#include "cpu/arm64/fpu/soft_float.h"
#include "cpu/arm64/state.h"

namespace tandem::cpu::arm64::simd {

struct Unit {
    State& s;
    fpu::Env env;

    [[nodiscard]] const Vector128& v(unsigned reg) const { return s.v[reg]; }
    void saturated() { env.raise(fpu::fpsr::QC); }
};

constexpr unsigned rd(u32 word) { return word & 31; }
constexpr unsigned rn(u32 word) { return word >> 5 & 31; }
constexpr unsigned rm(u32 word) { return word >> 16 & 31; }
constexpr unsigned ra(u32 word) { return word >> 10 & 31; }
constexpr bool is_q(u32 word) { return bit(word, 30); }
constexpr bool is_u(u32 word) { return bit(word, 29); }
constexpr bool is_scalar(u32 word) { return bit(word, 28); }  // within the Advanced SIMD groups
constexpr unsigned size_field(u32 word) { return word >> 22 & 3; }

// Element `index` of `esize` bits, zero-extended; `esize` is 8, 16, 32 or 64.
inline u64 element(const Vector128& v, unsigned esize, unsigned index) {
    u64 e = 0;
    std::memcpy(&e, reinterpret_cast<const char*>(v.lane.data()) + index * (esize / 8), esize / 8);
    return e;
}
inline i64 signed_element(const Vector128& v, unsigned esize, unsigned index) {
    return sign_extend(element(v, esize, index), esize);
}
inline void set_element(Vector128& v, unsigned esize, unsigned index, u64 value) {
    std::memcpy(reinterpret_cast<char*>(v.lane.data()) + index * (esize / 8), &value, esize / 8);
}

// Elements of an operation: as many as fill the register or its low half; one in the scalar forms.
struct Shape {
    unsigned esize = 8;
    unsigned count = 1;
};
inline Shape shape(u32 word, unsigned esize) { return {esize, is_scalar(word) ? 1 : (is_q(word) ? 128 : 64) / esize}; }
// Element size in bits 23:22.
inline Shape shape(u32 word) { return shape(word, 8u << size_field(word)); }

// r = f(a, b) of the elements of Rn and Rm; what lies above is zero.
template <class F>
void map_two(Unit& u, u32 word, Shape s, F f) {
    const Vector128 a = u.v(rn(word));
    const Vector128 b = u.v(rm(word));
    Vector128 r;
    for (unsigned i = 0; i < s.count; ++i) set_element(r, s.esize, i, f(element(a, s.esize, i), element(b, s.esize, i)));
    u.s.v[rd(word)] = r;
}
// r = f(d, a, b), d of Rd.
template <class F>
void map_three(Unit& u, u32 word, Shape s, F f) {
    const Vector128 a = u.v(rn(word));
    const Vector128 b = u.v(rm(word));
    const Vector128 d = u.v(rd(word));
    Vector128 r;
    for (unsigned i = 0; i < s.count; ++i) {
        set_element(r, s.esize, i, f(element(d, s.esize, i), element(a, s.esize, i), element(b, s.esize, i)));
    }
    u.s.v[rd(word)] = r;
}
// r = f(a).
template <class F>
void map_one(Unit& u, u32 word, Shape s, F f) {
    const Vector128 a = u.v(rn(word));
    Vector128 r;
    for (unsigned i = 0; i < s.count; ++i) set_element(r, s.esize, i, f(element(a, s.esize, i)));
    u.s.v[rd(word)] = r;
}
// r = f(x, y) of adjacent elements of Rn, then of Rm.
template <class F>
void map_pairs(Unit& u, u32 word, Shape s, F f) {
    const Vector128 source[2] = {u.v(rn(word)), u.v(rm(word))};
    Vector128 r;
    for (unsigned i = 0; i < s.count; ++i) {
        const Vector128& v = source[2 * i >= s.count];
        const unsigned first = 2 * i % s.count;
        set_element(r, s.esize, i, f(element(v, s.esize, first), element(v, s.esize, first + 1)));
    }
    u.s.v[rd(word)] = r;
}

// SignedSat, UnsignedSat: to `esize` bits, with FPSR.QC.
inline u64 saturate_signed(Unit& u, i128 value, unsigned esize) {
    const i128 most = (i128{1} << (esize - 1)) - 1;
    if (value > most || value < -most - 1) {
        u.saturated();
        value = value > most ? most : -most - 1;
    }
    return static_cast<u64>(value) & mask(esize);
}
inline u64 saturate_unsigned(Unit& u, i128 value, unsigned esize) {
    const i128 most = (i128{1} << esize) - 1;
    if (value > most || value < 0) {
        u.saturated();
        value = value > most ? most : 0;
    }
    return static_cast<u64>(value) & mask(esize);
}
// SatQ.
inline u64 saturate(Unit& u, i128 value, unsigned esize, bool is_unsigned) {
    return is_unsigned ? saturate_unsigned(u, value, esize) : saturate_signed(u, value, esize);
}
// Int(element, unsigned).
inline i128 integer(u64 e, unsigned esize, bool is_unsigned) { return is_unsigned ? i128{e} : i128{sign_extend(e, esize)}; }

// The second operand of the by-element forms (DDI 0487, "Advanced SIMD vector x indexed element"): index in H:L:M.
struct Indexed {
    unsigned reg;
    unsigned index;
};
inline Indexed indexed_element(u32 word, unsigned esize) {
    const unsigned h = word >> 11 & 1, l = word >> 21 & 1, m = word >> 20 & 1;
    if (esize == 16) return {word >> 16 & 15, h << 2 | l << 1 | m};
    return {rm(word), esize == 32 ? h << 1 | l : h};
}

}  // namespace tandem::cpu::arm64::simd
