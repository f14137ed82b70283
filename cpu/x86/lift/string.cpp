// String instructions (Intel SDM volume 2). A single iteration is plain IR; repetitions, and all port strings, are one
// helper call that moves a page at a time (string_helpers.cpp).
#include <array>
#include <bit>

#include "cpu/x86/lift/lifter.h"

namespace tandem::cpu::x86 {
namespace {

using jit::ir::int_type;

unsigned element(const Lifter& l) {
    for (unsigned i = 0; i < l.insn.operand_count; ++i) {
        const OperandKind k = l.op(i).kind;
        if (k == OperandKind::StringSrc || k == OperandKind::StringDst) return l.op(i).size;
    }
    return 1;
}

StringSpec spec_of(const Lifter& l, StringOp op) {
    return {
        .op = op, .size = element(l), .address_size = l.insn.address_size, .segment = l.insn.mem.segment, .rep = l.insn.rep};
}

Address source(Lifter& l, bool write = false) {
    return l.segmented(l.insn.mem.segment, l.gpr(RSI, l.insn.address_size), element(l), write);
}
Address destination(Lifter& l, bool write) { return l.segmented(ES, l.gpr(RDI, l.insn.address_size), element(l), write); }

// rSI or rDI moves on by the element's size in the direction of DF.
void advance(Lifter& l, unsigned reg) {
    const Value step = l.get(Type::I64, offsetof(TranslateState, df_step));
    const Value bytes = l.b.shli(step, static_cast<u8>(std::countr_zero(element(l))));
    const Value moved = l.b.add(l.gpr(reg, 8), bytes);
    l.set_gpr(reg, l.b.trunc(int_type(l.insn.address_size), moved));
}

void lift_movs(Lifter& l) {
    const Value v = l.load(int_type(element(l)), source(l));
    l.store(destination(l, true), v);
    advance(l, RSI);
    advance(l, RDI);
}

void lift_stos(Lifter& l) {
    l.store(destination(l, true), l.gpr(RAX, element(l)));
    advance(l, RDI);
}

void lift_lods(Lifter& l) {
    const Value v = l.load(int_type(element(l)), source(l));
    l.set_gpr(RAX, v);
    advance(l, RSI);
}

void lift_cmps(Lifter& l) {
    const Value second = l.load(int_type(element(l)), destination(l, false));
    const Value first = l.load(int_type(element(l)), source(l));
    advance(l, RSI);
    advance(l, RDI);
    l.flags_sub(l.b.sub(first, second), first, second);
}

void lift_scas(Lifter& l) {
    const Value first = l.gpr(RAX, element(l));
    const Value second = l.load(int_type(element(l)), destination(l, false));
    advance(l, RDI);
    l.flags_sub(l.b.sub(first, second), first, second);
}

template <StringOp kOp, void (*kOnce)(Lifter&)>
void lift_string(Lifter& l) {
    if (l.insn.rep == Rep::None) return kOnce(l);
    l.call(HelperId::repeat_string, {l.imm32(spec_of(l, kOp).pack())});
}

// INS, OUTS. arg: StringOp.
void lift_port_string(Lifter& l) {
    l.call(HelperId::repeat_string, {l.imm32(spec_of(l, static_cast<StringOp>(l.arg)).pack())});
}

constexpr u32 op(StringOp o) { return static_cast<u32>(o); }

constexpr auto kRows = std::to_array<LiftRow>({
    {Opcode::MOVS, lift_string<StringOp::Movs, lift_movs>},
    {Opcode::STOS, lift_string<StringOp::Stos, lift_stos>},
    {Opcode::LODS, lift_string<StringOp::Lods, lift_lods>},
    {Opcode::CMPS, lift_string<StringOp::Cmps, lift_cmps>},
    {Opcode::SCAS, lift_string<StringOp::Scas, lift_scas>},
    {Opcode::INS, lift_port_string, op(StringOp::Ins)},
    {Opcode::OUTS, lift_port_string, op(StringOp::Outs)},
});

}  // namespace

std::span<const LiftRow> string_rows() { return kRows; }

}  // namespace tandem::cpu::x86
