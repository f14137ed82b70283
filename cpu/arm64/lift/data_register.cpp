// Data processing, register: decode/dp_register.inc.
#include "cpu/arm64/lift/lifter.h"

namespace tandem::cpu::arm64 {
namespace {

// ShiftReg: Rm shifted by an immediate; LSL, LSR, ASR, ROR in bits 23:22.
Value shifted_register(Lifter& l) {
    const Value value = l.x(l.rm(), l.int_type());
    const unsigned amount = l.field(15, 10);
    if (amount == 0) return value;
    constexpr Op kShift[4] = {Op::Shl, Op::Shr, Op::Sar, Op::Ror};
    return l.b.binary(kShift[l.field(23, 22)], value, l.imm(Type::I8, amount));
}

// ExtendReg: Rm extended by option, then shifted left.
Value extended_register(Lifter& l) {
    constexpr Type kFrom[4] = {Type::I8, Type::I16, Type::I32, Type::I64};
    const Type t = l.int_type();
    const unsigned option = l.field(15, 13);
    Value value = l.x(l.rm(), kFrom[option & 3]);
    value = size_of(l.b.type_of(value)) >= size_of(t) ? l.b.trunc(t, value)
            : option >= 4                             ? l.b.sext(t, value)
                                                      : l.b.zext(t, value);
    const unsigned amount = l.field(12, 10);
    return amount == 0 ? value : l.b.shli(value, static_cast<u8>(amount));
}

// The flags of a + rhs + carry, whose result is `result`; a subtraction passes the inverted operand.
void flags_with_carry(Lifter& l, Value a, Value rhs, Value carry, Value result) {
    auto& b = l.b;
    const Value n = b.icmpi(Cond::Slt, result, 0);
    const Value z = b.icmpi(Cond::Eq, result, 0);
    const Value c = b.carry3(Op::CarryOut, a, rhs, carry);
    const Value v = b.icmpi(Cond::Slt, b.and_(b.xor_(a, result), b.xor_(rhs, result)), 0);
    l.flags_of(n, z, c, v);
}

}  // namespace

void lift_logical_shifted(Lifter& l) {
    Value rhs = shifted_register(l);
    if (l.is(21)) rhs = l.b.unary(Op::Not, rhs);
    const Value a = l.x(l.rn(), l.int_type());
    switch (l.field(30, 29)) {
        case 0: return l.set_x(l.rd(), l.b.and_(a, rhs));
        case 1: return l.set_x(l.rd(), l.rn() == 31 ? rhs : l.b.or_(a, rhs));
        case 2: return l.set_x(l.rd(), l.b.xor_(a, rhs));
        default: break;
    }
    const Value result = l.b.and_(a, rhs);
    l.flags_logic(result);
    l.set_x(l.rd(), result);
}

void lift_add_sub_shifted(Lifter& l) {
    const Value rhs = shifted_register(l);
    const Value a = l.x(l.rn(), l.int_type());
    const Value result = l.is(30) ? l.b.sub(a, rhs) : l.b.add(a, rhs);
    if (l.is(29)) l.is(30) ? l.flags_sub(a, rhs) : l.flags_add(a, rhs);
    l.set_x(l.rd(), result);
}

void lift_add_sub_extended(Lifter& l) {
    const Value rhs = extended_register(l);
    const Value a = l.x_sp(l.rn(), l.int_type());
    const Value result = l.is(30) ? l.b.sub(a, rhs) : l.b.add(a, rhs);
    if (!l.is(29)) return l.set_x_sp(l.rd(), result);
    l.is(30) ? l.flags_sub(a, rhs) : l.flags_add(a, rhs);
    l.set_x(l.rd(), result);
}

void lift_add_sub_carry(Lifter& l) {
    const Type t = l.int_type();
    const Value a = l.x(l.rn(), t);
    Value rhs = l.x(l.rm(), t);
    if (l.is(30)) rhs = l.b.unary(Op::Not, rhs);
    const Value carry = l.flag_c();
    const Value result = l.b.carry3(Op::AddC, a, rhs, carry);
    if (l.is(29)) flags_with_carry(l, a, rhs, carry, result);
    l.set_x(l.rd(), result);
}

void lift_rmif(Lifter& l) {
    const Value rotated = l.b.binary(Op::Ror, l.x(l.rn()), l.imm(Type::I8, l.field(20, 15)));
    const u64 which = u64{l.field(3, 0)} << 28;
    const Value fresh = l.b.andi(l.b.shli(rotated, 28), which);
    l.set_nzcv(l.b.or_(l.b.andi(l.nzcv(), pstate::kNzcv & ~which), fresh));
}

void lift_setf(Lifter& l) {
    const unsigned top = l.is(14) ? 16 : 8;
    const Value value = l.x(l.rn(), Type::I32);
    const auto bit_at = [&](unsigned n) { return l.b.trunc(Type::I8, l.b.andi(l.b.shri(value, static_cast<u8>(n)), 1)); };
    const Value c = l.flag_c();
    const Value n = bit_at(top - 1);
    l.flags_of(n, l.b.icmpi(Cond::Eq, l.b.andi(value, mask(top)), 0), c, l.b.xor_(n, bit_at(top)));
}

void lift_conditional_compare(Lifter& l) {
    const Type t = l.int_type();
    const Value holds = l.condition(l.field(15, 12));
    const Value a = l.x(l.rn(), t);
    const Value rhs = l.is(11) ? l.imm(t, l.field(20, 16)) : l.x(l.rm(), t);
    auto& b = l.b;
    const bool subtract = l.is(30);
    const Value result = subtract ? b.sub(a, rhs) : b.add(a, rhs);
    const Value carry = subtract ? b.icmp(Cond::Uge, a, rhs) : b.icmp(Cond::Ult, result, a);
    const Value changed = subtract ? b.xor_(a, rhs) : b.xor_(rhs, result);
    const Value overflow = b.icmpi(Cond::Slt, b.and_(changed, b.xor_(a, result)), 0);
    const auto pick = [&](Value flag, unsigned n) { return b.select(holds, flag, l.imm(Type::I8, l.is(n) ? 1 : 0)); };
    const Value zero = subtract ? b.icmp(Cond::Eq, a, rhs) : b.icmpi(Cond::Eq, result, 0);
    l.flags_of(pick(b.icmpi(Cond::Slt, result, 0), 3), pick(zero, 2), pick(carry, 1), pick(overflow, 0));
}

void lift_conditional_select(Lifter& l) {
    const Type t = l.int_type();
    const Value holds = l.condition(l.field(15, 12));
    const Value first = l.x(l.rn(), t);
    Value second = l.x(l.rm(), t);
    const bool invert = l.is(30);
    const bool increment = l.is(10);
    if (invert && increment) {
        second = l.b.unary(Op::Neg, second);
    } else if (invert) {
        second = l.b.unary(Op::Not, second);
    } else if (increment) {
        second = l.b.addi(second, 1);
    }
    // CSET: both constants, so the condition is the result.
    u64 one = 0;
    u64 zero = 1;
    if (l.b.constant(second, one) && l.b.constant(first, zero) && one == 1 && zero == 0) {
        return l.set_x(l.rd(), l.not1(holds));
    }
    l.set_x(l.rd(), l.b.select(holds, first, second));
}

void lift_multiply_add(Lifter& l) {
    const Type t = l.int_type();
    const Value product = l.b.binary(Op::Mul, l.x(l.rn(), t), l.x(l.rm(), t));
    const Value addend = l.x(l.ra(), t);
    l.set_x(l.rd(), l.is(15) ? l.b.sub(addend, product) : l.b.add(addend, product));
}

void lift_multiply_add_long(Lifter& l) {
    const auto operand = [&](unsigned reg) {
        const Value value = l.x(reg, Type::I32);
        return l.is(23) ? l.b.zext(Type::I64, value) : l.b.sext(Type::I64, value);
    };
    const Value product = l.b.binary(Op::Mul, operand(l.rn()), operand(l.rm()));
    const Value addend = l.x(l.ra());
    l.set_x(l.rd(), l.is(15) ? l.b.sub(addend, product) : l.b.add(addend, product));
}

void lift_multiply_high(Lifter& l) {
    l.set_x(l.rd(), l.b.binary(l.is(23) ? Op::MulHiU : Op::MulHiS, l.x(l.rn()), l.x(l.rm())));
}

void lift_divide(Lifter& l) {
    const Type t = l.int_type();
    const bool is_signed = l.is(10);
    const auto operand = [&](unsigned reg) {
        const Value value = l.x(reg, t);
        return is_signed ? l.b.sext(Type::I64, value) : l.b.zext(Type::I64, value);
    };
    const Value a = operand(l.rn());
    const Value divisor = operand(l.rm());
    const Value result = is_signed ? l.call(HelperId::divide_signed, {a, divisor, l.imm32(l.width())})
                                   : l.call(HelperId::divide_unsigned, {a, divisor});
    l.set_x(l.rd(), l.b.trunc(t, result));
}

void lift_shift_variable(Lifter& l) {
    constexpr Op kShift[4] = {Op::Shl, Op::Shr, Op::Sar, Op::Ror};
    const Value amount = l.x(l.rm(), Type::I8);
    l.set_x(l.rd(), l.b.binary(kShift[l.field(11, 10)], l.x(l.rn(), l.int_type()), amount));
}

void lift_crc32(Lifter& l) {
    const unsigned bytes = 1u << l.field(11, 10);
    const Value data = l.x(l.rm());
    l.set_x(l.rd(), l.call(HelperId::crc32, {l.x(l.rn(), Type::I32), data, l.imm32(bytes | (l.is(12) ? 16 : 0))}));
}

void lift_reverse_register(Lifter& l) {
    const Type t = l.int_type();
    const Value value = l.x(l.rn(), t);
    auto& b = l.b;
    switch (l.field(11, 10)) {
        case 0: {
            const Value reversed = l.call(HelperId::reverse_bits, {l.zext64(value)});
            return l.set_x(l.rd(), l.sf() ? reversed : b.shri(reversed, 32));
        }
        case 1: {
            constexpr u64 kLowBytes = 0x00ff00ff00ff00ff;
            const Value low = b.andi(b.shri(value, 8), kLowBytes);
            return l.set_x(l.rd(), b.or_(low, b.shli(b.andi(value, kLowBytes), 8)));
        }
        case 2: {
            const Value swapped = b.unary(Op::Bswap, value);
            return l.set_x(l.rd(), l.sf() ? b.binary(Op::Ror, swapped, l.imm(Type::I8, 32)) : swapped);
        }
        default: return l.set_x(l.rd(), b.unary(Op::Bswap, value));
    }
}

void lift_count_leading(Lifter& l) {
    const Value value = l.x(l.rn(), l.int_type());
    if (!l.is(10)) return l.set_x(l.rd(), l.b.unary(Op::Clz, value));
    // CountLeadingSignBits: zeros in front of the bits that differ from their neighbour, without the topmost.
    const Value changes = l.b.xor_(value, l.b.sari(value, 1));
    l.set_x(l.rd(), l.b.addi(l.b.unary(Op::Clz, changes), ~u64{0}));
}

}  // namespace tandem::cpu::arm64
