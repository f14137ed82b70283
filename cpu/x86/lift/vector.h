// What the SSE and MMX lift functions share: vector operands, the bracket of floating-point instructions that may raise #XM,
// and the packed argument of their table rows.
#pragma once

#include "cpu/x86/fpu/mxcsr.h"
#include "cpu/x86/lift/lifter.h"

namespace tandem::cpu::x86 {

// LiftRow::arg of the vector tables: an IR operation, and what has to be known of it when exceptions are unmasked.
struct VectorArg {
    u32 value = 0;
    static constexpr VectorArg of(Op op, SimdElements elements = SimdElements::None, SimdArith arith = SimdArith::None) {
        return {static_cast<u32>(op) | SimdCheck::make(elements, arith).value << 16};
    }
    [[nodiscard]] constexpr Op op() const { return static_cast<Op>(value & 0xffff); }
    [[nodiscard]] constexpr SimdCheck check() const { return {value >> 16}; }
};

constexpr u32 scratch_vec_slot(unsigned i) { return static_cast<u32>(offsetof(TranslateState, scratch_vec) + 16 * i); }
constexpr u32 vec_slot(unsigned reg) { return static_cast<u32>(offsetof(State, vec) + sizeof(Vector512) * reg); }

inline Value xmm(Lifter& l, unsigned reg) { return l.get(Type::V128, vec_slot(reg)); }
inline void set_xmm(Lifter& l, unsigned reg, Value v) { l.set(vec_slot(reg), v); }
inline bool is_xmm(const Lifter& l, unsigned i) { return l.op(i).kind == OperandKind::Xmm; }
inline bool is_mm(const Lifter& l, unsigned i) { return l.op(i).kind == OperandKind::Mm; }
inline u8 imm8(const Lifter& l, unsigned i) { return static_cast<u8>(l.op(i).imm); }

// Memory operand `i` of 1..16 bytes as an integer or V128 value; 16 bytes are checked for alignment when the row asks for
// it.
Value load_operand(Lifter& l, unsigned i);
void store_operand(Lifter& l, unsigned i, Value v);
// Operand `i` as V128: an XMM register whole; an MMX register, a general register or memory zero-extended.
Value vector_operand(Lifter& l, unsigned i);

// Emits a floating-point operation: plainly, or watched for unmasked exceptions, in which case the instruction's register
// writes must follow the call. `run` returns the result. `dst` and `src` are needed when `check` names an arithmetic
// operation.
template <class Run>
Value with_exceptions(Lifter& l, SimdCheck check, Value dst, Value src, Run run) {
    if (!l.mode.has(ModeBits::kMxcsrUnmasked)) return run();
    l.call(HelperId::simd_begin);
    const Value result = run();
    if (check.arith() != SimdArith::None) {
        l.set(scratch_vec_slot(1), dst);
        l.set(scratch_vec_slot(2), src);
    }
    l.call(HelperId::simd_end, {l.imm32(check.value)});
    return result;
}
template <class Run>
Value with_exceptions(Lifter& l, Run run) {
    return with_exceptions(l, SimdCheck{}, kNone, kNone, run);
}

// --- MMX registers: x87 significands (SDM volume 1, 9.5).

// What an MMX instruction does before it accesses memory: pending x87 exceptions.
void mmx_wait(Lifter& l);
// And once nothing can fault: TOP = 0, all registers valid.
void mmx_enter(Lifter& l);
Value mm(Lifter& l, unsigned reg);  // I64
void set_mm(Lifter& l, unsigned reg, Value v);

}  // namespace tandem::cpu::x86
