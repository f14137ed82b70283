// Data processing, immediate: decode/dp_immediate.inc.
#include "cpu/arm64/lift/lifter.h"

namespace tandem::cpu::arm64 {

void lift_adr(Lifter& l) {
    const u64 offset = static_cast<u64>(sign_extend(l.field(23, 5) << 2 | l.field(30, 29), 21));
    const u64 target = l.is(31) ? (l.pc & ~mask(12)) + (offset << 12) : l.pc + offset;
    l.set_x(l.rd(), l.imm64(target));
}

void lift_add_sub_immediate(Lifter& l) {
    const Type t = l.int_type();
    const Value a = l.x_sp(l.rn(), t);
    const Value rhs = l.imm(t, u64{l.field(21, 10)} << (l.is(22) ? 12 : 0));
    const bool subtract = l.is(30);
    const Value result = subtract ? l.b.sub(a, rhs) : l.b.add(a, rhs);
    if (!l.is(29)) return l.set_x_sp(l.rd(), result);
    if (subtract) {
        l.flags_sub(a, rhs);
    } else {
        l.flags_add(a, rhs);
    }
    l.set_x(l.rd(), result);
}

void lift_logical_immediate(Lifter& l) {
    const Type t = l.int_type();
    u64 immediate = 0;
    decode_bit_masks(l.field(22, 22), l.field(15, 10), l.field(21, 16), l.width(), immediate);
    const Value a = l.x(l.rn(), t);
    const Value rhs = l.imm(t, immediate);
    switch (l.field(30, 29)) {
        case 0: return l.set_x_sp(l.rd(), l.b.and_(a, rhs));
        case 1: return l.set_x_sp(l.rd(), l.b.or_(a, rhs));
        case 2: return l.set_x_sp(l.rd(), l.b.xor_(a, rhs));
        default: break;
    }
    const Value result = l.b.and_(a, rhs);
    l.flags_logic(result);
    l.set_x(l.rd(), result);
}

void lift_move_wide(Lifter& l) {
    const Type t = l.int_type();
    const unsigned shift = l.field(22, 21) * 16;
    const u64 immediate = u64{l.field(20, 5)} << shift;
    switch (l.field(30, 29)) {
        case 0: return l.set_x(l.rd(), l.imm(t, ~immediate));
        case 2: return l.set_x(l.rd(), l.imm(t, immediate));
        default: break;
    }
    const Value kept = l.b.andi(l.x(l.rd(), t), ~(mask(16) << shift));
    l.set_x(l.rd(), l.b.or_(kept, l.imm(t, immediate)));
}

// SBFM, BFM, UBFM by their aliases: an extraction of bits imms:immr when imms >= immr, else an insertion of the low
// imms + 1 bits at width - immr.
void lift_bitfield(Lifter& l) {
    const Type t = l.int_type();
    const unsigned width = l.width();
    const unsigned immr = l.field(21, 16);
    const unsigned imms = l.field(15, 10);
    const unsigned opc = l.field(30, 29);
    const bool extract = imms >= immr;
    const unsigned count = extract ? imms - immr + 1 : imms + 1;
    const unsigned at = extract ? 0 : width - immr;
    const Value source = l.x(l.rn(), t);
    if (opc == 1) {
        const u64 field = mask(count) << at;
        Value moved = extract ? l.b.shri(source, static_cast<u8>(immr)) : l.b.shli(source, static_cast<u8>(at));
        moved = l.b.andi(moved, field);
        return l.set_x(l.rd(), l.b.or_(l.b.andi(l.x(l.rd(), t), ~field), moved));
    }
    // Shifted to the top, then down to its place.
    const unsigned top = extract ? imms : count - 1;
    Value result = l.b.shli(source, static_cast<u8>(width - 1 - top));
    const auto down = static_cast<u8>(width - count - at);
    result = opc == 0 ? l.b.sari(result, down) : l.b.shri(result, down);
    l.set_x(l.rd(), result);
}

void lift_extract(Lifter& l) {
    const Type t = l.int_type();
    const unsigned lsb = l.field(15, 10);
    const Value low = l.x(l.rm(), t);
    if (lsb == 0) return l.set_x(l.rd(), low);
    if (l.rn() == l.rm()) return l.set_x(l.rd(), l.b.binary(Op::Ror, low, l.imm(Type::I8, lsb)));
    const Value high = l.x(l.rn(), t);
    l.set_x(l.rd(), l.b.or_(l.b.shri(low, static_cast<u8>(lsb)), l.b.shli(high, static_cast<u8>(l.width() - lsb))));
}

}  // namespace tandem::cpu::arm64
