// Bit tests, bit scans, counts and the BMI groups; operations on single flags (Intel SDM volume 2).
#include <array>

#include "base/plant.h"
#include "cpu/x86/lift/lifter.h"

namespace tandem::cpu::x86 {
namespace {

using jit::ir::int_type;

enum class BitOp : u32 { Test, Set, Reset, Complement };

// A register bit offset into memory selects the operand-sized word that holds the bit, before or after the operand.
void select_word(Lifter& l, Value offset) {
    const u8 shift = l.op(0).size == 2 ? 4 : l.op(0).size == 4 ? 5 : 6;
    const Value wide = l.b.sext(Type::I64, offset);
    const Value bytes = l.b.shli(l.b.sari(wide, shift), static_cast<u8>(shift - 3));
    l.address_beyond(0, l.b.trunc(int_type(l.insn.address_size), bytes));
}

Value changed_bits(Lifter& l, BitOp op, Value old, Value bit_mask) {
    switch (op) {
        case BitOp::Set: return l.b.or_(old, bit_mask);
        case BitOp::Reset: return l.b.and_(old, l.b.unary(Op::Not, bit_mask));
        case BitOp::Complement: return l.b.xor_(old, bit_mask);
        case BitOp::Test: break;
    }
    return old;
}

Value atomic_bits(Lifter& l, BitOp op, Value bit_mask) {
    switch (op) {
        case BitOp::Set: return l.atomic(Op::AtomicOr, 0, bit_mask);
        case BitOp::Reset: return l.atomic(Op::AtomicAnd, 0, l.b.unary(Op::Not, bit_mask));
        default: return l.atomic(Op::AtomicXor, 0, bit_mask);
    }
}

// BT, BTS, BTR, BTC: CF is the old bit, the other flags stay. arg: BitOp.
void lift_bit_test(Lifter& l) {
    const auto op = static_cast<BitOp>(l.arg);
    const Type t = l.type(0);
    const bool immediate = l.op(1).kind == OperandKind::Imm;
    const Value offset = immediate ? l.konst(t, static_cast<u64>(l.op(1).imm)) : l.read(1);
    if (l.is_mem(0) && !immediate) select_word(l, offset);
    const Value index = l.b.trunc(Type::I8, l.b.andi(offset, l.width(0) - 1));
    Value old = kNone;
    if (op == BitOp::Test) {
        old = l.read(0);
    } else {
        const Value one = l.b.trunc(t, l.b.binary(Op::Shl, l.imm64(1), index));
        if (l.insn.lock) {
            old = atomic_bits(l, op, one);
        } else {
            old = l.read(0);
            l.write(0, changed_bits(l, op, old, one));
        }
    }
    const Value carry = l.b.andi(l.b.binary(Op::Shr, l.zext64(old), index), 1);
    l.set_carry(l.b.trunc(Type::I8, carry));
}

// BSF, BSR: a zero source leaves the destination alone and sets ZF. arg: 1 reverse.
void lift_bit_scan(Lifter& l) {
    const Type t = l.type(0);
    const Value source = l.read(1);
    const Type wide = t == Type::I16 ? Type::I32 : t;
    const Value extended = l.b.zext(wide, source);
    Value found = kNone;
    if (l.arg == 0) {
        found = l.b.unary(Op::Ctz, extended);
    } else {
        found = l.b.sub(l.konst(wide, jit::ir::width_of(wide) - 1), l.b.unary(Op::Clz, extended));
    }
    if (plant::active(plant::Fault::BsfZero)) {
        l.write(0, l.b.trunc(t, found));
    } else {
        l.write_when(l.b.icmpi(Cond::Ne, source, 0), 0, l.b.trunc(t, found));
    }
    l.flags_logic(source);
}

Value counted_flags(Lifter& l, Value carry, Value zero) {
    return l.b.or_(l.at_flag(eflags::CF, carry), l.at_flag(eflags::ZF, zero));
}

// LZCNT, TZCNT. arg: 1 leading.
void lift_zero_count(Lifter& l) {
    const Type t = l.type(0);
    const Value source = l.read(1);
    Value count = kNone;
    if (t == Type::I16) {
        // A guard bit beyond the operand stops the count at 16.
        const Value wide = l.b.zext(Type::I32, source);
        const Value shifted = l.b.or_(l.b.shli(wide, 16), l.konst(Type::I32, 0x8000));
        const Value guarded = l.b.or_(wide, l.konst(Type::I32, 0x10000));
        count = l.b.trunc(t, l.arg != 0 ? l.b.unary(Op::Clz, shifted) : l.b.unary(Op::Ctz, guarded));
    } else {
        count = l.b.unary(l.arg != 0 ? Op::Clz : Op::Ctz, source);
    }
    l.write(0, count);
    l.set_flags(counted_flags(l, l.b.icmpi(Cond::Eq, source, 0), l.b.icmpi(Cond::Eq, count, 0)));
}

void lift_popcnt(Lifter& l) {
    const Type t = l.type(0);
    const Value source = l.read(1);
    const Type wide = t == Type::I16 ? Type::I32 : t;
    l.write(0, l.b.trunc(t, l.b.unary(Op::Popcnt, l.b.zext(wide, source))));
    l.set_flags(l.at_flag(eflags::ZF, l.b.icmpi(Cond::Eq, source, 0)));
}

void lift_andn(Lifter& l) {
    const Value inverted = l.b.unary(Op::Not, l.read(1));
    const Value result = l.b.and_(inverted, l.read(2));
    l.write(0, result);
    l.flags_logic(result);
}

// BLSI, BLSR, BLSMSK. arg: CcKind.
void lift_lowest_bit(Lifter& l) {
    const auto kind = static_cast<CcKind>(l.arg);
    const Value source = l.read(1);
    const Value below = l.b.addi(source, ~u64{0});
    Value result = kNone;
    if (kind == CcKind::Blsi) {
        result = l.b.and_(source, l.b.unary(Op::Neg, source));
    } else {
        result = kind == CcKind::Blsr ? l.b.and_(source, below) : l.b.xor_(source, below);
    }
    l.write(0, result);
    l.flags_of(kind, result, source);
}

// `value` with only its low `count` bits (I8, any value) kept.
Value low_bits(Lifter& l, Value value, Value count) {
    const Type t = l.b.type_of(value);
    const u64 width = jit::ir::width_of(t);
    const Value ones = l.b.binary(Op::Shl, l.konst(t, ~u64{0}), count);
    const Value cut = l.b.and_(value, l.b.unary(Op::Not, ones));
    return l.b.select(l.b.icmpi(Cond::Ult, count, width), cut, value);
}

void lift_bextr(Lifter& l) {
    const Type t = l.type(0);
    const Value source = l.read(1);
    const Value control = l.read(2);
    const Value start = l.b.trunc(Type::I8, control);
    const Value length = l.b.trunc(Type::I8, l.b.shri(control, 8));
    const Value inside = l.b.icmpi(Cond::Ult, start, l.width(0));
    const Value shifted = l.b.select(inside, l.b.binary(Op::Shr, source, start), l.konst(t, 0));
    const Value result = low_bits(l, shifted, length);
    l.write(0, result);
    l.flags_logic(result);
}

// CF says that the index is not below the operand size.
void lift_bzhi(Lifter& l) {
    const Value source = l.read(1);
    const Value index = l.b.trunc(Type::I8, l.read(2));
    const Value result = low_bits(l, source, index);
    const Value inside = l.b.icmpi(Cond::Ult, index, l.width(0));
    l.write(0, result);
    l.flags_of(CcKind::Bmsk, result, l.b.zext(l.type(0), inside));
}

// PDEP, PEXT. arg: HelperId.
void lift_bit_gather(Lifter& l) {
    const Value source = l.zext64(l.read(1));
    const Value selector = l.zext64(l.read(2));
    l.write(0, l.b.trunc(l.type(0), l.call(static_cast<HelperId>(l.arg), {source, selector})));
}

void lift_crc32(Lifter& l) {
    const Value data = l.zext64(l.read(1));
    const Value crc = l.call(HelperId::crc32c, {l.gpr(l.op(0).reg, 4), data, l.imm32(l.op(1).size)});
    l.write(0, l.b.zext(l.type(0), crc));
}

// RDRAND, RDSEED: CF = 1, the other flags cleared.
void lift_random(Lifter& l) {
    l.call(HelperId::random_number);
    l.write(0, l.b.trunc(l.type(0), l.scratch(0)));
    l.set_flags(l.imm64(eflags::CF));
}

void lift_clc(Lifter& l) { l.set_carry(l.konst(Type::I8, 0)); }
void lift_stc(Lifter& l) { l.set_carry(l.konst(Type::I8, 1)); }
void lift_cmc(Lifter& l) { l.set_carry(l.b.xor_(l.carry(), l.konst(Type::I8, 1))); }
// arg: 1 CLD, -1 STD.
void lift_direction(Lifter& l) {
    l.set(offsetof(TranslateState, df_step), l.imm64(static_cast<u64>(static_cast<i64>(static_cast<i32>(l.arg)))));
}

void lift_lahf(Lifter& l) {
    const Value low = l.b.trunc(Type::I8, l.flags());
    l.set_gpr_high(RAX, l.b.or_(low, l.konst(Type::I8, eflags::One)));
}

void lift_sahf(Lifter& l) {
    constexpr u64 kLoaded = eflags::Arithmetic & 0xff;
    const Value loaded = l.b.andi(l.zext64(l.gpr_high(RAX)), kLoaded);
    const Value overflow = l.flag(eflags::OF);
    l.set_flags(l.b.or_(loaded, l.at_flag(eflags::OF, overflow)));
}

void lift_salc(Lifter& l) { l.set_gpr(RAX, l.b.unary(Op::Neg, l.carry())); }

constexpr u32 bit_op(BitOp op) { return static_cast<u32>(op); }
constexpr u32 kind(CcKind k) { return static_cast<u32>(k); }

constexpr auto kRows = std::to_array<LiftRow>({
    {Opcode::BT, lift_bit_test, bit_op(BitOp::Test)},
    {Opcode::BTS, lift_bit_test, bit_op(BitOp::Set)},
    {Opcode::BTR, lift_bit_test, bit_op(BitOp::Reset)},
    {Opcode::BTC, lift_bit_test, bit_op(BitOp::Complement)},
    {Opcode::BSF, lift_bit_scan, 0},
    {Opcode::BSR, lift_bit_scan, 1},
    {Opcode::TZCNT, lift_zero_count, 0},
    {Opcode::LZCNT, lift_zero_count, 1},
    {Opcode::POPCNT, lift_popcnt},
    {Opcode::ANDN, lift_andn},
    {Opcode::BLSI, lift_lowest_bit, kind(CcKind::Blsi)},
    {Opcode::BLSR, lift_lowest_bit, kind(CcKind::Blsr)},
    {Opcode::BLSMSK, lift_lowest_bit, kind(CcKind::Bmsk)},
    {Opcode::BEXTR, lift_bextr},
    {Opcode::BZHI, lift_bzhi},
    {Opcode::PDEP, lift_bit_gather, static_cast<u32>(HelperId::bit_deposit)},
    {Opcode::PEXT, lift_bit_gather, static_cast<u32>(HelperId::bit_extract)},
    {Opcode::CRC32, lift_crc32},
    {Opcode::RDRAND, lift_random},
    {Opcode::RDSEED, lift_random},
    {Opcode::CLC, lift_clc},
    {Opcode::STC, lift_stc},
    {Opcode::CMC, lift_cmc},
    {Opcode::CLD, lift_direction, 1},
    {Opcode::STD, lift_direction, ~u32{0}},
    {Opcode::LAHF, lift_lahf},
    {Opcode::SAHF, lift_sahf},
    {Opcode::SALC, lift_salc},
});

}  // namespace

std::span<const LiftRow> bits_rows() { return kRows; }

}  // namespace tandem::cpu::x86
