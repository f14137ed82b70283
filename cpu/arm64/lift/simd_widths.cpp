// Advanced SIMD shifts, and integer instructions whose operands and results differ in size.
#include "cpu/arm64/lift/simd.h"

namespace tandem::cpu::arm64 {
namespace {

unsigned esize_of(const Lifter& l) { return 8u << size_field(l); }

// immh:immb.
struct ShiftImmediate {
    unsigned esize;
    unsigned right;
    unsigned left;
};
ShiftImmediate shift_immediate(const Lifter& l) {
    const unsigned value = l.field(22, 16);
    const unsigned esize = value >= 64 ? 64 : value >= 32 ? 32 : value >= 16 ? 16 : 8;
    return {esize, 2 * esize - value, value - esize};
}

// The low halves of elements of 2 * esize bits, in the low half with zeros above.
Value take_low_halves(Lifter& l, Value v, unsigned esize) {
    const unsigned bytes = esize / 8;
    ByteMap map;
    map.fill(-1);
    for (unsigned i = 0; i < 8; ++i) map[i] = static_cast<int>(i / bytes * 2 * bytes + i % bytes);
    return permute_bytes(l, {&v, 1}, map);
}

// Products of widened elements of `esize` bits; a and b narrow.
Value long_product(Lifter& l, Value a, Value b, unsigned esize, bool is_unsigned, bool high_of_a, bool high_of_b) {
    const Value x = widen(l, a, esize, is_unsigned, high_of_a);
    const Value y = widen(l, b, esize, is_unsigned, high_of_b);
    if (esize == 8) return v_op(l, Op::PMulLW, x, y);
    if (esize == 16) return v_op(l, Op::PMulLD, x, y);
    return v_op(l, is_unsigned ? Op::PMulUDQ : Op::PMulDQ, x, y);
}

}  // namespace

void lift_narrow(Lifter& l) {  // XTN, SHRN, RSHRN
    const bool shifts = l.is(24);
    const ShiftImmediate n = shift_immediate(l);
    const unsigned esize = shifts ? n.esize : esize_of(l);
    Value v = l.v(l.rn());
    if (shifts) {
        if (l.is(11)) v = v_op(l, kAdd.of(2 * esize), v, splat(l, 2 * esize, u64{1} << (n.right - 1)));
        v = shift_right_logical(l, v, 2 * esize, n.right);
    }
    v = take_low_halves(l, v, esize);
    if (is_q(l)) v = v_op(l, Op::PUnpckLQDQ, l.v(l.rd()), v);
    l.set_v(l.rd(), v);
}

void lift_shift_left_long(Lifter& l) {  // SHLL
    const unsigned esize = esize_of(l);
    l.set_v(l.rd(), shift_left(l, widen(l, l.v(l.rn()), esize, true, is_q(l)), 2 * esize, esize));
}
void lift_shift_left_long_immediate(Lifter& l) {  // SSHLL, USHLL
    const ShiftImmediate n = shift_immediate(l);
    l.set_v(l.rd(), shift_left(l, widen(l, l.v(l.rn()), n.esize, l.is(29), is_q(l)), 2 * n.esize, n.left));
}

void lift_shift_left(Lifter& l) {
    const ShiftImmediate n = shift_immediate(l);
    set_vector(l, shift_left(l, l.v(l.rn()), n.esize, n.left), n.esize);
}
void lift_shift_right(Lifter& l) {  // SSHR, USHR, SSRA, USRA
    const ShiftImmediate n = shift_immediate(l);
    const Value a = l.v(l.rn());
    Value r = l.is(29) ? shift_right_logical(l, a, n.esize, n.right) : shift_right_arithmetic(l, a, n.esize, n.right);
    if (l.is(12)) r = v_op(l, kAdd.of(n.esize), l.v(l.rd()), r);
    set_vector(l, r, n.esize);
}
void lift_shift_insert(Lifter& l) {  // SRI, SLI
    const ShiftImmediate n = shift_immediate(l);
    const bool left = l.is(12);
    const unsigned count = left ? n.left : n.right;
    const u64 written = count == 64 ? 0 : left ? mask(n.esize) << count : mask(n.esize) >> count;
    const Value a = l.v(l.rn());
    const Value shifted = left ? shift_left(l, a, n.esize, count) : shift_right_logical(l, a, n.esize, count);
    const Value kept = v_op(l, Op::PAnd, l.v(l.rd()), splat(l, n.esize, ~written));
    set_vector(l, v_op(l, Op::POr, kept, shifted), n.esize);
}

void lift_shift_register(Lifter& l) {  // SSHL, USHL
    const unsigned esize = esize_of(l);
    const bool u = l.is(29);
    if (esize < 32 || (esize == 64 && !u)) return exact(l, Kernel::shift);
    const Value a = l.v(l.rn());
    const Value b = l.v(l.rm());
    // The signed low byte, as a count to the left and one to the right; out of range, and negative, means 0 or the sign.
    const Value low = shift_left(l, b, esize, esize - 8);
    if (esize == 64) {
        const Value count = shift_right_arithmetic(l, low, 64, 56);
        const Value right = v_op(l, Op::PSrlVQ, a, v_op(l, Op::PSubQ, zero(l), count));
        return set_vector(l, v_op(l, Op::POr, v_op(l, Op::PSllVQ, a, count), right), esize);
    }
    const Value count = v_imm(l, Op::PSraDI, low, 24);
    const Value opposite = v_op(l, Op::PSubD, zero(l), count);
    const Value left = v_op(l, Op::PSllVD, a, count);
    const Value right = v_op(l, u ? Op::PSrlVD : Op::PSraVD, a, opposite);
    set_vector(l, l.b.v_op(Op::BlendVPS, {left, right, count}), esize);
}

void lift_add_sub_long(Lifter& l) {  // SADDL, UADDL, SSUBL, USUBL
    const unsigned esize = esize_of(l);
    const Value a = widen(l, l.v(l.rn()), esize, l.is(29), is_q(l));
    const Value b = widen(l, l.v(l.rm()), esize, l.is(29), is_q(l));
    l.set_v(l.rd(), v_op(l, (l.is(13) ? kSub : kAdd).of(2 * esize), a, b));
}
void lift_add_sub_wide(Lifter& l) {  // SADDW, UADDW, SSUBW, USUBW
    const unsigned esize = esize_of(l);
    const Value b = widen(l, l.v(l.rm()), esize, l.is(29), is_q(l));
    l.set_v(l.rd(), v_op(l, (l.is(13) ? kSub : kAdd).of(2 * esize), l.v(l.rn()), b));
}

void lift_multiply_long(Lifter& l) {  // SMULL, UMULL, SMLAL, UMLAL, SMLSL, UMLSL, and by element
    const unsigned esize = esize_of(l);
    const bool by_element = l.is(24);
    Value b = l.v(l.rm());
    if (by_element) {
        const unsigned h = l.field(11, 11), lm = l.field(21, 20);
        b = esize == 16 ? duplicate(l, l.v(l.field(19, 16)), 16, h << 2 | lm) : duplicate(l, b, 32, h << 1 | lm >> 1);
    }
    Value r = long_product(l, l.v(l.rn()), b, esize, l.is(29), is_q(l), is_q(l) && !by_element);
    // opcode: 1100 and 1010 (by element) multiply only; bit 13 of 1000 and 1010, bit 14 of 0010 and 0110 subtract.
    const bool accumulates = by_element ? !l.is(15) : !l.is(14);
    const bool subtracts = by_element ? l.is(14) : l.is(13);
    if (accumulates) r = v_op(l, (subtracts ? kSub : kAdd).of(2 * esize), l.v(l.rd()), r);
    l.set_v(l.rd(), r);
}

}  // namespace tandem::cpu::arm64
