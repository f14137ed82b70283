// Instruction selection for integer operations.
#include "base/plant.h"
#include "jit/baseline/compiler.h"

namespace tandem::jit::baseline {

using ir::Cond;
using ir::Inst;
using ir::Op;
using ir::Type;
using namespace asmjit;

namespace {

bool word_sized(Type t) { return t == Type::I32 || t == Type::I64; }

Cc condition_code(Cond c) {
    constexpr Cc kCodes[] = {Cc::E, Cc::NE, Cc::B, Cc::BE, Cc::A, Cc::AE, Cc::L, Cc::LE, Cc::G, Cc::GE};
    return kCodes[static_cast<unsigned>(c)];
}

// The condition that holds for (b, a) when c holds for (a, b).
Cond swapped(Cond c) {
    constexpr Cond kSwapped[] = {Cond::Eq,  Cond::Ne,  Cond::Ugt, Cond::Uge, Cond::Ult,
                                 Cond::Ule, Cond::Sgt, Cond::Sge, Cond::Slt, Cond::Sle};
    return kSwapped[static_cast<unsigned>(c)];
}

i64 signed_imm(u64 imm, Type t) {
    switch (t) {
        case Type::I8: return static_cast<i8>(imm);
        case Type::I16: return static_cast<i16>(imm);
        case Type::I32: return static_cast<i32>(static_cast<u32>(imm));
        default: return static_cast<i64>(imm);
    }
}

InstId set_id(Cc c) {
    namespace I = x86::Inst;
    constexpr InstId kIds[] = {I::kIdSeto,  I::kIdSetno, I::kIdSetb,  I::kIdSetae, I::kIdSete, I::kIdSetne,
                               I::kIdSetbe, I::kIdSeta,  I::kIdSets,  I::kIdSetns, I::kIdSetp, I::kIdSetnp,
                               I::kIdSetl,  I::kIdSetge, I::kIdSetle, I::kIdSetg};
    return kIds[static_cast<unsigned>(c)];
}

InstId cmov_id(Cc c) {
    namespace I = x86::Inst;
    constexpr InstId kIds[] = {I::kIdCmovo,  I::kIdCmovno, I::kIdCmovb,  I::kIdCmovae, I::kIdCmove, I::kIdCmovne,
                               I::kIdCmovbe, I::kIdCmova,  I::kIdCmovs,  I::kIdCmovns, I::kIdCmovp, I::kIdCmovnp,
                               I::kIdCmovl,  I::kIdCmovge, I::kIdCmovle, I::kIdCmovg};
    return kIds[static_cast<unsigned>(c)];
}

}  // namespace

// The second operand of an arithmetic instruction: immediate, memory or register.
Operand Compiler::operand(Value v, Type t) {
    u64 imm = 0;
    if (regs_.constant(v, imm)) {
        const i64 s = signed_imm(imm, t);
        if (s == static_cast<i32>(s)) {
            regs_.note_use(v);
            return Imm(s);
        }
    }
    x86::Mem m;
    if (regs_.in_memory(v, m)) return m;
    return gp_op(regs_.use(v), t);
}

void Compiler::set_result_flags(Value v) {
    regs_.info(v).clean = type_of(v) == Type::I32;
    flags_of_ = word_sized(type_of(v)) ? v : kNone;
}

void Compiler::add(Value v, const Inst& inst) {
    const Type t = inst.type;
    Value a = inst.args[0], b = inst.args[1];
    const Inst& shl = inst_of(b);
    if (shl.op == Op::Shl && regs_.info(b).skip) {  // absorbed: see Analysis::can_fold
        const Reg index = regs_.use(shl.args[0]);
        const Reg base = regs_.use(a);
        const Reg d = regs_.define(v);
        code_.lea(gp_op(d, t), x86::ptr(gp64(base), gp64(index), static_cast<u32>(inst_of(shl.args[1]).imm)));
        regs_.info(v).clean = t == Type::I32;
        return;
    }
    if (const Value other = find_partner(v, Op::CarryOut, 2); other != kNone && word_sized(t)) {
        const Operand o = operand(b, t);
        const Reg d = regs_.define_copy(v, a);
        code_.emit(x86::Inst::kIdAdd, gp_op(d, t), o);
        code_.emit(set_id(Cc::B), gp_exact(regs_.define(other), Type::I8));
        regs_.info(other).done = true;
        set_result_flags(v);
        return;
    }
    u64 imm = 0;
    if (regs_.constant(a, imm) || (regs_.dies(b) && !regs_.dies(a) && regs_.reg_of(b) != kNoReg)) std::swap(a, b);
    const bool in_place = regs_.reg_of(a) == kNoReg || regs_.dies(a);
    const bool constant = regs_.constant(b, imm);
    if (!in_place && constant && signed_imm(imm, t) == static_cast<i32>(signed_imm(imm, t))) {
        const Reg base = regs_.use(a);
        const Reg d = regs_.define(v);
        code_.lea(gp_op(d, t), x86::ptr(gp64(base), static_cast<i32>(signed_imm(imm, t))));
        regs_.info(v).clean = t == Type::I32;
        return;
    }
    if (!in_place && !constant && regs_.reg_of(b) != kNoReg) {
        const Reg index = regs_.use(b);
        const Reg base = regs_.use(a);
        const Reg d = regs_.define(v);
        code_.lea(gp_op(d, t), x86::ptr(gp64(base), gp64(index)));
        regs_.info(v).clean = t == Type::I32;
        return;
    }
    const Operand o = operand(b, t);
    const Reg d = regs_.define_copy(v, a);
    code_.emit(x86::Inst::kIdAdd, gp_op(d, t), o);
    set_result_flags(v);
}

void Compiler::sub(Value v, const Inst& inst) {
    const Type t = inst.type;
    const Value other = word_sized(t) ? find_partner(v, Op::BorrowOut, 2) : kNone;
    u64 imm = 0;
    if (other == kNone && regs_.constant(inst.args[1], imm) && regs_.reg_of(inst.args[0]) != kNoReg &&
        !regs_.dies(inst.args[0])) {
        const i64 minus = -signed_imm(imm, t);
        if (minus == static_cast<i32>(minus)) {
            const Reg base = regs_.use(inst.args[0]);
            const Reg d = regs_.define(v);
            code_.lea(gp_op(d, t), x86::ptr(gp64(base), static_cast<i32>(minus)));
            regs_.info(v).clean = t == Type::I32;
            return;
        }
    }
    const Operand o = operand(inst.args[1], t);
    const Reg d = regs_.define_copy(v, inst.args[0]);
    code_.emit(x86::Inst::kIdSub, gp_op(d, t), o);
    if (other != kNone) {
        code_.emit(set_id(Cc::B), gp_exact(regs_.define(other), Type::I8));
        regs_.info(other).done = true;
    }
    set_result_flags(v);
}

// And with a mask of the low 8, 16 or 32 bits.
bool Compiler::and_mask(Value v, const Inst& inst) {
    u64 imm = 0;
    if (inst.op != Op::And || !word_sized(inst.type) || !regs_.constant(inst.args[1], imm)) return false;
    const bool dword = imm == 0xffffffff && inst.type == Type::I64;
    if (imm != 0xff && imm != 0xffff && !dword) return false;
    const Reg a = regs_.use(inst.args[0]);
    const Reg d = regs_.define_over(v, inst.args[0]);
    if (dword) {
        code_.mov(gp32(d), gp32(a));
    } else {
        code_.movzx(gp32(d), gp_exact(a, imm == 0xff ? Type::I8 : Type::I16));
    }
    regs_.info(v).clean = true;
    return true;
}

void Compiler::logic(Value v, const Inst& inst) {
    if (inst.op != Op::Xor && regs_.root(inst.args[0]) == regs_.root(inst.args[1])) return regs_.alias(v, inst.args[0]);
    if (and_mask(v, inst)) return;
    const InstId id = inst.op == Op::And ? x86::Inst::kIdAnd : inst.op == Op::Or ? x86::Inst::kIdOr : x86::Inst::kIdXor;
    Value a = inst.args[0], b = inst.args[1];
    u64 imm = 0;
    if (regs_.constant(a, imm) || (regs_.dies(b) && !regs_.dies(a) && regs_.reg_of(b) != kNoReg)) std::swap(a, b);
    const Operand o = operand(b, inst.type);
    // A mask without its top bit set clears the upper half: 32-bit operations encode shorter.
    const bool short_mask = inst.op == Op::And && o.isImm() && o.as<Imm>().value() >= 0;
    const Reg d = regs_.define_copy(v, a);
    code_.emit(id, gp_op(d, short_mask ? Type::I32 : inst.type), o);
    set_result_flags(v);
    if (short_mask) regs_.info(v).clean = true;
}

void Compiler::mul(Value v, const Inst& inst) {
    const Type t = inst.type;
    for (const Op high : {Op::MulHiU, Op::MulHiS}) {
        const Value other = word_sized(t) ? find_partner(v, high, 2) : kNone;
        if (other == kNone) continue;
        mul_high(other, inst_of(other), v);
        return;
    }
    Value a = inst.args[0], b = inst.args[1];
    u64 imm = 0;
    if (regs_.constant(a, imm)) std::swap(a, b);
    const Operand o = operand(b, t);
    if (o.isImm()) {
        const Reg s = regs_.use(a);
        const Reg d = regs_.define_over(v, a);
        code_.emit(x86::Inst::kIdImul, gp_op(d, t), gp_op(s, t), o);
    } else {
        const Reg d = regs_.define_copy(v, a);
        code_.emit(x86::Inst::kIdImul, gp_op(d, t), o);
    }
    regs_.info(v).clean = t == Type::I32;
}

// High half of a product, and the low half with it when something wants that too (`low`).
void Compiler::mul_high(Value v, const Inst& inst, Value low) {
    const Type t = inst.type;
    Value a = inst.args[0], b = inst.args[1];
    if (regs_.reg_of(b) == (inst.op == Op::MulHiU && host_.bmi2 ? kRdx : kRax)) std::swap(a, b);
    if (inst.op == Op::MulHiU && host_.bmi2) {
        regs_.claim_with(kRdx, a);
        const Reg rb = regs_.use(b);
        const Reg hi = regs_.define(v);
        const Reg lo = low != kNone ? regs_.define(low) : hi;
        code_.emit(x86::Inst::kIdMulx, gp_op(hi, t), gp_op(lo, t), gp_op(rb, t), gp_op(kRdx, t));
    } else {
        regs_.claim_with(kRax, a);
        regs_.claim(kRdx);
        const Reg rb = regs_.use(b);
        if (inst.op == Op::MulHiU) {
            code_.mul(gp_op(rb, t));
        } else {
            code_.imul(gp_op(rb, t));
        }
        regs_.define_in(v, kRdx);
        if (low != kNone) regs_.define_in(low, kRax);
    }
    regs_.info(v).clean = true;
    regs_.info(v).done = true;
    if (low == kNone) return;
    regs_.info(low).clean = true;
    regs_.info(low).done = true;
}

void Compiler::unary(Value v, const Inst& inst) {
    const Reg d = regs_.define_copy(v, inst.args[0]);
    if (inst.op == Op::Neg) {
        code_.neg(gp_op(d, inst.type));
        set_result_flags(v);
    } else {
        code_.not_(gp_op(d, inst.type));
        regs_.info(v).clean = inst.type == Type::I32;
    }
}

void Compiler::shift(Value v, const Inst& inst) {
    namespace I = x86::Inst;
    const bool wrong = plant::active(plant::Fault::SarShiftsZeroes) && inst.op == Op::Sar;
    const unsigned kind = static_cast<unsigned>(wrong ? Op::Shr : inst.op) - static_cast<unsigned>(Op::Shl);
    constexpr InstId kIds[] = {I::kIdShl, I::kIdShr, I::kIdSar, I::kIdRol, I::kIdRor};
    constexpr InstId kFree[] = {I::kIdShlx, I::kIdShrx, I::kIdSarx};
    const Type t = inst.type;
    u64 count = 0;
    if (regs_.constant(inst.args[1], count)) {
        const Reg d = regs_.define_copy(v, inst.args[0]);
        code_.emit(kIds[kind], gp_exact(d, t), Imm(static_cast<i64>(count & (ir::width_of(t) - 1))));
    } else if (kind < 3 && host_.bmi2) {
        const Reg c = regs_.use(inst.args[1]);
        const Reg a = regs_.use(inst.args[0]);
        const Reg d = regs_.define_over(v, inst.args[0]);
        code_.emit(kFree[kind], gp_op(d, t), gp_op(a, t), gp_op(c, t));
    } else {
        regs_.claim_with(kRcx, inst.args[1]);
        const Reg d = regs_.define_copy(v, inst.args[0]);
        code_.emit(kIds[kind], gp_exact(d, t), x86::cl);
    }
    regs_.info(v).clean = t == Type::I32;
}

// Another operation on the same arguments that comes soon after `v`, to be emitted with it. With `arguments` == 2 a third
// argument of the partner must be the constant zero.
Compiler::Value Compiler::find_partner(Value v, Op op, unsigned arguments) {
    constexpr size_t kWindow = 8;
    const Inst& inst = inst_of(v);
    const size_t end = std::min(block_->insts.size(), size_t{v} + kWindow);
    for (size_t n = size_t{v} + 1; n < end; ++n) {
        const Inst& i = block_->insts[n];
        const ValueInfo& info = regs_.info(static_cast<Value>(n));
        if (i.op != op || info.skip || info.done) continue;
        bool same = true;
        for (unsigned a = 0; a < arguments && same; ++a) {
            same = i.args[a] < v && regs_.root(i.args[a]) == regs_.root(inst.args[a]) &&
                   type_of(i.args[a]) == type_of(inst.args[a]);
        }
        u64 carry_in = 0;
        if (same && arguments == 2 && i.nargs == 3)
            same = i.args[2] < v ? regs_.constant(i.args[2], carry_in) && carry_in == 0
                                 : inst_of(i.args[2]).op == Op::Const && inst_of(i.args[2]).imm == 0;
        if (same) return static_cast<Value>(n);
    }
    return kNone;
}

void Compiler::carry(Value v, const Inst& inst) {
    const bool adds = inst.op == Op::AddC || inst.op == Op::CarryOut;
    const bool is_carry = inst.op == Op::CarryOut || inst.op == Op::BorrowOut;
    const Op sum_op = adds ? Op::AddC : Op::SubB;
    const Op carry_op = adds ? Op::CarryOut : Op::BorrowOut;
    const Type t = type_of(inst.args[0]);
    u64 carry_in = 0;
    const bool no_carry_in = regs_.constant(inst.args[2], carry_in) && carry_in == 0;
    Value other = find_partner(v, is_carry ? sum_op : carry_op, 3);
    if (is_carry && no_carry_in && other == kNone) other = find_partner(v, adds ? Op::Add : Op::Sub, 2);
    if (inst.op == Op::BorrowOut && no_carry_in && other == kNone) {
        const Cc c = compare(inst);
        code_.emit(set_id(c), gp_exact(regs_.define(v), Type::I8));
        return;
    }
    const Value sum = is_carry ? other : v;
    const Value out = is_carry ? v : other;
    // The carry leaves the top bit of the type itself, so here narrow types are not widened.
    Operand o;
    u64 imm = 0;
    if (t == Type::I64 || t == Type::I32) {
        o = operand(inst.args[1], t);
    } else if (regs_.constant(inst.args[1], imm)) {
        o = Imm(signed_imm(imm, t));
    } else {
        o = gp_exact(regs_.use(inst.args[1]), t);
    }
    const Reg cin = no_carry_in ? kNoReg : regs_.use(inst.args[2]);
    Reg d;
    if (sum != kNone) {
        d = regs_.define_copy(sum, inst.args[0]);
    } else {
        const Reg a = regs_.use(inst.args[0]);
        d = regs_.temp();
        regs_.copy(d, a, t);
    }
    namespace I = x86::Inst;
    if (!no_carry_in) code_.bt(gp32(cin), 0);
    code_.emit(no_carry_in ? (adds ? I::kIdAdd : I::kIdSub) : (adds ? I::kIdAdc : I::kIdSbb), gp_exact(d, t), o);
    if (out != kNone) code_.emit(set_id(Cc::B), gp_exact(regs_.define(out), Type::I8));
    if (other != kNone) regs_.info(other).done = true;
    if (sum != kNone) {
        regs_.info(sum).clean = t == Type::I32;
        flags_of_ = word_sized(t) ? sum : kNone;
    }
}

void Compiler::bswap(Value v, const Inst& inst) {
    const Reg d = regs_.define_copy(v, inst.args[0]);
    if (inst.type == Type::I16) {
        code_.rol(gp_exact(d, Type::I16), 8);
    } else {
        code_.bswap(gp_op(d, inst.type));
    }
    regs_.info(v).clean = inst.type == Type::I32;
}

void Compiler::extend(Value v, const Inst& inst) {
    const Value a = inst.args[0];
    const Type from = type_of(a);
    const bool is_signed = inst.op == Op::SExt;
    u64 imm = 0;
    if (regs_.constant(a, imm)) {
        return regs_.make_const(v, truncate(is_signed ? static_cast<u64>(signed_imm(imm, from)) : imm, inst.type));
    }
    if (!is_signed && regs_.is_clean(a)) return regs_.alias(v, a);
    const Reg s = regs_.use(a);
    const Reg d = regs_.define_over(v, a);
    const x86::Gp source = gp_exact(s, from);
    if (is_signed && from == Type::I32) {
        code_.movsxd(gp64(d), source);
    } else if (is_signed) {
        code_.movsx(gp_op(d, inst.type), source);
    } else if (from == Type::I32) {
        code_.mov(gp32(d), source);
    } else {
        code_.movzx(gp32(d), source);
    }
    regs_.info(v).clean = !is_signed || inst.type == Type::I32;
}

void Compiler::deposit(Value v, const Inst& inst) {
    const Type t = inst.type, field = type_of(inst.args[1]);
    const unsigned lsb = static_cast<unsigned>(inst.imm) & (ir::width_of(t) - 1);
    if (field == t) return regs_.alias(v, inst.args[1]);
    if (field == Type::I32) {  // a half of an I64
        const Reg f = regs_.use(inst.args[1]);
        const Reg low = regs_.temp();
        const Reg d = regs_.define_copy(v, inst.args[0]);
        code_.mov(gp32(low), gp32(f));
        if (lsb == 32) {
            code_.shl(gp64(low), 32);
            code_.mov(gp32(d), gp32(d));
            code_.or_(gp64(d), gp64(low));
            return;
        }
        if (lsb != 0) code_.ror(gp64(d), static_cast<u8>(lsb));
        code_.shr(gp64(d), 32);
        code_.shl(gp64(d), 32);
        code_.or_(gp64(d), gp64(low));
        if (lsb != 0) code_.rol(gp64(d), static_cast<u8>(lsb));
        return;
    }
    Reg f = regs_.use(inst.args[1]);
    if (lsb != 0 && regs_.root(inst.args[0]) == regs_.root(inst.args[1])) {
        const Reg same = f;
        regs_.copy(f = regs_.temp(), same, Type::I32);
    }
    const Reg d = regs_.define_copy(v, inst.args[0]);
    const x86::Gp whole = gp_exact(d, t);
    if (lsb != 0) code_.ror(whole, static_cast<u8>(lsb));
    code_.mov(gp_exact(d, field), gp_exact(f, field));
    if (lsb != 0) code_.rol(whole, static_cast<u8>(lsb));
    regs_.info(v).clean = false;
}

// Sets the host's flags for an ICmp (or a BorrowOut without borrow in) and says which condition is then true.
Cc Compiler::compare(const Inst& inst) {
    Value a = inst.args[0], b = inst.args[1];
    Cond cond = inst.op == Op::ICmp ? static_cast<Cond>(inst.aux) : Cond::Ult;
    u64 imm = 0;
    if (regs_.constant(a, imm) && !regs_.constant(b, imm)) {
        std::swap(a, b);
        cond = swapped(cond);
    }
    const Type t = type_of(a);
    const bool zero = regs_.constant(b, imm) && imm == 0;
    if (zero && inst_of(a).op == Op::And && regs_.info(a).skip) {
        const Inst& both = inst_of(a);
        const Reg r = regs_.use(both.args[0]);
        u64 bits = 0;
        if (regs_.constant(both.args[1], bits) && signed_imm(bits, t) == static_cast<i32>(signed_imm(bits, t))) {
            code_.test(gp_exact(r, t), Imm(signed_imm(bits, t)));
        } else {
            code_.test(gp_exact(r, t), gp_exact(regs_.use(both.args[1]), t));
        }
        return condition_code(cond);
    }
    if (zero) {
        regs_.note_use(a);
        const bool from_flags = flags_of_ != kNone && regs_.root(flags_of_) == regs_.root(a) && type_of(flags_of_) == t;
        if (from_flags && (cond == Cond::Eq || cond == Cond::Ne)) return condition_code(cond);
        if (from_flags && cond == Cond::Slt) return Cc::S;
        if (from_flags && cond == Cond::Sge) return Cc::NS;
        if (x86::Mem m; !regs_.in_memory(a, m)) {
            const Reg r = regs_.use(a);
            code_.test(gp_exact(r, t), gp_exact(r, t));
        } else {
            code_.cmp(m, 0);
        }
        return condition_code(cond);
    }
    Operand left, right;
    if (regs_.constant(b, imm) && signed_imm(imm, t) == static_cast<i32>(signed_imm(imm, t))) {
        right = Imm(signed_imm(imm, t));
        x86::Mem m;
        left = regs_.in_memory(a, m) ? static_cast<const Operand&>(m) : gp_exact(regs_.use(a), t);
    } else {
        left = gp_exact(regs_.use(a), t);
        x86::Mem m;
        right = regs_.in_memory(b, m) ? static_cast<const Operand&>(m) : gp_exact(regs_.use(b), t);
    }
    code_.emit(x86::Inst::kIdCmp, left, right);
    return condition_code(cond);
}

// Flags and condition for any I8 truth value.
Cc Compiler::condition(Value v) {
    if (regs_.info(v).skip) return compare(inst_of(v));
    const Reg r = regs_.use(v);
    code_.test(gp_exact(r, Type::I8), gp_exact(r, Type::I8));
    return Cc::NE;
}

void Compiler::icmp(Value v, const Inst& inst) {
    const Cc c = compare(inst);
    code_.emit(set_id(c), gp_exact(regs_.define(v), Type::I8));
}

void Compiler::select(Value v, const Inst& inst) {
    const Cc c = condition(inst.args[0]);
    const Type t = inst.type;
    if (ir::is_vector(t)) {
        const Reg a = regs_.use(inst.args[1]);
        const Reg d = regs_.define_copy(v, inst.args[2]);
        const u32 over = code_.jump_short(negate(c));
        code_.move_vector(vec(d, t), vec(a, t));
        code_.bind_short(over);
        return;
    }
    x86::Mem m;
    const Operand a = regs_.in_memory(inst.args[1], m) ? static_cast<const Operand&>(m) : gp_op(regs_.use(inst.args[1]), t);
    const Reg d = regs_.define_copy(v, inst.args[2]);
    code_.emit(cmov_id(c), gp_op(d, t), a);
    regs_.info(v).clean = t == Type::I32;
}

}  // namespace tandem::jit::baseline
