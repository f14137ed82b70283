// Binary and unary arithmetic, multiplication and division (Intel SDM volume 2). With LOCK the memory operation is the
// atomic one and the flags are computed from the old value it returns.
#include <array>

#include "base/plant.h"
#include "cpu/x86/lift/lifter.h"

namespace tandem::cpu::x86 {
namespace {

void lift_add(Lifter& l) {
    const Value addend = l.read(1);
    const Value old = l.insn.lock ? l.atomic(Op::AtomicAdd, 0, addend) : l.read(0);
    const Value sum = l.b.add(old, addend);
    if (!l.insn.lock) l.write(0, sum);
    l.flags_add(sum, old, addend);
}

void lift_sub(Lifter& l) {
    const Value subtrahend = l.read(1);
    const Value old = l.insn.lock ? l.atomic(Op::AtomicAdd, 0, l.b.unary(Op::Neg, subtrahend)) : l.read(0);
    const Value difference = l.b.sub(old, subtrahend);
    if (!l.insn.lock) l.write(0, difference);
    l.flags_sub(difference, old, subtrahend);
}

void lift_cmp(Lifter& l) {
    const Value first = l.read(0);
    const Value second = l.read(1);
    l.flags_sub(l.b.sub(first, second), first, second);
}

void lift_adc(Lifter& l) {
    const Value addend = l.read(1);
    const Value carry = l.carry();
    Value old = kNone;
    if (l.insn.lock) {
        old = l.atomic(Op::AtomicAdd, 0, l.b.add(addend, l.b.zext(l.type(0), carry)));
    } else {
        old = l.read(0);
    }
    const Value sum = l.b.carry3(Op::AddC, old, addend, carry);
    if (!l.insn.lock) l.write(0, sum);
    l.flags_adc(sum, old, addend, carry);
}

void lift_sbb(Lifter& l) {
    const Value subtrahend = l.read(1);
    const Value borrow = l.carry();
    Value old = kNone;
    if (l.insn.lock) {
        const Value total = l.b.add(subtrahend, l.b.zext(l.type(0), borrow));
        old = l.atomic(Op::AtomicAdd, 0, l.b.unary(Op::Neg, total));
    } else {
        old = l.read(0);
    }
    const Value difference = l.b.carry3(Op::SubB, old, subtrahend, borrow);
    if (!l.insn.lock) l.write(0, difference);
    l.flags_sbb(difference, old, subtrahend, borrow);
}

template <Op kOp, Op kAtomic>
void lift_logic(Lifter& l) {
    const Value second = l.read(1);
    const Value old = l.insn.lock ? l.atomic(kAtomic, 0, second) : l.read(0);
    const Value result = l.b.binary(kOp, old, second);
    if (!l.insn.lock) l.write(0, result);
    l.flags_logic(result);
}

void lift_test(Lifter& l) {
    const Value first = l.read(0);
    l.flags_logic(l.b.and_(first, l.read(1)));
}

// INC and DEC keep CF. arg: the CcKind.
void lift_step(Lifter& l) {
    const auto kind = static_cast<CcKind>(l.arg);
    const Value step = l.konst(l.type(0), kind == CcKind::Inc ? 1 : ~u64{0});
    const Value old = l.insn.lock ? l.atomic(Op::AtomicAdd, 0, step) : l.read(0);
    const Value result = l.b.add(old, step);
    if (!l.insn.lock) l.write(0, result);
    l.flags_of(kind, result, l.carry());
}

void lift_not(Lifter& l) {
    if (l.insn.lock) {
        l.atomic(Op::AtomicXor, 0, l.konst(l.type(0), ~u64{0}));
        return;
    }
    l.write(0, l.b.unary(Op::Not, l.read(0)));
}

// LOCK NEG is a compare-and-swap that starts the instruction again when it lost the race.
void lift_neg(Lifter& l) {
    const Value old = l.read(0);
    const Value result = l.b.unary(Op::Neg, old);
    if (l.insn.lock) {
        const Value seen = l.b.atomic_cas(l.linear(0), old, result, l.mem_flags(l.op(0).size));
        l.call(HelperId::retry_unless, {l.b.icmp(Cond::Eq, seen, old)});
    } else {
        l.write(0, result);
    }
    l.flags_sub(result, l.konst(l.type(0), 0), old);
}

struct Product {
    Value low, high;  // of the operands' type
};

Product multiply(Lifter& l, Value a, Value b, bool is_signed) {
    const Type t = l.b.type_of(a);
    if (t == Type::I64) return {l.b.binary(Op::Mul, a, b), l.b.binary(is_signed ? Op::MulHiS : Op::MulHiU, a, b)};
    const Type wide = t == Type::I32 ? Type::I64 : Type::I32;
    const auto extend = [&](Value v) { return is_signed ? l.b.sext(wide, v) : l.b.zext(wide, v); };
    const Value product = l.b.binary(Op::Mul, extend(a), extend(b));
    const Value high = l.b.shri(product, static_cast<u8>(jit::ir::width_of(t)));
    return {l.b.trunc(t, product), l.b.trunc(t, high)};
}

// Non-zero when the product does not fit into its low half.
Value overflow_of(Lifter& l, const Product& p, bool is_signed) {
    if (!is_signed) return p.high;
    const Value sign = l.b.icmpi(Cond::Slt, p.low, 0);
    return l.b.add(p.high, l.b.zext(l.b.type_of(p.high), sign));
}

void multiply_accumulator(Lifter& l, bool is_signed) {
    const unsigned bytes = l.op(0).size;
    const Product p = multiply(l, l.gpr(RAX, bytes), l.read(0), is_signed);
    if (bytes == 1) {
        l.set_gpr(RAX, p.low);
        l.set_gpr_high(RAX, p.high);
    } else {
        l.set_gpr(RAX, p.low);
        l.set_gpr(RDX, p.high);
    }
    l.flags_of(CcKind::Mul, p.low, overflow_of(l, p, is_signed));
}

void lift_mul(Lifter& l) { multiply_accumulator(l, false); }

void lift_imul(Lifter& l) {
    if (l.insn.operand_count == 1) return multiply_accumulator(l, true);
    const bool three = l.insn.operand_count == 3;
    const Value first = l.read(three ? 1 : 0);
    const Product p = multiply(l, first, l.read(three ? 2 : 1), true);
    l.write(0, p.low);
    if (plant::active(plant::Fault::ImulOverflow)) return l.flags_logic(p.low);
    l.flags_of(CcKind::Mul, p.low, overflow_of(l, p, true));
}

void lift_mulx(Lifter& l) {
    const Product p = multiply(l, l.gpr(RDX, l.op(0).size), l.read(2), false);
    l.write(1, p.low);
    l.write(0, p.high);
}

// arg: 1 signed. The helper raises #DE or writes quotient and remainder.
void lift_div(Lifter& l) {
    const Value divisor = l.read(0);
    const Value wide = l.arg != 0 ? l.b.sext(Type::I64, divisor) : l.zext64(divisor);
    l.call(l.arg != 0 ? HelperId::divide_signed : HelperId::divide_unsigned, {wide, l.imm32(l.op(0).size)});
}

// ADCX and ADOX: a carry chain in one flag that leaves the others alone. arg: the flag.
void lift_adx(Lifter& l) {
    const Value addend = l.read(1);
    const Value old = l.read(0);
    const Value carry = l.flag(l.arg);
    const Value out = l.b.carry3(Op::CarryOut, old, addend, carry);
    l.write(0, l.b.carry3(Op::AddC, old, addend, carry));
    l.override_flags(l.arg == eflags::CF ? out : kNone, l.arg == eflags::OF ? out : kNone);
}

// DAA, DAS, AAA, AAS, AAM, AAD: helpers on AX. arg: BcdOp.
void lift_bcd(Lifter& l) {
    const auto operation = static_cast<BcdOp>(l.arg);
    const bool has_base = operation == BcdOp::Aam || operation == BcdOp::Aad;
    const u64 base = has_base && l.insn.operand_count != 0 ? static_cast<u64>(l.op(0).imm) & 0xff : 10;
    l.call(HelperId::decimal_adjust, {l.imm32(l.arg), l.imm32(base)});
}

constexpr u32 kind(CcKind k) { return static_cast<u32>(k); }
constexpr u32 bcd(BcdOp o) { return static_cast<u32>(o); }

constexpr auto kRows = std::to_array<LiftRow>({
    {Opcode::ADD, lift_add},
    {Opcode::SUB, lift_sub},
    {Opcode::CMP, lift_cmp},
    {Opcode::ADC, lift_adc},
    {Opcode::SBB, lift_sbb},
    {Opcode::AND, lift_logic<Op::And, Op::AtomicAnd>},
    {Opcode::OR, lift_logic<Op::Or, Op::AtomicOr>},
    {Opcode::XOR, lift_logic<Op::Xor, Op::AtomicXor>},
    {Opcode::TEST, lift_test},
    {Opcode::INC, lift_step, kind(CcKind::Inc)},
    {Opcode::DEC, lift_step, kind(CcKind::Dec)},
    {Opcode::NOT, lift_not},
    {Opcode::NEG, lift_neg},
    {Opcode::MUL, lift_mul},
    {Opcode::IMUL, lift_imul},
    {Opcode::MULX, lift_mulx},
    {Opcode::DIV, lift_div, 0},
    {Opcode::IDIV, lift_div, 1},
    {Opcode::ADCX, lift_adx, eflags::CF},
    {Opcode::ADOX, lift_adx, eflags::OF},
    {Opcode::DAA, lift_bcd, bcd(BcdOp::Daa)},
    {Opcode::DAS, lift_bcd, bcd(BcdOp::Das)},
    {Opcode::AAA, lift_bcd, bcd(BcdOp::Aaa)},
    {Opcode::AAS, lift_bcd, bcd(BcdOp::Aas)},
    {Opcode::AAM, lift_bcd, bcd(BcdOp::Aam)},
    {Opcode::AAD, lift_bcd, bcd(BcdOp::Aad)},
});

}  // namespace

std::span<const LiftRow> integer_rows() { return kRows; }

}  // namespace tandem::cpu::x86
