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
constexpr u32 vec_high_slot(unsigned reg) { return vec_slot(reg) + 16; }

constexpr u32 simd_operand_slot(unsigned i) {
    return static_cast<u32>(offsetof(TranslateState, simd_operand) + sizeof(TranslateState::simd_operand[0]) * i);
}

inline Value xmm(Lifter& l, unsigned reg) { return l.get(Type::V128, vec_slot(reg)); }
// V128 or V256. What a legacy SSE instruction writes leaves the register's bits above it alone; VEX encodings clear them
// (SDM volume 1, 14.1.1). Those above 255 exist with AVX-512 only.
inline void set_vec(Lifter& l, unsigned reg, Value v) {
    if (l.insn.vex && l.b.type_of(v) == Type::V128) v = l.b.v_zext(v);
    l.set(vec_slot(reg), v);
}
inline bool is_xmm(const Lifter& l, unsigned i) { return l.op(i).kind == OperandKind::Xmm; }
inline bool is_mm(const Lifter& l, unsigned i) { return l.op(i).kind == OperandKind::Mm; }
inline u8 imm8(const Lifter& l, unsigned i) { return static_cast<u8>(l.op(i).imm); }

// Memory operand `i` of 1..32 bytes as an integer or vector value; vectors are checked for alignment when the row asks for
// it.
Value load_operand(Lifter& l, unsigned i);
void store_operand(Lifter& l, unsigned i, Value v);
// Operand `i` as a vector: V256 when it has 32 bytes, else V128: an XMM register whole; an MMX register, a general register
// or memory zero-extended.
Value vector_operand(Lifter& l, unsigned i);

// The operands of an operation on two or more: legacy encodings have the destination and the first source in one.
inline Type dest_type(const Lifter& l) { return l.op(0).size == 32 ? Type::V256 : Type::V128; }
inline unsigned second_index(const Lifter& l) { return l.insn.vex ? 2 : 1; }
inline Value first_source(Lifter& l) { return l.insn.vex ? vector_operand(l, 1) : xmm(l, l.op(0).reg); }
inline Value second_source(Lifter& l) { return vector_operand(l, second_index(l)); }
// The immediate is always last.
inline u8 last_imm8(const Lifter& l) { return imm8(l, l.insn.operand_count - 1u); }
inline bool last_is_imm(const Lifter& l) { return l.op(l.insn.operand_count - 1u).kind == OperandKind::Imm; }

// Emits a floating-point operation: plainly, or watched for unmasked exceptions, in which case the instruction's register
// writes must follow the call. `run` returns the result. `operands` (two or three, the last of them decides how many
// elements there are) are needed when `check` names an arithmetic operation.
template <class Run>
Value with_exceptions(Lifter& l, SimdCheck check, std::initializer_list<Value> operands, Run run) {
    if (!l.mode.has(ModeBits::kMxcsrUnmasked)) return run();
    l.call(HelperId::simd_begin);
    const Value result = run();
    if (check.arith() != SimdArith::None) {
        unsigned slot = 0;
        for (const Value v : operands) {
            l.set(simd_operand_slot(slot++), v);
            if (l.b.type_of(v) == Type::V256) check = check.widened();
        }
    }
    l.call(HelperId::simd_end, {l.imm32(check.value)});
    return result;
}
template <class Run>
Value with_exceptions(Lifter& l, Run run) {
    return with_exceptions(l, SimdCheck{}, {}, run);
}

// --- MMX registers: x87 significands (SDM volume 1, 9.5).

// What an MMX instruction does before it accesses memory: pending x87 exceptions.
void mmx_wait(Lifter& l);
// And once nothing can fault: TOP = 0, all registers valid.
void mmx_enter(Lifter& l);
Value mm(Lifter& l, unsigned reg);  // I64
void set_mm(Lifter& l, unsigned reg, Value v);

}  // namespace tandem::cpu::x86
