#include "cpu/arm64/lift/simd_fp.h"

namespace tandem::cpu::arm64 {

Value suspect_scalar(Lifter& l, Value v, FpSize size, Suspect what) {
    const Value magnitude = l.b.andi(l.b.v_extract(size.type(), v, 0), ~size.sign());
    const Value tiny = what == Suspect::Nan ? kNone : l.b.icmpi(Cond::Eq, magnitude, size.smallest_normal());
    if (what == Suspect::Tiny) return tiny;
    const Value nan = l.b.icmpi(Cond::Ugt, magnitude, size.infinity());
    return tiny == kNone ? nan : l.b.or_(nan, tiny);
}

Value suspect_vector(Lifter& l, Value v, FpSize size, Suspect what) {
    const Value magnitude = v_op(l, Op::PAnd, v, splat(l, size.bits(), ~size.sign()));
    const Value tiny = what == Suspect::Nan
                           ? kNone
                           : v_op(l, kEqual.of(size.bits()), magnitude, splat(l, size.bits(), size.smallest_normal()));
    if (what == Suspect::Tiny) return any_lane(l, tiny);
    const Value nan = v_op(l, kGreater.of(size.bits()), magnitude, splat(l, size.bits(), size.infinity()));
    return any_lane(l, tiny == kNone ? nan : v_op(l, Op::POr, nan, tiny));
}

Value any_lane(Lifter& l, Value mask_vector) {
    return l.b.icmpi(Cond::Ne, l.b.v_to_int(Op::PMovMskB, Type::I32, {mask_vector}), 0);
}

u64 expand_fp_immediate(u64 imm8, unsigned bits) {
    const unsigned fraction = bits == 16 ? 10 : bits == 32 ? 23 : 52;
    const unsigned repeated = bits - 1 - fraction - 3;  // copies of bit 6 between its inverse and bits 5:4
    const u64 b = imm8 >> 6 & 1;
    u64 exponent = b ^ 1;
    for (unsigned i = 0; i < repeated; ++i) exponent = exponent << 1 | b;
    exponent = exponent << 2 | (imm8 >> 4 & 3);
    return (imm8 >> 7) << (bits - 1) | exponent << fraction | (imm8 & 15) << (fraction - 4);
}

}  // namespace tandem::cpu::arm64
