// What the Advanced SIMD and floating-point lift functions share. Inside cpu/arm64/lift.
//
// Integer instructions become vector operations of IR where there are such; an instruction without a short form calls its
// exact kernel (cpu/arm64/simd). Floating point runs on the host's FPU. Its results differ from Arm's in NaNs, in tininess
// at the smallest normal number, and in what does not fit into an integer; a check of operands or result then sends the
// instruction to its kernel, before any state is written. With flushing or default NaNs in FPCR, and for half precision, the
// kernels do everything.
#pragma once

#include <array>
#include <span>

#include "cpu/arm64/lift/lifter.h"
#include "cpu/arm64/lift/simd_helpers.h"
#include "cpu/arm64/simd/kernels.h"

namespace tandem::cpu::arm64 {

using simd::Kernel;

// The instruction by its kernel.
inline void exact(Lifter& l, Kernel kernel) {
    l.call(HelperId::simd_exact, {l.imm32(static_cast<u32>(kernel)), l.imm32(l.word)});
}
// Whether the host's floating point must not be used. A block of one stepped instruction is not left on the way.
inline bool fp_exact(const Lifter& l) { return l.mode.has(ModeBits::kFpExact) || l.mode.single(); }
// Before state is written: by the kernel after all when `cond`.
inline void retry_if(Lifter& l, Value cond, Kernel kernel) {
    l.call_if(cond, HelperId::simd_retry, {l.imm32(static_cast<u32>(kernel)), l.imm32(l.word)});
}

inline bool is_q(const Lifter& l) { return l.is(30); }
inline unsigned size_field(const Lifter& l) { return l.field(23, 22); }
// Within the Advanced SIMD groups.
inline bool is_scalar_form(const Lifter& l) { return l.is(28); }

// --- Constants
inline Value zero(Lifter& l) { return l.b.konst_v(jit::ir::Vec128{}); }
inline Value constant(Lifter& l, u64 lo, u64 hi) { return l.b.konst_v(jit::ir::Vec128{lo, hi}); }
inline Value ones(Lifter& l) { return constant(l, ~u64{0}, ~u64{0}); }
constexpr u64 replicate(u64 value, unsigned esize) {
    u64 r = value & mask(esize);
    for (unsigned filled = esize; filled < 64; filled *= 2) r |= r << filled;
    return r;
}
// Every element of `esize` bits.
inline Value splat(Lifter& l, unsigned esize, u64 value) {
    const u64 r = replicate(value, esize);
    return constant(l, r, r);
}

// --- Vectors
inline Value v_op(Lifter& l, Op op, Value a, Value b) { return l.b.v_op(op, {a, b}); }
inline Value v_imm(Lifter& l, Op op, Value a, unsigned imm) { return l.b.v_op(op, {a}, static_cast<u8>(imm)); }
inline Value v_not(Lifter& l, Value a) { return v_op(l, Op::PXor, a, ones(l)); }
// The low bits with zeros above: 8 to 64, or all for 128.
Value low_bits(Lifter& l, Value v, unsigned bits);
// The high half in the low one; what is above is anything.
inline Value high_half(Lifter& l, Value v) { return v_op(l, Op::PUnpckHQDQ, v, v); }
// Rd becomes `v`, or its low half with zeros above where Q is 0, or its lowest element in a scalar form.
void set_vector(Lifter& l, Value v, unsigned esize = 64);
// One of four operations by the size of elements, 8 to 64 bits.
struct BySize {
    Op op[4];
    [[nodiscard]] Op of(unsigned esize) const { return op[esize == 8 ? 0 : esize == 16 ? 1 : esize == 32 ? 2 : 3]; }
};
inline constexpr BySize kAdd{{Op::PAddB, Op::PAddW, Op::PAddD, Op::PAddQ}};
inline constexpr BySize kSub{{Op::PSubB, Op::PSubW, Op::PSubD, Op::PSubQ}};
inline constexpr BySize kEqual{{Op::PCmpEqB, Op::PCmpEqW, Op::PCmpEqD, Op::PCmpEqQ}};
inline constexpr BySize kGreater{{Op::PCmpGtB, Op::PCmpGtW, Op::PCmpGtD, Op::PCmpGtQ}};

// Result byte i is byte map[i] of the sources taken as one array; zero where map[i] is negative.
using ByteMap = std::array<int, 16>;
Value permute_bytes(Lifter& l, std::span<const Value> sources, const ByteMap& map);
// Element `index` of `v` in all elements.
Value duplicate(Lifter& l, Value v, unsigned esize, unsigned index);
// The value of a general register in all elements.
Value duplicate_general(Lifter& l, unsigned reg, unsigned esize);
// The even (or odd) elements of a, then of b; with only the low halves of both, when not `q`.
Value unzip(Lifter& l, Value a, Value b, unsigned esize, bool odd, bool q);
// The low half's elements (the high half's with `high`) widened to twice their size.
Value widen(Lifter& l, Value v, unsigned esize, bool is_unsigned, bool high);

// Shifts of elements by a constant, 0 to esize.
Value shift_left(Lifter& l, Value v, unsigned esize, unsigned count);
Value shift_right_logical(Lifter& l, Value v, unsigned esize, unsigned count);
Value shift_right_arithmetic(Lifter& l, Value v, unsigned esize, unsigned count);

}  // namespace tandem::cpu::arm64
