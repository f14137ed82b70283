// Floating point on vectors of single and double precision, and the scalar forms of the Advanced SIMD groups. Unused lanes
// of operands are zeroed, so that they raise nothing.
#include "cpu/arm64/lift/simd_fp.h"

namespace tandem::cpu::arm64 {
namespace {

FpSize size_of(const Lifter& l) { return {l.is(22)}; }
unsigned used_bits(const Lifter& l) { return is_scalar_form(l) ? size_of(l).bits() : is_q(l) ? 128 : 64; }
Value used(Lifter& l, Value v) { return low_bits(l, v, used_bits(l)); }
Value operand(Lifter& l, unsigned reg) { return used(l, l.v(reg)); }
void set_result(Lifter& l, Value v) { l.set_v(l.rd(), used(l, v)); }

void finish(Lifter& l, Value r, Suspect what, Kernel kernel) {
    retry_if(l, suspect_vector(l, r, size_of(l), what), kernel);
    set_result(l, r);
}

// The element of Rm in the lanes that are used.
Value element(Lifter& l) {
    const unsigned h = l.field(11, 11);
    const unsigned index = size_of(l).wide ? h : h << 1 | l.field(21, 21);
    return used(l, duplicate(l, l.v(l.rm()), size_of(l).bits(), index));
}

void fused(Lifter& l, Value multiplier, bool subtract, Kernel kernel) {
    const FpSize size = size_of(l);
    const Op op = subtract ? size.of(Op::FNMAdd231PS, Op::FNMAdd231PD) : size.of(Op::FMAdd231PS, Op::FMAdd231PD);
    finish(l, l.b.v_op(op, {operand(l, l.rd()), operand(l, l.rn()), multiplier}), Suspect::NanOrTiny, kernel);
}

void max_or_min(Lifter& l, Kernel kernel) {
    const FpSize size = size_of(l);
    const bool minimum = l.is(23);
    const Value a = operand(l, l.rn());
    const Value b = operand(l, l.rm());
    constexpr u8 kUnordered = 3;
    retry_if(l, any_lane(l, l.b.v_op(size.of(Op::CmpPS, Op::CmpPD), {a, b}, kUnordered)), kernel);
    const Op op = minimum ? size.of(Op::MinPS, Op::MinPD) : size.of(Op::MaxPS, Op::MaxPD);
    set_result(l, v_op(l, minimum ? Op::POr : Op::PAnd, v_op(l, op, a, b), v_op(l, op, b, a)));
}

// CMPPS predicates: EQ is quiet, LT and LE signal.
constexpr u8 kEq = 0, kLt = 1, kLe = 2;
Value compare(Lifter& l, Value a, Value b, u8 predicate) {
    return l.b.v_op(size_of(l).of(Op::CmpPS, Op::CmpPD), {a, b}, predicate);
}

// Both doublewords, or the one of a scalar form, through a conversion of one.
template <class F>
Value each_doubleword(Lifter& l, Value v, F f) {
    const Value low = f(v);
    return is_scalar_form(l) ? low : v_op(l, Op::PUnpckLQDQ, low, f(high_half(l, v)));
}

}  // namespace

void lift_fp_vector_add_sub(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_add_sub);
    const FpSize size = size_of(l);
    const Op op = l.is(23) ? size.of(Op::SubPS, Op::SubPD) : size.of(Op::AddPS, Op::AddPD);
    finish(l, v_op(l, op, operand(l, l.rn()), operand(l, l.rm())), Suspect::Nan, Kernel::fp_add_sub);
}
void lift_fp_vector_absolute_difference(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_absolute_difference);
    const FpSize size = size_of(l);
    const Value r = v_op(l, size.of(Op::SubPS, Op::SubPD), operand(l, l.rn()), operand(l, l.rm()));
    retry_if(l, suspect_vector(l, r, size, Suspect::Nan), Kernel::fp_absolute_difference);
    set_result(l, v_op(l, Op::PAnd, r, splat(l, size.bits(), ~size.sign())));
}
void lift_fp_vector_multiply(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_multiply);
    const Op op = size_of(l).of(Op::MulPS, Op::MulPD);
    finish(l, v_op(l, op, operand(l, l.rn()), operand(l, l.rm())), Suspect::NanOrTiny, Kernel::fp_multiply);
}
void lift_fp_multiply_by_element(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_multiply_by_element);
    const Op op = size_of(l).of(Op::MulPS, Op::MulPD);
    finish(l, v_op(l, op, operand(l, l.rn()), element(l)), Suspect::NanOrTiny, Kernel::fp_multiply_by_element);
}
void lift_fp_vector_divide(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_divide);
    Value b = operand(l, l.rm());
    if (!is_q(l)) b = v_op(l, Op::POr, b, constant(l, 0, 0x3f8000003f800000));  // 1.0 in unused lanes
    const Op op = size_of(l).of(Op::DivPS, Op::DivPD);
    finish(l, v_op(l, op, operand(l, l.rn()), b), Suspect::NanOrTiny, Kernel::fp_divide);
}
void lift_fp_vector_fused(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_fused);
    fused(l, operand(l, l.rm()), l.is(23), Kernel::fp_fused);
}
void lift_fp_fused_by_element(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_fused_by_element);
    fused(l, element(l), l.is(14), Kernel::fp_fused_by_element);
}
void lift_fp_vector_square_root(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_square_root);
    const Value r = l.b.v_op(size_of(l).of(Op::SqrtPS, Op::SqrtPD), {operand(l, l.rn())});
    finish(l, r, Suspect::Nan, Kernel::fp_square_root);
}
void lift_fp_vector_max_min(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_max_min);
    max_or_min(l, Kernel::fp_max_min);
}
void lift_fp_vector_max_min_number(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_max_min_number);
    max_or_min(l, Kernel::fp_max_min_number);
}

void lift_fp_vector_pairwise_add(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_pairwise_add);
    const Value a = l.v(l.rn());
    const Value b = l.v(l.rm());
    const Op op = size_of(l).of(Op::HAddPS, Op::HAddPD);
    const Value r = is_q(l) ? v_op(l, op, a, b) : v_op(l, op, v_op(l, Op::PUnpckLQDQ, a, b), zero(l));
    finish(l, r, Suspect::Nan, Kernel::fp_pairwise_add);
}
void lift_fp_scalar_pairwise_add(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_pairwise_add);
    const FpSize size = size_of(l);
    const Value pair = low_bits(l, l.v(l.rn()), 2 * size.bits());
    finish(l, v_op(l, size.of(Op::HAddPS, Op::HAddPD), pair, zero(l)), Suspect::Nan, Kernel::fp_pairwise_add);
}

void lift_fp_vector_compare(Lifter& l) {
    const bool absolute = l.is(11) && l.is(13);  // opcode 11101
    const bool equal = !l.is(29);
    if (fp_exact(l)) {
        return exact(l, absolute ? Kernel::fp_compare_absolute
                        : equal  ? Kernel::fp_compare_equal
                                 : Kernel::fp_compare_greater);
    }
    Value a = operand(l, l.rn());
    Value b = operand(l, l.rm());
    if (absolute) {
        const Value magnitude = splat(l, size_of(l).bits(), ~size_of(l).sign());
        a = v_op(l, Op::PAnd, a, magnitude);
        b = v_op(l, Op::PAnd, b, magnitude);
    }
    set_result(l, equal ? compare(l, a, b, kEq) : compare(l, b, a, l.is(23) ? kLt : kLe));
}
void lift_fp_vector_compare_zero(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_compare_zero);
    const Value a = operand(l, l.rn());
    const Value none = zero(l);
    switch (l.field(29, 29) << 2 | l.field(13, 12)) {
        case 0: return set_result(l, compare(l, none, a, kLt));   // FCMGT
        case 1: return set_result(l, compare(l, a, none, kEq));   // FCMEQ
        case 2: return set_result(l, compare(l, a, none, kLt));   // FCMLT
        case 4: return set_result(l, compare(l, none, a, kLe));   // FCMGE
        default: return set_result(l, compare(l, a, none, kLe));  // FCMLE
    }
}
void lift_fp_vector_absolute_negate(Lifter& l) {  // half precision too
    const unsigned bits = l.is(19) ? 16 : size_of(l).bits();
    const u64 sign = u64{1} << (bits - 1);
    const Value a = l.v(l.rn());
    set_vector(l, l.is(29) ? v_op(l, Op::PXor, a, splat(l, bits, sign)) : v_op(l, Op::PAnd, a, splat(l, bits, ~sign)));
}
void lift_fp_vector_round(Lifter& l) {  // FRINTN, M, P, Z, X, I
    if (fp_exact(l)) return exact(l, Kernel::fp_round_integral);
    // By U : a : opcode<0>; see lift_fp_scalar_round.
    constexpr u8 kControl[8] = {8, 8 | 1, 8 | 2, 8 | 3, 0, 4, 0, 8 | 4};
    const unsigned which = l.field(29, 29) << 2 | l.field(23, 23) << 1 | l.field(12, 12);
    const Op op = size_of(l).of(Op::RoundPS, Op::RoundPD);
    set_result(l, l.b.v_op(op, {operand(l, l.rn())}, kControl[which]));
}

void lift_fp_vector_to_integer(Lifter& l) {  // FCVTZS, FCVTZU
    const FpSize size = size_of(l);
    const bool is_unsigned = l.is(29);
    if (fp_exact(l) || (is_unsigned && !size.wide)) return exact(l, Kernel::fp_to_integer);
    const Value a = operand(l, l.rn());
    if (!size.wide) {
        const Value r = l.b.v_op(Op::CvtTPS2DQ, {a});
        retry_if(l, any_lane(l, v_op(l, Op::PCmpEqD, r, splat(l, 32, 0x80000000))), Kernel::fp_to_integer);
        return set_result(l, r);
    }
    if (is_unsigned) {  // patterns from 0 up to below 2^63; negative ones are above as unsigned and below as signed integers
        const Value large = v_op(l, Op::PCmpGtQ, a, splat(l, 64, size.power_of_two(63) - 1));
        const Value negative = v_op(l, Op::PCmpGtQ, zero(l), a);
        retry_if(l, any_lane(l, v_op(l, Op::POr, large, negative)), Kernel::fp_to_integer);
    }
    const Value r = each_doubleword(l, a, [&](Value v) {
        const Value x = l.b.v_to_int(Op::CvtTSD2SI, Type::I64, {v});
        if (!is_unsigned) retry_if(l, l.b.icmpi(Cond::Eq, x, u64{1} << 63), Kernel::fp_to_integer);
        return l.b.v_from(x);
    });
    set_result(l, r);
}
void lift_fp_vector_from_integer(Lifter& l) {  // SCVTF, UCVTF
    const FpSize size = size_of(l);
    const bool is_unsigned = l.is(29);
    if (fp_exact(l)) return exact(l, Kernel::integer_to_fp);
    const Value a = operand(l, l.rn());
    if (is_unsigned) {
        const Value signs = l.b.v_to_int(size.of(Op::MovMskPS, Op::MovMskPD), Type::I32, {a});
        retry_if(l, l.b.icmpi(Cond::Ne, signs, 0), Kernel::integer_to_fp);
    }
    if (!size.wide) return set_result(l, l.b.v_op(Op::CvtDQ2PS, {a}));
    set_result(
        l, each_doubleword(l, a, [&](Value v) { return v_op(l, Op::CvtSI2SD, zero(l), l.b.v_extract(Type::I64, v, 0)); }));
}

void lift_fp_convert_long(Lifter& l) {  // FCVTL
    if (fp_exact(l)) return exact(l, Kernel::fp_convert_long);
    const Value a = is_q(l) ? high_half(l, l.v(l.rn())) : l.v(l.rn());
    l.set_v(l.rd(), l.b.v_op(size_of(l).of(Op::CvtPH2PS, Op::CvtPS2PD), {a}));
}
void lift_fp_convert_narrow(Lifter& l) {  // FCVTN
    if (fp_exact(l)) return exact(l, Kernel::fp_convert_narrow);
    const Value a = l.v(l.rn());
    Value r = kNone;
    if (size_of(l).wide) {
        r = l.b.v_op(Op::CvtPD2PS, {a});
        retry_if(l, suspect_vector(l, r, {false}, Suspect::Tiny), Kernel::fp_convert_narrow);
    } else {
        r = l.b.v_op(Op::CvtPS2PH, {a}, 4);
        const Value magnitude = v_op(l, Op::PAnd, r, splat(l, 16, 0x7fff));
        retry_if(l, any_lane(l, v_op(l, Op::PCmpEqW, magnitude, splat(l, 16, 0x0400))), Kernel::fp_convert_narrow);
    }
    l.set_v(l.rd(), is_q(l) ? v_op(l, Op::PUnpckLQDQ, l.v(l.rd()), r) : r);
}

}  // namespace tandem::cpu::arm64
