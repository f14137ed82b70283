// The exception flags of one SIMD floating-point operation, element by element, with the rules for unmasked exceptions.
#include <xmmintrin.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>

#include "cpu/x86/fpu/host_x87.h"
#include "cpu/x86/fpu/mxcsr.h"
#include "cpu/x86/fpu/x87.h"

namespace tandem::cpu::x86 {

namespace {

// One scalar operation's result and flags. Values are the bit patterns of a single or a double.
struct Element {
    u64 value = 0;
    u32 flags = 0;
};
struct Pair {
    SimdArith arith = SimdArith::None;  // Add, Sub, Mul, Div, Narrow, NarrowHalf or Fused: a * b + c
    u64 a = 0;
    u64 b = 0;
    u64 c = 0;
};

#define SCALAR(insn)                                                                                             \
    [](u64 a, u64 b, u32 control) -> Element {                                                                   \
        Element e;                                                                                               \
        u32 saved = 0;                                                                                           \
        asm volatile("stmxcsr %[saved]\n\tldmxcsr %[control]\n\tmovq %[a], %%xmm0\n\tmovq %[b], %%xmm1\n\t" insn \
                     "\n\tmovq %%xmm0, %[value]\n\tstmxcsr %[flags]\n\tldmxcsr %[saved]"                         \
                     : [value] "=r"(e.value), [flags] "=m"(e.flags), [saved] "+m"(saved)                         \
                     : [a] "r"(a), [b] "r"(b), [control] "m"(control)                                            \
                     : "xmm0", "xmm1");                                                                          \
        return e;                                                                                                \
    }

using ScalarFn = Element (*)(u64, u64, u32);
// Indexed by SimdArith - Add; Narrow is the same for both.
constexpr std::array<ScalarFn, 4> kSingle = {SCALAR("addss %%xmm1, %%xmm0"), SCALAR("subss %%xmm1, %%xmm0"),
                                             SCALAR("mulss %%xmm1, %%xmm0"), SCALAR("divss %%xmm1, %%xmm0")};
constexpr std::array<ScalarFn, 4> kDouble = {SCALAR("addsd %%xmm1, %%xmm0"), SCALAR("subsd %%xmm1, %%xmm0"),
                                             SCALAR("mulsd %%xmm1, %%xmm0"), SCALAR("divsd %%xmm1, %%xmm0")};
constexpr ScalarFn kNarrow = SCALAR("cvtsd2ss %%xmm0, %%xmm0");

bool is_denormal(u64 v, bool single) {
    return single ? (v & 0x7f800000) == 0 && (v & 0x7fffff) != 0
                  : (v & 0x7ff0000000000000) == 0 && (v & 0xfffffffffffff) != 0;
}

X87Reg widen(u64 v, bool single, u32 control) {
    if ((control & mxcsr::DAZ) != 0 && is_denormal(v, single)) v &= u64{1} << (single ? 31 : 63);
    constexpr host_x87::Control kMasked{};
    return host_x87::load(single ? host_x87::Format::Real32 : host_x87::Format::Real64, kMasked, {v, 0}).value;
}

// Whether the result, rounded to its precision with an unbounded exponent, is inexact: the x87 rounds to 24 or 53 bits and
// has exponents to spare.
bool inexact_unbounded(const Pair& p, bool single, u32 control) {
    const bool narrows = p.arith == SimdArith::Narrow;
    const u16 precision = single ? 0 : 0x200;
    const auto rounding = static_cast<u16>((control & mxcsr::RC) >> 3);  // bits 14:13 to bits 11:10
    const auto fcw = static_cast<u16>(0x7f | precision | rounding);
    constexpr X87Reg kOne{u64{1} << 63, 0x3fff};
    const X87Reg a = widen(p.a, single && !narrows, control);
    const X87Reg b = narrows ? kOne : widen(p.b, single, control);
    static constexpr std::array<host_x87::Arith, 4> kOps = {host_x87::Arith::Add, host_x87::Arith::Sub, host_x87::Arith::Mul,
                                                            host_x87::Arith::Div};
    const host_x87::Arith op =
        narrows ? host_x87::Arith::Mul : kOps[static_cast<unsigned>(p.arith) - static_cast<unsigned>(SimdArith::Add)];
    return (host_x87::arith(op, host_x87::Control{fcw, 0}, a, b).status & fsw::PE) != 0;
}

// Runs a * b + c under `control`. The barriers keep the compiler from moving it across the control register's changes.
template <class T, class Bits>
Element fuse(const Pair& p, u32 control) {
    T a = std::bit_cast<T>(static_cast<Bits>(p.a));
    T b = std::bit_cast<T>(static_cast<Bits>(p.b));
    T c = std::bit_cast<T>(static_cast<Bits>(p.c));
    const u32 saved = _mm_getcsr();
    _mm_setcsr(control);
    asm volatile("" : "+x"(a), "+x"(b), "+x"(c));
    T r = std::fma(a, b, c);
    asm volatile("" : "+x"(r));
    const u32 flags = _mm_getcsr();
    _mm_setcsr(saved);
    return {std::bit_cast<Bits>(r), flags};
}

// Whether a * b + c has more significant bits than the format: the product of two 53-bit numbers fits into the 113 bits of
// binary128, and what its sum with c loses is found by an error-free transformation.
bool inexact_fused(const Pair& p, bool single, u32 control) {
    __extension__ using Wide = __float128;
    const auto value = [single, control](u64 v) -> Wide {
        if ((control & mxcsr::DAZ) != 0 && is_denormal(v, single)) return 0;
        return single ? Wide(std::bit_cast<float>(static_cast<u32>(v))) : Wide(std::bit_cast<double>(v));
    };
    const u32 saved = _mm_getcsr();
    _mm_setcsr(mxcsr::Default);
    const Wide product = value(p.a) * value(p.b);
    const Wide c = value(p.c);
    const Wide sum = product + c;
    const Wide back = sum - product;
    const Wide lost = (product - (sum - back)) + (c - back);
    u128 image = 0;
    std::memcpy(&image, &sum, sizeof image);
    const unsigned dropped = 113 - (single ? 24 : 53);
    const bool inexact = lost != 0 || (image & ((u128{1} << dropped) - 1)) != 0;
    _mm_setcsr(saved);
    return inexact;
}

Element evaluate_fused(const Pair& p, bool single, u32 control) {
    Element e = single ? fuse<float, u32>(p, watched_image(control)) : fuse<double, u64>(p, watched_image(control));
    e.flags &= mxcsr::Flags;
    const u32 unmasked = ~(control >> 7) & mxcsr::Flags;
    if ((unmasked & mxcsr::UE) != 0 && is_denormal(e.value, single)) e.flags |= mxcsr::UE;
    if ((e.flags & unmasked & (mxcsr::OE | mxcsr::UE)) != 0) {
        e.flags = (e.flags & ~mxcsr::PE) | (inexact_fused(p, single, control) ? mxcsr::PE : 0);
    }
    return e;
}

// A single as a binary16, rounded in the direction of `rounding` (MXCSR.RC's encoding). DAZ counts, FZ does not (SDM volume
// 2, VCVTPS2PH).
Element evaluate_half(u32 v, unsigned rounding, u32 control) {
    if ((control & mxcsr::DAZ) != 0 && is_denormal(v, true)) v &= 1u << 31;
    const u32 magnitude = v & 0x7fffffff;
    if (magnitude > 0x7f800000) return {0, (v & 0x400000) != 0 ? 0 : mxcsr::IE};
    if (magnitude == 0 || magnitude == 0x7f800000) return {};
    Element e;
    if (is_denormal(v, true)) e.flags |= mxcsr::DE;
    // The significand with its leading one at bit 23, and the exponent that belongs to it.
    const int shift = std::max(std::countl_zero(magnitude & 0x7fffff) - 8, 0);
    const bool normal = magnitude >= 0x800000;
    const u32 significand = normal ? (magnitude & 0x7fffff) | 0x800000 : (magnitude & 0x7fffff) << shift;
    const int exponent = normal ? static_cast<int>(magnitude >> 23) - 127 : -126 - shift;
    const bool negative = (v >> 31) != 0;
    const auto rounded_up = [&](unsigned bits) {  // whether rounding `bits` low bits away carries
        const u32 rest = significand & static_cast<u32>(mask(bits));
        const u32 half = 1u << (bits - 1);
        if (rounding == 0) return rest > half || (rest == half && (significand >> bits & 1) != 0);
        return rest != 0 && rounding != 3 && (rounding == 1) == negative;
    };
    constexpr int kMinimum = -14, kMaximum = 15;
    constexpr unsigned kDropped = 13;
    const bool carries = (significand >> kDropped) == 0x7ff && rounded_up(kDropped);
    const int rounded_exponent = exponent + (carries ? 1 : 0);
    const bool tiny = rounded_exponent < kMinimum;
    const u32 unmasked = ~(control >> 7) & mxcsr::Flags;
    const unsigned dropped = std::min(kDropped + static_cast<unsigned>(exponent < kMinimum ? kMinimum - exponent : 0), 31u);
    const bool inexact = (significand & mask(dropped)) != 0;
    const bool inexact_unbounded = (significand & mask(kDropped)) != 0;
    if (rounded_exponent > kMaximum) {
        e.flags |= mxcsr::OE | ((unmasked & mxcsr::OE) == 0 || inexact_unbounded ? mxcsr::PE : 0);
    } else if (tiny && (unmasked & mxcsr::UE) != 0) {
        // Processors report a denormal source as inexact, whatever its significand.
        e.flags |= mxcsr::UE | (inexact_unbounded || !normal ? mxcsr::PE : 0);
    } else if (inexact) {
        e.flags |= mxcsr::PE | (tiny ? mxcsr::UE : 0);
    }
    return e;
}

Element evaluate(const Pair& p, bool single, u32 control) {
    if (p.arith == SimdArith::Fused) return evaluate_fused(p, single, control);
    if (p.arith == SimdArith::NarrowHalf) return evaluate_half(static_cast<u32>(p.a), static_cast<unsigned>(p.b), control);
    const unsigned index = static_cast<unsigned>(p.arith) - static_cast<unsigned>(SimdArith::Add);
    const ScalarFn run = p.arith == SimdArith::Narrow ? kNarrow : (single ? kSingle : kDouble)[index];
    Element e = run(p.a, p.b, watched_image(control));
    e.flags &= mxcsr::Flags;
    const u32 unmasked = ~(control >> 7) & mxcsr::Flags;
    // Unmasked underflow is signalled for exact tiny results too.
    if ((unmasked & mxcsr::UE) != 0 && is_denormal(e.value, single)) e.flags |= mxcsr::UE;
    if ((e.flags & unmasked & (mxcsr::OE | mxcsr::UE)) != 0) {
        e.flags = (e.flags & ~mxcsr::PE) | (inexact_unbounded(p, single, control) ? mxcsr::PE : 0);
    }
    return e;
}

// Flags of elements that are computed at once; their results replace `a`.
u32 evaluate_all(std::span<Pair> pairs, bool single, u32 control) {
    u32 flags = 0;
    for (Pair& p : pairs) {
        const Element e = evaluate(p, single, control);
        flags |= e.flags;
        p.a = single ? static_cast<u32>(e.value) : e.value;
    }
    const u32 unmasked = ~(control >> 7) & mxcsr::Flags;
    return (flags & unmasked & kPreComputation) != 0 ? flags & kPreComputation : flags;
}

// Half a vector register.
using Half = std::span<const u64, 2>;

u64 element(Half v, unsigned i, bool single) { return single ? static_cast<u32>(v[i / 2] >> (32 * (i % 2))) : v[i]; }

// DPPS and DPPD: products, then sums by pairs, in all halves at once; a stage with an unmasked exception is the last.
// `a` and `b` hold `halves` 128-bit halves.
u32 dot_flags(std::span<const u64> a, std::span<const u64> b, unsigned halves, SimdCheck check, u32 control) {
    const bool single = check.is_single();
    const unsigned count = single ? 4 : 2;
    const unsigned total = count * halves;
    const u32 unmasked = ~(control >> 7) & mxcsr::Flags;
    const auto used = [&](unsigned i) { return bit(check.imm(), 4 + i % count); };
    const auto element_of = [&](std::span<const u64> v, unsigned i) {
        return element(v.subspan(2 * (i / count)).first<2>(), i % count, single);
    };
    std::array<u64, 8> terms{};
    std::array<Pair, 8> pairs;
    unsigned n = 0;
    for (unsigned i = 0; i < total; ++i) {
        if (used(i)) pairs[n++] = {SimdArith::Mul, element_of(a, i), element_of(b, i)};
    }
    u32 flags = evaluate_all(std::span(pairs).first(n), single, control);
    for (unsigned i = 0, k = 0; i < total; ++i) terms[i] = used(i) ? pairs[k++].a : 0;
    for (unsigned left = total; left > halves && (flags & unmasked) == 0; left /= 2) {
        for (unsigned i = 0; i < left / 2; ++i) pairs[i] = {SimdArith::Add, terms[2 * i], terms[2 * i + 1]};
        flags |= evaluate_all(std::span(pairs).first(left / 2), single, control);
        for (unsigned i = 0; i < left / 2; ++i) terms[i] = pairs[i].a;
    }
    return flags;
}

// One element of an FMA instruction as a * b + c, from its operands in order. The opcode byte tells which are multiplied
// (high digit: 132, 213, 231) and which signs change.
Pair fused(u8 opcode, std::array<u64, 3> v, unsigned i, bool single) {
    Pair p{SimdArith::Fused, v[0], v[1], v[2]};
    switch (opcode >> 4) {
        case 0x9: p = {SimdArith::Fused, v[0], v[2], v[1]}; break;
        case 0xa: break;
        default: p = {SimdArith::Fused, v[1], v[2], v[0]}; break;
    }
    const u64 sign = u64{1} << (single ? 31 : 63);
    const unsigned kind = opcode & 15;
    const bool odd = i % 2 != 0;
    // 6 VFMADDSUB, 7 VFMSUBADD, then by two VFMADD, VFMSUB, VFNMADD, VFNMSUB.
    const bool subtracts = kind == 6 ? !odd : kind == 7 ? odd : (kind & 2) != 0;
    if (subtracts) p.c ^= sign;
    if (kind >= 0xc) p.a ^= sign;
    return p;
}

// The scalar operations of one half of an instruction other than DPPS and DPPD.
unsigned split(Half a, Half b, Half c, SimdCheck check, u32 control, std::span<Pair, 4> out) {
    const bool single = check.is_single();
    const SimdArith arith = check.arith();
    if (arith == SimdArith::Narrow) {
        const unsigned count = check.is_packed() ? 2 : 1;
        for (unsigned i = 0; i < count; ++i) out[i] = {arith, b[i], 0};
        return count;
    }
    const unsigned count = !check.is_packed() ? 1 : single ? 4 : 2;
    for (unsigned i = 0; i < count; ++i) {
        switch (arith) {
            case SimdArith::NarrowHalf: {
                const u32 rounding = bit(check.imm(), 2) ? (control & mxcsr::RC) >> 13 : check.imm() & 3u;
                out[i] = {arith, element(a, i, true), rounding};
                break;
            }
            case SimdArith::Fused:
                out[i] =
                    fused(check.imm(), {element(a, i, single), element(b, i, single), element(c, i, single)}, i, single);
                break;
            case SimdArith::AddSub:
                out[i] = {i % 2 == 0 ? SimdArith::Sub : SimdArith::Add, element(a, i, single), element(b, i, single)};
                break;
            case SimdArith::HorizontalAdd:
            case SimdArith::HorizontalSub: {
                const auto& from = i < count / 2 ? a : b;
                const unsigned first = 2 * i % count;
                out[i] = {arith == SimdArith::HorizontalAdd ? SimdArith::Add : SimdArith::Sub, element(from, first, single),
                          element(from, first + 1, single)};
                break;
            }
            default: out[i] = {arith, element(a, i, single), element(b, i, single)}; break;
        }
    }
    return count;
}

}  // namespace

u32 simd_flags(const TranslateState& t, SimdCheck check, u32 control) {
    const auto half = [&t](unsigned operand, unsigned which) { return Half(&t.simd_operand[operand][2 * which], 2); };
    const unsigned halves = check.wide() ? 2 : 1;
    if (check.arith() == SimdArith::Dot) return dot_flags(t.simd_operand[0], t.simd_operand[1], halves, check, control);
    std::array<Pair, 8> pairs;
    unsigned count = 0;
    for (unsigned h = 0; h < halves; ++h) {
        count += split(half(0, h), half(1, h), half(2, h), check, control, std::span<Pair, 4>(&pairs[count], 4));
    }
    return evaluate_all(std::span(pairs).first(count), check.is_single(), control);
}

}  // namespace tandem::cpu::x86
