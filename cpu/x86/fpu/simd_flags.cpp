// The exception flags of one SIMD floating-point operation, element by element, with the rules for unmasked exceptions.
#include <array>
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
    SimdArith arith = SimdArith::None;  // Add, Sub, Mul, Div or Narrow
    u64 a = 0;
    u64 b = 0;
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

Element evaluate(const Pair& p, bool single, u32 control) {
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

u64 element(const u64 (&v)[2], unsigned i, bool single) {
    return single ? static_cast<u32>(v[i / 2] >> (32 * (i % 2))) : v[i];
}

// DPPS and DPPD: products, then sums by pairs; a stage with an unmasked exception is the last.
u32 dot_flags(const u64 (&a)[2], const u64 (&b)[2], SimdCheck check, u32 control) {
    const bool single = check.is_single();
    const unsigned count = single ? 4 : 2;
    const u32 unmasked = ~(control >> 7) & mxcsr::Flags;
    std::array<u64, 4> terms{};
    u32 flags = 0;
    std::array<Pair, 4> products;
    unsigned used = 0;
    for (unsigned i = 0; i < count; ++i) {
        if (bit(check.imm(), 4 + i)) products[used++] = {SimdArith::Mul, element(a, i, single), element(b, i, single)};
    }
    flags |= evaluate_all(std::span(products).first(used), single, control);
    for (unsigned i = 0, k = 0; i < count; ++i) terms[i] = bit(check.imm(), 4 + i) ? products[k++].a : 0;
    for (unsigned n = count; n > 1 && (flags & unmasked) == 0; n /= 2) {
        std::array<Pair, 2> sums;
        for (unsigned i = 0; i < n / 2; ++i) sums[i] = {SimdArith::Add, terms[2 * i], terms[2 * i + 1]};
        flags |= evaluate_all(std::span(sums).first(n / 2), single, control);
        for (unsigned i = 0; i < n / 2; ++i) terms[i] = sums[i].a;
    }
    return flags;
}

// The scalar operations of one instruction other than DPPS and DPPD.
unsigned split(const u64 (&a)[2], const u64 (&b)[2], SimdCheck check, std::array<Pair, 4>& out) {
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
    const auto& a = t.scratch_vec[1];
    const auto& b = t.scratch_vec[2];
    if (check.arith() == SimdArith::Dot) return dot_flags(a, b, check, control);
    std::array<Pair, 4> pairs;
    const unsigned count = split(a, b, check, pairs);
    return evaluate_all(std::span(pairs).first(count), check.is_single(), control);
}

}  // namespace tandem::cpu::x86
