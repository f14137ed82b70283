// VCVTPH2PS and VCVTPS2PH (Intel SDM volume 1, 14.4 "Half-precision floating-point conversion").
#include <algorithm>

#include "jit/interp/vector_kernels.h"
#include "jit/runtime/fp_control.h"

namespace tandem::jit::interp {
namespace {

// MXCSR (Intel SDM volume 1, 10.2.3).
constexpr u32 kInvalid = 1, kDenormal = 2, kOverflow = 8, kUnderflow = 16, kInexact = 32, kDaz = 64;
enum class Round : u8 { Nearest, Down, Up, Zero };

u32 single_of(u16 half, u32& flags) {
    const u32 sign = static_cast<u32>(half & 0x8000) << 16;
    const u32 exponent = half >> 10 & 0x1f;
    u32 fraction = half & 0x3ff;
    if (exponent == 31) {
        if (fraction == 0) return sign | 0x7f800000;
        if ((fraction & 0x200) == 0) flags |= kInvalid;
        return sign | 0x7fc00000 | fraction << 13;
    }
    if (exponent != 0) return sign | (exponent + 112) << 23 | fraction << 13;
    if (fraction == 0) return sign;
    u32 shifted = 0;  // denormal halves are normal singles
    while ((fraction & 0x400) == 0) {
        fraction <<= 1;
        ++shifted;
    }
    return sign | (113 - shifted) << 23 | (fraction & 0x3ff) << 13;
}

u32 rounded(u32 value, u32 shift, bool negative, Round round) {
    const u32 kept = value >> shift;
    const u32 rest = value & ((1u << shift) - 1);
    const u32 half = 1u << (shift - 1);
    switch (round) {
        case Round::Nearest: return kept + (rest > half || (rest == half && (kept & 1) != 0) ? 1 : 0);
        case Round::Down: return kept + (negative && rest != 0 ? 1 : 0);
        case Round::Up: return kept + (!negative && rest != 0 ? 1 : 0);
        case Round::Zero: break;
    }
    return kept;
}

u16 half_of(u32 single, Round round, bool daz, u32& flags) {
    const u32 sign = single >> 16 & 0x8000;
    const int exponent = static_cast<int>(single >> 23 & 0xff) - 127;
    u32 significand = single & 0x7fffff;
    if (exponent == 128) {
        if (significand == 0) return static_cast<u16>(sign | 0x7c00);
        if ((significand & 0x400000) == 0) flags |= kInvalid;
        return static_cast<u16>(sign | 0x7e00 | significand >> 13);
    }
    if (exponent == -127) {
        if (significand == 0 || daz) return static_cast<u16>(sign);
        flags |= kDenormal;
    } else {
        significand |= 0x800000;
    }
    const bool negative = sign != 0;
    const bool small = exponent < -14;
    const u32 shift = small ? std::min(static_cast<u32>(-1 - exponent), 25u) : 13;
    const u32 kept = rounded(significand, shift, negative, round);
    const u32 bits = small ? kept : static_cast<u32>(exponent + 15) * 0x400 + kept - 0x400;
    if (!small && bits >= 0x7c00) {
        flags |= kOverflow | kInexact;
        const bool infinite = round == Round::Nearest || round == (negative ? Round::Down : Round::Up);
        return static_cast<u16>(sign | (infinite ? 0x7c00 : 0x7bff));
    }
    if ((significand & ((1u << shift) - 1)) != 0) {
        flags |= kInexact;
        // Tiny is what is below the normal range after rounding with an unbounded exponent.
        const bool tiny = small && !(exponent == -15 && rounded(significand, 13, negative, round) == 0x800);
        if (tiny) flags |= kUnderflow;
    }
    return static_cast<u16>(sign | bits);
}

}  // namespace

Slot half_to_single_computed(const Operands& o) {
    const Lanes<u16> from(o.a);
    Lanes<u32> to;
    u32 flags = 0;
    for (unsigned n = 0; n < 4; ++n) to.lane[n] = single_of(from.lane[n], flags);
    set_host_fp_control(host_fp_control() | flags);
    return vector_slot(to.value());
}

Slot single_to_half_computed(const Operands& o) {
    const Lanes<u32> from(o.a);
    Lanes<u16> to;
    const u32 control = host_fp_control();
    const Round round = static_cast<Round>((o.imm & 4) != 0 ? control >> 13 & 3 : o.imm & 3);
    u32 flags = 0;
    for (unsigned n = 0; n < 4; ++n) to.lane[n] = half_of(from.lane[n], round, (control & kDaz) != 0, flags);
    set_host_fp_control(control | flags);
    return vector_slot(to.value());
}

namespace {

const bool kHostConverts = __builtin_cpu_supports("f16c") != 0;

template <int imm>
__m128i host_single_to_half(__m128i v) {
    __m128i r;
    asm volatile("vcvtps2ph %2, %1, %0" : "=x"(r) : "x"(v), "i"(imm));
    return r;
}

}  // namespace

Slot half_to_single(const Operands& o) {
    if (!kHostConverts) return half_to_single_computed(o);
    __m128i r;
    asm volatile("vcvtph2ps %1, %0" : "=x"(r) : "x"(o.a));
    return vector_slot(r);
}

Slot single_to_half(const Operands& o) {
    if (!kHostConverts) return single_to_half_computed(o);
    switch (o.imm & 7) {
        case 0: return vector_slot(host_single_to_half<0>(o.a));
        case 1: return vector_slot(host_single_to_half<1>(o.a));
        case 2: return vector_slot(host_single_to_half<2>(o.a));
        case 3: return vector_slot(host_single_to_half<3>(o.a));
        default: return vector_slot(host_single_to_half<4>(o.a));
    }
}

}  // namespace tandem::jit::interp
