// NZCV: kept as the operands of the operation that sets it (translate_state.h), tested on those operands where the operation
// is in the same block.
#include "cpu/arm64/lift/helpers.h"
#include "cpu/arm64/lift/lifter.h"

namespace tandem::cpu::arm64 {
namespace {

constexpr u32 kCcOpSlot = offsetof(TranslateState, cc_op);
constexpr u32 kCcASlot = offsetof(TranslateState, cc_a);
constexpr u32 kCcBSlot = offsetof(TranslateState, cc_b);

}  // namespace

void Lifter::store_flags(CcOp op, Value a, Value rhs) {
    if (!cc_op_known_ || cc_op_ != static_cast<u32>(op)) set(kCcOpSlot, imm32(static_cast<u32>(op)));
    cc_op_known_ = true;
    cc_op_ = static_cast<u32>(op);
    set(kCcASlot, zext64(a));
    if (rhs != kNone) set(kCcBSlot, zext64(rhs));
}

void Lifter::flags_add(Value a, Value rhs) {
    flags_ = {KnownFlags::Kind::Add, a, rhs, kNone, kNone, kNone, kNone};
    result_ = b.add(a, rhs);
    store_flags(b.type_of(a) == Type::I64 ? CcOp::Add64 : CcOp::Add32, a, rhs);
}

void Lifter::flags_sub(Value a, Value rhs) {
    flags_ = {KnownFlags::Kind::Sub, a, rhs, kNone, kNone, kNone, kNone};
    result_ = kNone;
    store_flags(b.type_of(a) == Type::I64 ? CcOp::Sub64 : CcOp::Sub32, a, rhs);
}

void Lifter::flags_logic(Value result) {
    flags_ = {KnownFlags::Kind::Logic, result, kNone, kNone, kNone, kNone, kNone};
    result_ = result;
    store_flags(b.type_of(result) == Type::I64 ? CcOp::Logic64 : CcOp::Logic32, result, kNone);
}

void Lifter::flags_of(Value n, Value z, Value c, Value v_flag) {
    Value packed = b.shli(zext64(n), 31);
    packed = b.or_(packed, b.shli(zext64(z), 30));
    packed = b.or_(packed, b.shli(zext64(c), 29));
    packed = b.or_(packed, b.shli(zext64(v_flag), 28));
    store_flags(CcOp::Explicit, packed, kNone);
    flags_ = {KnownFlags::Kind::Split, kNone, kNone, n, z, c, v_flag};
}

void Lifter::set_nzcv(Value nzcv_bits) {
    flags_ = {};
    store_flags(CcOp::Explicit, nzcv_bits, kNone);
}

Value Lifter::nzcv() {
    if (cc_op_known_ && cc_op_ == static_cast<u32>(CcOp::Explicit)) return get(Type::I64, kCcASlot);
    return zext64(
        call(HelperId::lazy_nzcv, {get(Type::I32, kCcOpSlot), get(Type::I64, kCcASlot), get(Type::I64, kCcBSlot)}));
}

Value Lifter::flag_z() { return condition(0); }
Value Lifter::flag_c() { return condition(2); }
Value Lifter::flag_n() { return condition(4); }
Value Lifter::flag_v() { return condition(6); }

Value Lifter::known_result() {
    if (result_ == kNone) result_ = b.sub(flags_.a, flags_.b);
    return result_;
}

// A condition without its lowest (negating) bit on known operands.
Value Lifter::compare_condition(unsigned test) {
    using Kind = KnownFlags::Kind;
    const Value a = flags_.a;
    const Value rhs = flags_.b;
    const auto negative = [&](Value value) { return b.icmpi(Cond::Slt, value, 0); };
    if (flags_.kind == Kind::Sub) {
        switch (test) {
            case 0: return b.icmp(Cond::Eq, a, rhs);
            case 1: return b.icmp(Cond::Uge, a, rhs);
            case 2: return negative(known_result());
            case 3: return negative(b.and_(b.xor_(a, rhs), b.xor_(a, known_result())));
            case 4: return b.icmp(Cond::Ugt, a, rhs);
            case 5: return b.icmp(Cond::Sge, a, rhs);
            default: return b.icmp(Cond::Sgt, a, rhs);
        }
    }
    if (flags_.kind == Kind::Logic) {
        switch (test) {
            case 0: return b.icmpi(Cond::Eq, a, 0);
            case 2: return negative(a);
            case 5: return b.icmpi(Cond::Sge, a, 0);
            case 6: return b.icmpi(Cond::Sgt, a, 0);
            default: return b.konst(Type::I8, 0);
        }
    }
    if (flags_.kind == Kind::Add) {
        const auto zero = [&] { return b.icmpi(Cond::Eq, result_, 0); };
        const auto carry = [&] { return b.icmp(Cond::Ult, result_, a); };
        const auto overflow = [&] { return negative(b.and_(b.xor_(a, result_), b.xor_(rhs, result_))); };
        switch (test) {
            case 0: return zero();
            case 1: return carry();
            case 2: return negative(result_);
            case 3: return overflow();
            case 4: return b.and_(carry(), not1(zero()));
            case 5: return not1(b.xor_(negative(result_), overflow()));
            default: return b.and_(not1(zero()), not1(b.xor_(negative(result_), overflow())));
        }
    }
    switch (test) {
        case 0: return flags_.z;
        case 1: return flags_.c;
        case 2: return flags_.n;
        case 3: return flags_.v;
        case 4: return b.and_(flags_.c, not1(flags_.z));
        case 5: return not1(b.xor_(flags_.n, flags_.v));
        default: return b.and_(not1(flags_.z), not1(b.xor_(flags_.n, flags_.v)));
    }
}

Value Lifter::condition(unsigned cond) {
    const unsigned test = cond >> 1;
    if (test == 7) return b.konst(Type::I8, 1);
    if (flags_.kind != KnownFlags::Kind::Unknown) {
        const Value holds = compare_condition(test);
        return (cond & 1) != 0 ? not1(holds) : holds;
    }
    const Value selector = b.or_(get(Type::I32, kCcOpSlot), imm32(cond << kConditionShift));
    return call(HelperId::lazy_condition, {selector, get(Type::I64, kCcASlot), get(Type::I64, kCcBSlot)});
}

}  // namespace tandem::cpu::arm64
