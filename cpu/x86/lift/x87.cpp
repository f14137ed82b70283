// x87 instructions: one helper call each (SDM volume 2, by instruction). #NM by CR0.EM and TS is the block loop's.
#include "cpu/x86/fpu/x87.h"

#include <cstddef>

#include "cpu/x86/lift/lifter.h"

namespace tandem::cpu::x86 {

namespace {

X87Spec spec_of(const Lifter& l) {
    const unsigned fop = (l.insn.opcode_byte & 7u) << 8 | l.insn.modrm;
    return X87Spec::make(fop, l.insn.mem.segment, l.mode.data_mmu(), l.insn.operand_size != 2);
}

Value spec(Lifter& l) { return l.imm32(spec_of(l).value); }

// The operand that decides a form: the last one, as ST(0) comes first where the manual names it.
const Operand& operand(const Lifter& l) { return l.op(l.insn.operand_count - 1u); }
bool has_memory(const Lifter& l) { return l.insn.operand_count != 0 && operand(l).kind == OperandKind::Mem; }

void call_memory(Lifter& l, HelperId id, unsigned size = 0) {
    const Value va = l.linear(l.insn.operand_count - 1u, size);
    l.call(id, {spec(l), va});
}

void call_memory_pop(Lifter& l, HelperId id, bool pop) {
    const Value va = l.linear(l.insn.operand_count - 1u);
    l.call(id, {spec(l), va, l.imm32(pop ? 1 : 0)});
}

// FADD to FDIVRP, FIADD to FIDIVR, FICOM, FICOMP.
void arith(Lifter& l) {
    if (!has_memory(l)) {
        l.call(HelperId::x87_arith, {spec(l)});
        return;
    }
    switch (l.insn.opcode_byte & 7) {
        case 0: call_memory(l, HelperId::x87_arith_m32); break;
        case 2: call_memory(l, HelperId::x87_arith_i32); break;
        case 4: call_memory(l, HelperId::x87_arith_m64); break;
        default: call_memory(l, HelperId::x87_arith_i16); break;
    }
}

// arg: pops.
void compare(Lifter& l) {
    if (has_memory(l)) return arith(l);
    l.call(HelperId::x87_compare, {spec(l), l.imm32(l.arg)});
}
void compare_unordered(Lifter& l) { l.call(HelperId::x87_compare_unordered, {spec(l), l.imm32(l.arg)}); }
// arg: x87_compare_flags' `how`.
void compare_flags(Lifter& l) { l.call(HelperId::x87_compare_flags, {spec(l), l.imm32(l.arg)}); }

void fld(Lifter& l) {
    if (!has_memory(l)) {
        l.call(HelperId::x87_load_sti, {spec(l)});
        return;
    }
    const unsigned size = operand(l).size;
    call_memory(l, size == 4 ? HelperId::x87_load_m32 : size == 8 ? HelperId::x87_load_m64 : HelperId::x87_load_m80);
}

void fild(Lifter& l) {
    const unsigned size = operand(l).size;
    call_memory(l, size == 2 ? HelperId::x87_load_i16 : size == 4 ? HelperId::x87_load_i32 : HelperId::x87_load_i64);
}

// arg: 1 for the popping form.
void fst(Lifter& l) {
    if (!has_memory(l)) {
        l.call(HelperId::x87_store_sti, {spec(l), l.imm32(l.arg)});
        return;
    }
    const unsigned size = operand(l).size;
    if (size == 10) return call_memory(l, HelperId::x87_store_m80);
    call_memory_pop(l, size == 4 ? HelperId::x87_store_m32 : HelperId::x87_store_m64, l.arg != 0);
}

void fist(Lifter& l) {
    const unsigned size = operand(l).size;
    if (size == 8) return call_memory(l, HelperId::x87_store_i64);
    call_memory_pop(l, size == 2 ? HelperId::x87_store_i16 : HelperId::x87_store_i32, l.arg != 0);
}

// arg: Jcc condition code.
void fcmov(Lifter& l) {
    const Value condition = l.b.zext(Type::I32, l.condition(l.arg));
    l.call(HelperId::x87_cmov, {spec(l), condition});
}

// arg: a helper that takes just the description / description and address of an operand of its own size / nothing.
void plain(Lifter& l) { l.call(static_cast<HelperId>(l.arg), {spec(l)}); }
void memory(Lifter& l) { call_memory(l, static_cast<HelperId>(l.arg)); }
void bare(Lifter& l) { l.call(static_cast<HelperId>(l.arg)); }

// arg: a helper whose operand is an environment (14 or 28 bytes), or with the registers (94 or 108).
void environment(Lifter& l) { call_memory(l, static_cast<HelperId>(l.arg), l.insn.operand_size == 2 ? 14 : 28); }
void registers(Lifter& l) { call_memory(l, static_cast<HelperId>(l.arg), l.insn.operand_size == 2 ? 94 : 108); }

void fnstsw(Lifter& l) {
    if (has_memory(l)) return call_memory(l, HelperId::x87_store_status);
    l.set_gpr(RAX, l.get(Type::I16, offsetof(State, x87) + offsetof(X87, fsw)));
}

void fwait(Lifter& l) {
    if (l.mode.has(ModeBits::kMp) && l.mode.has(ModeBits::kTs)) return l.raise(kNM);
    l.call(HelperId::x87_wait);
}

constexpr u32 id(HelperId helper) { return static_cast<u32>(helper); }

constexpr LiftRow kRows[] = {
    {Opcode::FADD, arith},
    {Opcode::FADDP, arith},
    {Opcode::FIADD, arith},
    {Opcode::FMUL, arith},
    {Opcode::FMULP, arith},
    {Opcode::FIMUL, arith},
    {Opcode::FSUB, arith},
    {Opcode::FSUBP, arith},
    {Opcode::FISUB, arith},
    {Opcode::FSUBR, arith},
    {Opcode::FSUBRP, arith},
    {Opcode::FISUBR, arith},
    {Opcode::FDIV, arith},
    {Opcode::FDIVP, arith},
    {Opcode::FIDIV, arith},
    {Opcode::FDIVR, arith},
    {Opcode::FDIVRP, arith},
    {Opcode::FIDIVR, arith},
    {Opcode::FICOM, arith},
    {Opcode::FICOMP, arith},
    {Opcode::FCOM, compare, 0},
    {Opcode::FCOMP, compare, 1},
    {Opcode::FCOMPP, compare, 2},
    {Opcode::FUCOM, compare_unordered, 0},
    {Opcode::FUCOMP, compare_unordered, 1},
    {Opcode::FUCOMPP, compare_unordered, 2},
    {Opcode::FCOMI, compare_flags, 0},
    {Opcode::FCOMIP, compare_flags, 1},
    {Opcode::FUCOMI, compare_flags, 2},
    {Opcode::FUCOMIP, compare_flags, 3},
    {Opcode::FLD, fld},
    {Opcode::FILD, fild},
    {Opcode::FBLD, memory, id(HelperId::x87_load_bcd)},
    {Opcode::FST, fst, 0},
    {Opcode::FSTP, fst, 1},
    {Opcode::FIST, fist, 0},
    {Opcode::FISTP, fist, 1},
    {Opcode::FISTTP, memory, id(HelperId::x87_store_truncated)},
    {Opcode::FBSTP, memory, id(HelperId::x87_store_bcd)},
    {Opcode::FXCH, plain, id(HelperId::x87_exchange)},
    {Opcode::FCMOVB, fcmov, 2},
    {Opcode::FCMOVNB, fcmov, 3},
    {Opcode::FCMOVE, fcmov, 4},
    {Opcode::FCMOVNE, fcmov, 5},
    {Opcode::FCMOVBE, fcmov, 6},
    {Opcode::FCMOVNBE, fcmov, 7},
    {Opcode::FCMOVU, fcmov, 10},
    {Opcode::FCMOVNU, fcmov, 11},
    {Opcode::FCHS, plain, id(HelperId::x87_sign)},
    {Opcode::FABS, plain, id(HelperId::x87_sign)},
    {Opcode::FLD1, plain, id(HelperId::x87_load_constant)},
    {Opcode::FLDL2T, plain, id(HelperId::x87_load_constant)},
    {Opcode::FLDL2E, plain, id(HelperId::x87_load_constant)},
    {Opcode::FLDPI, plain, id(HelperId::x87_load_constant)},
    {Opcode::FLDLG2, plain, id(HelperId::x87_load_constant)},
    {Opcode::FLDLN2, plain, id(HelperId::x87_load_constant)},
    {Opcode::FLDZ, plain, id(HelperId::x87_load_constant)},
    {Opcode::FTST, plain, id(HelperId::x87_math)},
    {Opcode::FXAM, plain, id(HelperId::x87_math)},
    {Opcode::F2XM1, plain, id(HelperId::x87_math)},
    {Opcode::FYL2X, plain, id(HelperId::x87_math)},
    {Opcode::FPTAN, plain, id(HelperId::x87_math)},
    {Opcode::FPATAN, plain, id(HelperId::x87_math)},
    {Opcode::FXTRACT, plain, id(HelperId::x87_math)},
    {Opcode::FPREM1, plain, id(HelperId::x87_math)},
    {Opcode::FPREM, plain, id(HelperId::x87_math)},
    {Opcode::FYL2XP1, plain, id(HelperId::x87_math)},
    {Opcode::FSQRT, plain, id(HelperId::x87_math)},
    {Opcode::FSINCOS, plain, id(HelperId::x87_math)},
    {Opcode::FRNDINT, plain, id(HelperId::x87_math)},
    {Opcode::FSCALE, plain, id(HelperId::x87_math)},
    {Opcode::FSIN, plain, id(HelperId::x87_math)},
    {Opcode::FCOS, plain, id(HelperId::x87_math)},
    {Opcode::FDECSTP, plain, id(HelperId::x87_stack)},
    {Opcode::FINCSTP, plain, id(HelperId::x87_stack)},
    {Opcode::FFREE, plain, id(HelperId::x87_stack)},
    {Opcode::FFREEP, plain, id(HelperId::x87_stack)},
    {Opcode::FNOP, plain, id(HelperId::x87_nop)},
    {Opcode::FNENI, plain, id(HelperId::x87_nop)},
    {Opcode::FNDISI, plain, id(HelperId::x87_nop)},
    {Opcode::FNSETPM, plain, id(HelperId::x87_nop)},
    {Opcode::FNINIT, bare, id(HelperId::x87_init)},
    {Opcode::FNCLEX, bare, id(HelperId::x87_clear_exceptions)},
    {Opcode::FLDCW, memory, id(HelperId::x87_load_control)},
    {Opcode::FNSTCW, memory, id(HelperId::x87_store_control)},
    {Opcode::FNSTSW, fnstsw},
    {Opcode::FLDENV, environment, id(HelperId::x87_load_environment)},
    {Opcode::FNSTENV, environment, id(HelperId::x87_store_environment)},
    {Opcode::FRSTOR, registers, id(HelperId::x87_restore)},
    {Opcode::FNSAVE, registers, id(HelperId::x87_save)},
    {Opcode::FWAIT, fwait},
};

}  // namespace

std::span<const LiftRow> x87_rows() { return kRows; }

}  // namespace tandem::cpu::x86
