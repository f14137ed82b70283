// The lazy flags as IR: conditions become a comparison of the operands where the setter is in the same block.
#include <bit>
#include <cstddef>

#include "base/plant.h"
#include "cpu/x86/lift/lifter.h"

namespace tandem::cpu::x86 {

using jit::ir::size_of;

namespace {

// Jcc's condition codes without their lowest (negating) bit.
enum Test : u8 { kOverflow, kBelow, kZero, kBelowEqual, kSign, kParity, kLess, kLessEqual };

// After a comparison every condition but sign and parity is the host's comparison of the same operands.
std::optional<Cond> compare_condition(Test test) {
    switch (test) {
        case kBelow: return Cond::Ult;
        case kZero: return Cond::Eq;
        case kBelowEqual: return Cond::Ule;
        case kLess: return Cond::Slt;
        case kLessEqual: return Cond::Sle;
        default: return std::nullopt;
    }
}

// After a logical operation: its result against zero (CF = OF = 0).
std::optional<Cond> logic_condition(Test test) {
    switch (test) {
        case kZero:
        case kBelowEqual: return Cond::Eq;
        case kSign:
        case kLess: return Cond::Slt;
        case kLessEqual: return Cond::Sle;
        default: return std::nullopt;
    }
}

constexpr Cond negated(Cond c) {
    switch (c) {
        case Cond::Eq: return Cond::Ne;
        case Cond::Ne: return Cond::Eq;
        case Cond::Ult: return Cond::Uge;
        case Cond::Ule: return Cond::Ugt;
        case Cond::Ugt: return Cond::Ule;
        case Cond::Uge: return Cond::Ult;
        case Cond::Slt: return Cond::Sge;
        case Cond::Sle: return Cond::Sgt;
        case Cond::Sgt: return Cond::Sle;
        case Cond::Sge: return Cond::Slt;
    }
    return c;
}

unsigned condition_of_flag(u64 eflags_bit) {
    switch (eflags_bit) {
        case eflags::OF: return 2 * kOverflow;
        case eflags::CF: return 2 * kBelow;
        case eflags::ZF: return 2 * kZero;
        case eflags::SF: return 2 * kSign;
        case eflags::PF: return 2 * kParity;
        default: return ~0u;  // AF has no condition
    }
}

}  // namespace

// --- Setting

void Lifter::store_flags(CcKind kind, unsigned bytes, Value dst, Value src, Value src2) {
    const u32 code = cc_op(kind, bytes);
    if (dst != kNone) b.set(offsetof(TranslateState, cc_dst), zext64(dst));
    if (src != kNone) b.set(offsetof(TranslateState, cc_src), zext64(src));
    if (src2 != kNone) b.set(offsetof(TranslateState, cc_src2), zext64(src2));
    if (cc_op_ != code) b.set(offsetof(TranslateState, cc_op), imm32(code));
    cc_op_ = code;
    flags_ = {.known = true, .kind = kind, .bytes = static_cast<u8>(bytes), .dst = dst, .src = src};
}

void Lifter::flags_add(Value result, Value first, Value second) {
    store_flags(CcKind::Add, size_of(b.type_of(result)), result, second, kNone);
    flags_.first = first;
    flags_.second = second;
}

void Lifter::flags_sub(Value result, Value first, Value second) {
    store_flags(CcKind::Sub, size_of(b.type_of(result)), result, second, kNone);
    flags_.first = first;
    flags_.second = second;
}

void Lifter::flags_adc(Value result, Value first, Value second, Value carry_in) {
    if (plant::active(plant::Fault::AdcFlags)) return flags_add(result, first, second);
    store_flags(CcKind::Adc, size_of(b.type_of(result)), result, second, carry_in);
    flags_.first = first;
    flags_.second = second;
    flags_.carry_in = carry_in;
}

void Lifter::flags_sbb(Value result, Value first, Value second, Value borrow) {
    store_flags(CcKind::Sbb, size_of(b.type_of(result)), result, second, borrow);
    flags_.first = first;
    flags_.second = second;
    flags_.carry_in = borrow;
}

void Lifter::flags_logic(Value result) { store_flags(CcKind::Logic, size_of(b.type_of(result)), result, kNone, kNone); }

void Lifter::flags_of(CcKind kind, Value dst, Value src) { store_flags(kind, size_of(b.type_of(dst)), dst, src, kNone); }

void Lifter::flags_when(Value cond, CcKind kind, Value dst, Value src) {
    const auto select = [&](Value changed, u32 slot) {
        b.set(slot, b.select(cond, changed, b.get(b.type_of(changed), slot)));
    };
    select(zext64(dst), offsetof(TranslateState, cc_dst));
    select(zext64(src), offsetof(TranslateState, cc_src));
    select(imm32(cc_op(kind, size_of(b.type_of(dst)))), offsetof(TranslateState, cc_op));
    flags_ = {};
    cc_op_.reset();
}

void Lifter::set_flags(Value value) { store_flags(CcKind::Explicit, 1, kNone, value, kNone); }

void Lifter::merge_flags(u64 mask, Value value) {
    const Value kept = b.andi(flags(), eflags::Arithmetic & ~mask);
    set_flags(b.or_(kept, value));
}

// cc_src2 with the new flags in their places.
Value Lifter::override_bits(Value cf, Value of, u64& replaced) {
    Value bits = kNone;
    replaced = 0;
    if (cf != kNone) {
        replaced |= 2;
        bits = b.shli(zext64(cf), 1);
    }
    if (of != kNone) {
        replaced |= 4;
        const Value at = b.shli(zext64(of), 2);
        bits = bits == kNone ? at : b.or_(bits, at);
    }
    return b.or_(b.andi(b.get(Type::I64, offsetof(TranslateState, cc_src2)), ~replaced), bits);
}

void Lifter::override_flags(Value cf, Value of) {
    u64 replaced = 0;
    b.set(offsetof(TranslateState, cc_src2), override_bits(cf, of, replaced));
    const u32 marks = static_cast<u32>(replaced) << 5;
    if (!cc_op_) {
        const Value code = b.get(Type::I32, offsetof(TranslateState, cc_op));
        b.set(offsetof(TranslateState, cc_op), b.or_(code, imm32(marks)));
    } else if ((*cc_op_ & marks) != marks) {
        cc_op_ = *cc_op_ | marks;
        b.set(offsetof(TranslateState, cc_op), imm32(*cc_op_));
    }
    if (cf != kNone) flags_.new_carry = b.zext_or_trunc(Type::I8, cf);
    if (of != kNone) flags_.new_overflow = b.zext_or_trunc(Type::I8, of);
}

void Lifter::override_flags_when(Value cond, Value cf, Value of) {
    u64 replaced = 0;
    const Value code = b.get(Type::I32, offsetof(TranslateState, cc_op));
    const Value old = b.get(Type::I64, offsetof(TranslateState, cc_src2));
    const Value bits = override_bits(cf, of, replaced);
    b.set(offsetof(TranslateState, cc_src2), b.select(cond, bits, old));
    const Value marked = b.or_(code, imm32(replaced << 5));
    b.set(offsetof(TranslateState, cc_op), b.select(cond, marked, code));
    flags_ = {};
    cc_op_.reset();
}

Value Lifter::at_flag(u64 eflags_bit, Value zero_or_one) {
    return b.shli(zext64(zero_or_one), static_cast<u8>(std::countr_zero(eflags_bit)));
}

// --- Reading

Value Lifter::flags() {
    const bool as_stored = flags_.new_carry == kNone && flags_.new_overflow == kNone;
    if (flags_.known && flags_.kind == CcKind::Explicit && as_stored) return flags_.src;
    const Value code = cc_op_ ? imm32(*cc_op_) : b.get(Type::I32, offsetof(TranslateState, cc_op));
    const Value all = call(HelperId::lazy_flags, {code, b.get(Type::I64, offsetof(TranslateState, cc_dst)),
                                                  b.get(Type::I64, offsetof(TranslateState, cc_src)),
                                                  b.get(Type::I64, offsetof(TranslateState, cc_src2))});
    return zext64(all);
}

Value Lifter::flag(u64 eflags_bit) {
    const unsigned cc = condition_of_flag(eflags_bit);
    if (cc != ~0u) return condition(cc);
    return b.trunc(Type::I8, b.shri(b.andi(flags(), eflags_bit), static_cast<u8>(std::countr_zero(eflags_bit))));
}

Value Lifter::known_carry() {
    if (flags_.new_carry != kNone) return flags_.new_carry;
    if (flags_.carry != kNone) return flags_.carry;
    const auto& f = flags_;
    switch (f.kind) {
        case CcKind::Add: flags_.carry = b.icmp(Cond::Ult, f.dst, f.second); break;
        case CcKind::Sub: flags_.carry = b.icmp(Cond::Ult, f.first, f.second); break;
        case CcKind::Adc: flags_.carry = b.carry3(Op::CarryOut, f.first, f.second, f.carry_in); break;
        case CcKind::Sbb: flags_.carry = b.carry3(Op::BorrowOut, f.first, f.second, f.carry_in); break;
        case CcKind::Inc:
        case CcKind::Dec: flags_.carry = b.trunc(Type::I8, f.src); break;
        case CcKind::Shl: flags_.carry = is_negative(f.src); break;
        case CcKind::Explicit:
        case CcKind::Shr: flags_.carry = b.trunc(Type::I8, b.andi(f.src, 1)); break;
        case CcKind::Mul:
        case CcKind::Blsi: flags_.carry = b.icmpi(Cond::Ne, f.src, 0); break;
        case CcKind::Blsr:
        case CcKind::Bmsk: flags_.carry = b.icmpi(Cond::Eq, f.src, 0); break;
        case CcKind::Logic: flags_.carry = konst(Type::I8, 0); break;
    }
    return flags_.carry;
}

Value Lifter::known_overflow() {
    const auto& f = flags_;
    if (f.new_overflow != kNone) return f.new_overflow;
    const u64 sign = u64{1} << (f.bytes * 8 - 1);
    switch (f.kind) {
        case CcKind::Add:
        case CcKind::Adc: return is_negative(b.and_(b.xor_(f.first, f.dst), b.xor_(f.second, f.dst)));
        case CcKind::Sub:
        case CcKind::Sbb: return is_negative(b.and_(b.xor_(f.first, f.second), b.xor_(f.first, f.dst)));
        case CcKind::Inc: return b.icmpi(Cond::Eq, f.dst, sign);
        case CcKind::Dec: return b.icmpi(Cond::Eq, f.dst, sign - 1);
        case CcKind::Shl:
        case CcKind::Shr: return is_negative(b.xor_(f.src, f.dst));
        case CcKind::Mul: return known_carry();
        case CcKind::Explicit: return b.trunc(Type::I8, b.andi(b.shri(f.src, 11), 1));
        default: return konst(Type::I8, 0);
    }
}

Value Lifter::known_zero() {
    if (flags_.kind == CcKind::Explicit) return b.trunc(Type::I8, b.andi(b.shri(flags_.src, 6), 1));
    if (flags_.kind == CcKind::Mul) return konst(Type::I8, 0);
    return b.icmpi(Cond::Eq, flags_.dst, 0);
}

Value Lifter::known_sign() {
    if (flags_.kind == CcKind::Explicit) return b.trunc(Type::I8, b.andi(b.shri(flags_.src, 7), 1));
    return is_negative(flags_.dst);
}

Value Lifter::known_parity() {
    if (flags_.kind == CcKind::Explicit) return b.trunc(Type::I8, b.andi(b.shri(flags_.src, 2), 1));
    if (flags_.kind >= CcKind::Blsi) return konst(Type::I8, 0);
    const Value low = b.zext(Type::I32, b.trunc(Type::I8, flags_.dst));
    return not1(b.trunc(Type::I8, b.andi(b.unary(Op::Popcnt, low), 1)));
}

std::optional<Value> Lifter::direct_condition(unsigned cc) {
    const auto test = static_cast<Test>(cc >> 1);
    const bool negate = (cc & 1) != 0;
    const bool carry_changed = flags_.new_carry != kNone && (test == kBelow || test == kBelowEqual);
    const bool overflow_changed = flags_.new_overflow != kNone && (test == kLess || test == kLessEqual);
    if (carry_changed || overflow_changed) return std::nullopt;
    if (flags_.kind == CcKind::Sub) {
        if (const auto c = compare_condition(test)) return b.icmp(negate ? negated(*c) : *c, flags_.first, flags_.second);
    }
    if (flags_.kind == CcKind::Logic) {
        if (const auto c = logic_condition(test)) return b.icmpi(negate ? negated(*c) : *c, flags_.dst, 0);
    }
    const bool by_result = flags_.kind != CcKind::Explicit && flags_.kind != CcKind::Mul;
    if (by_result && test == kZero) return b.icmpi(negate ? Cond::Ne : Cond::Eq, flags_.dst, 0);
    if (flags_.kind != CcKind::Explicit && test == kSign) return b.icmpi(negate ? Cond::Sge : Cond::Slt, flags_.dst, 0);
    return std::nullopt;
}

Value Lifter::unknown_condition(unsigned cc) {
    const Value code = b.get(Type::I32, offsetof(TranslateState, cc_op));
    const Value selector = b.or_(code, imm32(static_cast<u64>(cc) << kConditionShift));
    return call(HelperId::lazy_condition,
                {selector, b.get(Type::I64, offsetof(TranslateState, cc_dst)),
                 b.get(Type::I64, offsetof(TranslateState, cc_src)), b.get(Type::I64, offsetof(TranslateState, cc_src2))});
}

Value Lifter::composed_condition(unsigned cc) {
    switch (static_cast<Test>(cc >> 1)) {
        case kOverflow: return known_overflow();
        case kBelow: return known_carry();
        case kZero: return known_zero();
        case kBelowEqual: return b.or_(known_carry(), known_zero());
        case kSign: return known_sign();
        case kParity: return known_parity();
        case kLess: return b.xor_(known_sign(), known_overflow());
        case kLessEqual: break;
    }
    return b.or_(known_zero(), b.xor_(known_sign(), known_overflow()));
}

Value Lifter::condition(unsigned cc) {
    const auto test = static_cast<Test>(cc >> 1);
    const bool at_hand =
        (test == kBelow && flags_.new_carry != kNone) || (test == kOverflow && flags_.new_overflow != kNone);
    if (!flags_.known && !at_hand) return unknown_condition(cc);
    if (flags_.known) {
        if (const auto direct = direct_condition(cc)) return *direct;
    }
    const Value v = composed_condition(cc);
    return (cc & 1) != 0 ? not1(v) : v;
}

}  // namespace tandem::cpu::x86
