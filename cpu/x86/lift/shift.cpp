// Shifts and rotates (Intel SDM volume 2). The count is masked to 5 or 6 bits; a masked count of 0 leaves every flag alone.
#include <array>

#include "cpu/x86/lift/lifter.h"

namespace tandem::cpu::x86 {
namespace {

using jit::ir::width_of;

struct Count {
    Value value = kNone;      // I8, masked
    std::optional<u8> known;  // when the instruction says it
};

Count masked_count(Lifter& l, unsigned operand) {
    const u8 count_mask = l.op(0).size == 8 ? 0x3f : 0x1f;
    const Operand& o = l.op(operand);
    if (o.kind == OperandKind::Imm) {
        const u8 count = static_cast<u8>(o.imm) & count_mask;
        return {l.konst(Type::I8, count), count};
    }
    return {l.b.andi(l.gpr(RCX, 1), count_mask), std::nullopt};
}

// Sets dst, src and kind of the lazy flags when `count` is not 0.
void flags_by_count(Lifter& l, const Count& count, CcKind kind, Value dst, Value src) {
    if (count.known) {
        if (*count.known != 0) l.flags_of(kind, dst, src);
        return;
    }
    l.flags_when(l.b.icmpi(Cond::Ne, count.value, 0), kind, dst, src);
}

// SHL, SHR, SAR. arg: the IR operation.
void lift_shift(Lifter& l) {
    const Op op = static_cast<Op>(l.arg);
    const Count count = masked_count(l, 1);
    const Type t = l.type(0);
    const Type wide = t == Type::I64 ? t : Type::I32;
    const Value old = l.read(0);
    const Value value = op == Op::Sar ? l.b.sext(wide, old) : l.b.zext(wide, old);
    const Value result = l.b.trunc(t, l.b.binary(op, value, count.value));
    l.write(0, result);
    if (count.known == 0) return;
    const Value before = l.b.addi(count.value, 0xff);
    const Value last = l.b.trunc(t, l.b.binary(op, value, before));
    flags_by_count(l, count, op == Op::Shl ? CcKind::Shl : CcKind::Shr, result, last);
}

struct RotateFlags {
    Value cf, of;  // I64
};

// ROL's CF is the result's bit 0, ROR's its top bit; RCL and RCR bring their own. OF is the top bit XOR CF (left) or XOR the
// bit below it (right).
RotateFlags rotate_flags(Lifter& l, Value result, bool left, Value carry_out = kNone) {
    const auto top = static_cast<u8>(width_of(l.b.type_of(result)) - 1);
    const Value wide = l.zext64(result);
    const Value sign = l.b.shri(wide, top);
    const Value cf = carry_out != kNone ? carry_out : left ? l.b.andi(wide, 1) : sign;
    const Value other = left ? cf : l.b.andi(l.b.shri(wide, static_cast<u8>(top - 1)), 1);
    return {cf, l.b.xor_(sign, other)};
}

// ROL, ROR. arg: the IR operation.
void lift_rotate(Lifter& l) {
    const Op op = static_cast<Op>(l.arg);
    const Count count = masked_count(l, 1);
    const Value result = l.b.binary(op, l.read(0), count.value);
    l.write(0, result);
    if (count.known == 0) return;
    const RotateFlags f = rotate_flags(l, result, op == Op::Rol);
    if (count.known) return l.override_flags(f.cf, f.of);
    l.override_flags_when(l.b.icmpi(Cond::Ne, count.value, 0), f.cf, f.of);
}

// RCL, RCR by one: the form that multi-word shifts use.
void rotate_carry_once(Lifter& l, bool left) {
    const Type t = l.type(0);
    const Type wide = t == Type::I64 ? t : Type::I32;
    const auto top = static_cast<u8>(width_of(t) - 1);
    const Value carry = l.b.zext(wide, l.carry());
    const Value old = l.read(0);
    const Value value = l.b.zext(wide, old);
    const Value shifted = left ? l.b.or_(l.b.shli(value, 1), carry) : l.b.or_(l.b.shri(value, 1), l.b.shli(carry, top));
    const Value result = l.b.trunc(t, shifted);
    l.write(0, result);
    const Value wide_old = l.zext64(old);
    const Value out = left ? l.b.shri(wide_old, top) : l.b.andi(wide_old, 1);
    const RotateFlags f = rotate_flags(l, result, left, out);
    l.override_flags(f.cf, f.of);
}

// RCL, RCR. arg: 1 left.
void lift_rotate_carry(Lifter& l) {
    const Count count = masked_count(l, 1);
    if (count.known == 1) return rotate_carry_once(l, l.arg != 0);
    const Value old = l.read(0);
    if (count.known == 0) return l.write(0, old);
    const Value wide = l.zext64(old);
    const Value flags = l.flags();
    const Value spec = l.b.or_(l.b.zext(Type::I32, count.value), l.imm32(rotate_carry_spec(l.op(0).size, l.arg != 0)));
    l.write(0, l.b.trunc(l.type(0), l.call(HelperId::rotate_carry_value, {wide, spec, flags})));
    l.set_flags(l.call(HelperId::rotate_carry_flags, {wide, spec, flags}));
}

// The operands of a 16-bit double shift repeat beyond 32 bits: what current processors do with counts above 16.
Value double_shift_16(Lifter& l, Value first, Value second, Value count, bool left) {
    const Value low = l.zext64(first);
    const Value chain = l.b.or_(l.b.shli(low, 32), l.b.or_(l.b.shli(l.zext64(second), 16), low));
    if (left) return l.b.trunc(Type::I16, l.b.shri(l.b.binary(Op::Shl, chain, count), 32));
    return l.b.trunc(Type::I16, l.b.binary(Op::Shr, chain, count));
}

Value double_shift(Lifter& l, Value first, Value second, Value count, bool left) {
    const Type t = l.b.type_of(first);
    if (t == Type::I16) return double_shift_16(l, first, second, count, left);
    const auto top = static_cast<u8>(width_of(t) - 1);
    // The complement of the count in two steps, so that a count of 0 brings nothing in.
    const Value rest = l.b.binary(Op::Xor, count, l.konst(Type::I8, top));
    const Value in = left ? l.b.binary(Op::Shr, l.b.shri(second, 1), rest) : l.b.binary(Op::Shl, l.b.shli(second, 1), rest);
    return l.b.or_(l.b.binary(left ? Op::Shl : Op::Shr, first, count), in);
}

// SHLD, SHRD. arg: 1 left.
void lift_double_shift(Lifter& l) {
    const bool left = l.arg != 0;
    const Count count = masked_count(l, 2);
    const Value second = l.read(1);
    const Value first = l.read(0);
    const Value result = double_shift(l, first, second, count.value, left);
    l.write(0, result);
    if (count.known == 0) return;
    const Value before = l.b.andi(l.b.addi(count.value, 0xff), 0x3f);
    const Value last = double_shift(l, first, second, before, left);
    flags_by_count(l, count, left ? CcKind::Shl : CcKind::Shr, result, last);
}

// SHLX, SHRX, SARX: no flags. arg: the IR operation, which masks the count.
void lift_shift_flagless(Lifter& l) {
    const Value value = l.read(1);
    l.write(0, l.b.binary(static_cast<Op>(l.arg), value, l.b.trunc(Type::I8, l.read(2))));
}

void lift_rorx(Lifter& l) {
    const auto count = static_cast<u64>(l.op(2).imm) & (l.width(0) - 1);
    l.write(0, l.b.binary(Op::Ror, l.read(1), l.konst(Type::I8, count)));
}

constexpr u32 ir(Op op) { return static_cast<u32>(op); }

constexpr auto kRows = std::to_array<LiftRow>({
    {Opcode::SHL, lift_shift, ir(Op::Shl)},
    {Opcode::SHR, lift_shift, ir(Op::Shr)},
    {Opcode::SAR, lift_shift, ir(Op::Sar)},
    {Opcode::ROL, lift_rotate, ir(Op::Rol)},
    {Opcode::ROR, lift_rotate, ir(Op::Ror)},
    {Opcode::RCL, lift_rotate_carry, 1},
    {Opcode::RCR, lift_rotate_carry, 0},
    {Opcode::SHLD, lift_double_shift, 1},
    {Opcode::SHRD, lift_double_shift, 0},
    {Opcode::SHLX, lift_shift_flagless, ir(Op::Shl)},
    {Opcode::SHRX, lift_shift_flagless, ir(Op::Shr)},
    {Opcode::SARX, lift_shift_flagless, ir(Op::Sar)},
    {Opcode::RORX, lift_rorx},
});

}  // namespace

std::span<const LiftRow> shift_rows() { return kRows; }

}  // namespace tandem::cpu::x86
