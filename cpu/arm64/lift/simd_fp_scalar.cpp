// "Scalar floating-point" data processing.
#include "cpu/arm64/lift/simd_fp.h"

namespace tandem::cpu::arm64 {
namespace {

// Bits 23:22: 00 single, 01 double, 11 half.
FpSize size_of(const Lifter& l) { return {l.field(23, 22) == 1}; }
unsigned bits_of(const Lifter& l) { return l.field(23, 22) == 3 ? 16 : size_of(l).bits(); }
bool is_half(const Lifter& l) { return l.field(23, 22) == 3; }

// Lane 0 of `v` as the result, after a check.
void finish(Lifter& l, Value v, Suspect what, Kernel kernel) {
    retry_if(l, suspect_scalar(l, v, size_of(l), what), kernel);
    l.set_v(l.rd(), low_bits(l, v, size_of(l).bits()));
}

void max_or_min(Lifter& l, Value a, Value b, bool minimum) {
    const FpSize size = size_of(l);
    // Quiet but for signalling NaNs; MAXSD and MINSD would report any.
    const Value flags = l.b.v_to_int(size.of(Op::UComISS, Op::UComISD), Type::I32, {a, b});
    retry_if(l, l.b.icmpi(Cond::Ne, l.b.andi(flags, 4), 0), Kernel::fp_scalar_two);
    // Of equal operands they return the second; zeros of two signs need the one or the other.
    const Op op = minimum ? size.of(Op::MinSS, Op::MinSD) : size.of(Op::MaxSS, Op::MaxSD);
    const Value r = v_op(l, minimum ? Op::POr : Op::PAnd, v_op(l, op, a, b), v_op(l, op, b, a));
    l.set_v(l.rd(), low_bits(l, r, size.bits()));
}

struct Comparison {
    Value n, z, c, v;
};
// NZCV of a comparison from ZF, PF and CF.
Comparison compare(Lifter& l, Value a, Value b, bool signalling) {
    const FpSize size = size_of(l);
    const Op op = signalling ? size.of(Op::ComISS, Op::ComISD) : size.of(Op::UComISS, Op::UComISD);
    const Value flags = l.b.v_to_int(op, Type::I32, {a, b});
    const Value cf = l.b.trunc(Type::I8, l.b.andi(flags, 1));
    const Value pf = l.b.trunc(Type::I8, l.b.andi(l.b.shri(flags, 2), 1));
    const Value zf = l.b.trunc(Type::I8, l.b.shri(flags, 6));
    const Value n = l.b.xor_(cf, pf);  // unordered sets all three
    return {n, l.b.xor_(zf, pf), l.not1(n), pf};
}

// Sends values of magnitude 2^power and more, and NaNs, to the kernel; for an unsigned result negative ones too, zero among
// them.
void check_integer_range(Lifter& l, Value v, unsigned power, bool is_unsigned) {
    const FpSize size = size_of(l);
    Value pattern = l.b.v_extract(size.type(), v, 0);
    if (!is_unsigned) pattern = l.b.andi(pattern, ~size.sign());
    retry_if(l, l.b.icmpi(Cond::Uge, pattern, size.power_of_two(power)), Kernel::fp_scalar_to_integer);
}

}  // namespace

void lift_fp_scalar_move(Lifter& l) {  // FMOV, FABS, FNEG
    const unsigned bits = bits_of(l);
    const Value a = l.v(l.rn());
    const u64 sign = u64{1} << (bits - 1);
    switch (l.field(16, 15)) {
        case 0: return l.set_v(l.rd(), low_bits(l, a, bits));
        case 1: return l.set_v(l.rd(), v_op(l, Op::PAnd, a, constant(l, sign - 1, 0)));
        default: return l.set_v(l.rd(), v_op(l, Op::PXor, low_bits(l, a, bits), constant(l, sign, 0)));
    }
}

void lift_fp_scalar_immediate(Lifter& l) {
    l.set_v(l.rd(), constant(l, expand_fp_immediate(l.field(20, 13), bits_of(l)), 0));
}

void lift_fp_move_general(Lifter& l) {
    const bool to_vector = l.is(16);
    const unsigned type = l.field(23, 22);
    if (type == 2) {  // the high half
        if (to_vector) return l.set_v(l.rd(), l.b.v_insert(l.v(l.rd()), l.x(l.rn()), 1));
        return l.set_x(l.rd(), l.b.v_extract(Type::I64, l.v(l.rn()), 1));
    }
    const Type t = type == 3 ? Type::I16 : type == 1 ? Type::I64 : Type::I32;
    if (!to_vector) return l.set_x(l.rd(), l.b.v_extract(t, l.v(l.rn()), 0));
    const Value x = l.x(l.rn(), t);
    l.set_v(l.rd(), l.b.v_from(t == Type::I16 ? l.b.zext(Type::I32, x) : x));
}

void lift_fp_scalar_two(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_scalar_two);
    const FpSize size = size_of(l);
    const Value a = l.v(l.rn());
    const Value b = l.v(l.rm());
    constexpr Kernel kKernel = Kernel::fp_scalar_two;
    switch (l.field(15, 12)) {
        case 0: return finish(l, v_op(l, size.of(Op::MulSS, Op::MulSD), a, b), Suspect::NanOrTiny, kKernel);
        case 1: return finish(l, v_op(l, size.of(Op::DivSS, Op::DivSD), a, b), Suspect::NanOrTiny, kKernel);
        // Sums are exact where they are tiny.
        case 2: return finish(l, v_op(l, size.of(Op::AddSS, Op::AddSD), a, b), Suspect::Nan, kKernel);
        case 3: return finish(l, v_op(l, size.of(Op::SubSS, Op::SubSD), a, b), Suspect::Nan, kKernel);
        case 4:
        case 6: return max_or_min(l, a, b, false);
        case 5:
        case 7: return max_or_min(l, a, b, true);
        default: {  // FNMUL
            const Value r = v_op(l, size.of(Op::MulSS, Op::MulSD), a, b);
            retry_if(l, suspect_scalar(l, r, size, Suspect::NanOrTiny), kKernel);
            return l.set_v(l.rd(), v_op(l, Op::PXor, low_bits(l, r, size.bits()), constant(l, size.sign(), 0)));
        }
    }
}

void lift_fp_scalar_fused(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_scalar_fused);
    const FpSize size = size_of(l);
    constexpr Op kRows[4][2] = {{Op::FMAdd231SS, Op::FMAdd231SD},    // FMADD
                                {Op::FNMAdd231SS, Op::FNMAdd231SD},  // FMSUB
                                {Op::FNMSub231SS, Op::FNMSub231SD},  // FNMADD
                                {Op::FMSub231SS, Op::FMSub231SD}};   // FNMSUB
    const auto& row = kRows[l.field(21, 21) << 1 | l.field(15, 15)];
    const Value r = l.b.v_op(size.of(row[0], row[1]), {l.v(l.ra()), l.v(l.rn()), l.v(l.rm())});
    finish(l, r, Suspect::NanOrTiny, Kernel::fp_scalar_fused);
}

void lift_fp_scalar_square_root(Lifter& l) {
    if (fp_exact(l)) return exact(l, Kernel::fp_scalar_square_root);
    finish(l, v_op(l, size_of(l).of(Op::SqrtSS, Op::SqrtSD), zero(l), l.v(l.rn())), Suspect::Nan,
           Kernel::fp_scalar_square_root);
}

void lift_fp_scalar_convert(Lifter& l) {
    constexpr unsigned kSingle = 0, kDouble = 1, kHalf = 3;
    const unsigned from = l.field(23, 22), to = l.field(16, 15);
    if (fp_exact(l) || (from != kSingle && to != kSingle)) return exact(l, Kernel::fp_scalar_convert);
    const Value a = l.v(l.rn());
    // NaNs are converted alike.
    if (from == kSingle && to == kDouble) return l.set_v(l.rd(), v_op(l, Op::CvtSS2SD, zero(l), a));
    if (from == kHalf) return l.set_v(l.rd(), l.b.v_op(Op::CvtPH2PS, {low_bits(l, a, 16)}));
    Value r = kNone;
    if (to == kHalf) {
        r = l.b.v_op(Op::CvtPS2PH, {low_bits(l, a, 32)}, 4);
        const Value magnitude = l.b.andi(l.b.v_extract(Type::I32, r, 0), 0x7fff);
        retry_if(l, l.b.icmpi(Cond::Eq, magnitude, 0x0400), Kernel::fp_scalar_convert);
    } else {
        r = v_op(l, Op::CvtSD2SS, zero(l), a);
        retry_if(l, suspect_scalar(l, r, {false}, Suspect::Tiny), Kernel::fp_scalar_convert);
    }
    l.set_v(l.rd(), r);
}

void lift_fp_scalar_round(Lifter& l) {  // FRINTN, P, M, Z, X, I
    if (fp_exact(l)) return exact(l, Kernel::fp_scalar_round_integral);
    // ROUNDSD: rounding control, 4 for MXCSR's, 8 for no precision exception.
    constexpr u8 kControl[8] = {8, 8 | 2, 8 | 1, 8 | 3, 0, 0, 4, 8 | 4};
    const Op op = size_of(l).of(Op::RoundSS, Op::RoundSD);
    l.set_v(l.rd(), l.b.v_op(op, {zero(l), l.v(l.rn())}, kControl[l.field(17, 15)]));
}

void lift_fp_compare(Lifter& l) {
    if (fp_exact(l) || is_half(l)) {
        return l.set_nzcv(l.call(HelperId::fp_compare_exact, {l.imm32(l.word), l.imm32(1)}));
    }
    const Comparison r = compare(l, l.v(l.rn()), l.is(3) ? zero(l) : l.v(l.rm()), l.is(4));
    l.flags_of(r.n, r.z, r.c, r.v);
}

void lift_fp_conditional_compare(Lifter& l) {
    const Value holds = l.condition(l.field(15, 12));
    if (fp_exact(l) || is_half(l)) {
        return l.set_nzcv(l.call(HelperId::fp_compare_exact, {l.imm32(l.word), l.b.zext(Type::I32, holds)}));
    }
    // A comparison that is not made sets no flag in FPSR: zeros stand in.
    const Value a = l.b.select(holds, l.v(l.rn()), zero(l));
    const Value b = l.b.select(holds, l.v(l.rm()), zero(l));
    const Comparison r = compare(l, a, b, l.is(4));
    const auto flag = [&](Value computed, unsigned index) {
        return l.b.select(holds, computed, l.imm(Type::I8, l.field(index, index)));
    };
    l.flags_of(flag(r.n, 3), flag(r.z, 2), flag(r.c, 1), flag(r.v, 0));
}

void lift_fp_select(Lifter& l) {
    const Value holds = l.condition(l.field(15, 12));
    l.set_v(l.rd(), low_bits(l, l.b.select(holds, l.v(l.rn()), l.v(l.rm())), bits_of(l)));
}

void lift_fp_to_integer(Lifter& l) {  // FCVTNS to FCVTZU
    if (fp_exact(l)) return exact(l, Kernel::fp_scalar_to_integer);
    const FpSize size = size_of(l);
    const bool is_unsigned = l.is(16);
    const Type t = l.int_type();
    const Value a = l.v(l.rn());
    const Op convert = size.of(Op::CvtTSS2SI, Op::CvtTSD2SI);
    if (l.field(20, 19) == 3 && !is_unsigned) {
        // The host's one answer to what does not fit is also that of the smallest integer.
        const Value r = l.b.v_to_int(convert, t, {a});
        retry_if(l, l.b.icmpi(Cond::Eq, r, u64{1} << (l.width() - 1)), Kernel::fp_scalar_to_integer);
        return l.set_x(l.rd(), r);
    }
    // A power below the limit: rounding may go up by one.
    check_integer_range(l, a, l.width() - 2, is_unsigned);
    constexpr u8 kControl[4] = {0, 2, 1, 3};  // N, P, M, Z
    const Value rounded = l.b.v_op(size.of(Op::RoundSS, Op::RoundSD), {zero(l), a}, kControl[l.field(20, 19)]);
    l.set_x(l.rd(), l.b.v_to_int(convert, t, {rounded}));
}

void lift_fp_from_integer(Lifter& l) {  // SCVTF, UCVTF
    if (fp_exact(l)) return exact(l, Kernel::fp_scalar_from_integer);
    Value x = l.x(l.rn(), l.int_type());
    if (l.is(16)) {
        if (l.sf()) {
            retry_if(l, l.b.icmpi(Cond::Slt, x, 0), Kernel::fp_scalar_from_integer);
        } else {
            x = l.zext64(x);
        }
    }
    l.set_v(l.rd(), v_op(l, size_of(l).of(Op::CvtSI2SS, Op::CvtSI2SD), zero(l), x));
}

void lift_fp_javascript_convert(Lifter& l) {
    const Value r = l.call(HelperId::fp_javascript_exact, {l.imm32(l.word)});
    l.set_x(l.rd(), l.b.trunc(Type::I32, r));
    const Value none = l.imm(Type::I8, 0);
    l.flags_of(none, l.b.trunc(Type::I8, l.b.shri(r, 32)), none, none);
}

}  // namespace tandem::cpu::arm64
