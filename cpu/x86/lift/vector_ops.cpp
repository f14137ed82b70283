// SSE to SSE4.2, AES, PCLMULQDQ, SHA and their VEX encodings, AVX and AVX2: the instructions that are one IR operation on
// their operands, as rows.
#include "cpu/x86/lift/mmx.h"
#include "cpu/x86/lift/vector.h"

namespace tandem::cpu::x86 {

namespace {

Op op_of(const Lifter& l) { return VectorArg{l.arg}.op(); }
unsigned dest(const Lifter& l) { return l.op(0).reg; }
Value zero_of(Lifter& l, Type t) {
    return t == Type::V256 ? l.b.konst_v(jit::ir::Vec256{}) : l.b.konst_v(jit::ir::Vec128{});
}

// Integer and bitwise forms, by operands of the IR operation; VEX encodings name the first source apart from the
// destination. Those with an MMX twin ask for it.
void binary(Lifter& l) {
    if (is_mm(l, 0)) return mmx_binary(l, op_of(l));
    const unsigned second = second_index(l);
    if (is_xmm(l, second) && l.op(second).reg == l.op(second - 1).reg && op_of(l) == Op::PXor) {
        return set_vec(l, dest(l), zero_of(l, dest_type(l)));  // how registers are cleared
    }
    const Value src = second_source(l);
    set_vec(l, dest(l), l.b.v_op(op_of(l), {first_source(l), src}));
}

void binary_imm(Lifter& l) {
    const Value src = second_source(l);
    set_vec(l, dest(l), l.b.v_op(op_of(l), {first_source(l), src}, last_imm8(l)));
}

// AES rounds and carry-less products work on 128 bits at a time.
void by_halves(Lifter& l) {
    const u8 imm = last_is_imm(l) ? last_imm8(l) : 0;
    const Value src = second_source(l);
    const Value first = first_source(l);
    if (dest_type(l) == Type::V128) return set_vec(l, dest(l), l.b.v_op(op_of(l), {first, src}, imm));
    const Value low = l.b.v_op(op_of(l), {l.b.v_low(first), l.b.v_low(src)}, imm);
    const Value high = l.b.v_op(op_of(l), {l.b.v_high(first), l.b.v_high(src)}, imm);
    set_vec(l, dest(l), l.b.v_combine(low, high));
}

void unary(Lifter& l) {
    if (is_mm(l, 0)) return mmx_unary(l, op_of(l));
    set_vec(l, dest(l), l.b.v_op(dest_type(l), op_of(l), {vector_operand(l, 1)}));
}

void unary_imm(Lifter& l) { set_vec(l, dest(l), l.b.v_op(op_of(l), {vector_operand(l, 1)}, imm8(l, 2))); }

// Third operand XMM0, or the register that VEX encodings name.
void ternary(Lifter& l) {
    const Value src = second_source(l);
    const Value third = l.insn.vex ? vector_operand(l, 3) : xmm(l, 0);
    set_vec(l, dest(l), l.b.v_op(op_of(l), {first_source(l), src, third}));
}

// Shifts and VPERMIL: control in a register or memory, or immediate. arg: both operations.
constexpr u32 shift_arg(Op by_register, Op by_immediate) {
    return static_cast<u32>(by_register) | static_cast<u32>(by_immediate) << 16;
}
void shift(Lifter& l) {
    const Op by_register = static_cast<Op>(l.arg & 0xffff);
    const Op by_immediate = static_cast<Op>(l.arg >> 16);
    if (is_mm(l, 0)) return mmx_shift(l, by_register, by_immediate);
    if (last_is_imm(l)) return set_vec(l, dest(l), l.b.v_op(by_immediate, {first_source(l)}, last_imm8(l)));
    const Value count = second_source(l);
    set_vec(l, dest(l), l.b.v_op(by_register, {first_source(l), count}));
}
void shift_bytes(Lifter& l) { set_vec(l, dest(l), l.b.v_op(op_of(l), {first_source(l)}, last_imm8(l))); }

void align_right(Lifter& l) { is_mm(l, 0) ? mmx_align(l) : binary_imm(l); }

// Floating-point forms. A reciprocal estimate raises no exception and is lifted as binary or unary.
SimdCheck check_of(const Lifter& l) { return VectorArg{l.arg}.check(); }

template <class Emit>
void floating(Lifter& l, SimdCheck check, Emit emit) {
    const Value src = second_source(l);
    const Value first = first_source(l);
    set_vec(l, dest(l), with_exceptions(l, check, {first, src}, [&] { return emit(first, src); }));
}
template <class Emit>
void floating_unary(Lifter& l, Emit emit) {
    const Value src = vector_operand(l, 1);
    set_vec(l, dest(l), with_exceptions(l, check_of(l), {src, src}, [&] { return emit(src); }));
}

void fp_binary(Lifter& l) {
    floating(l, check_of(l), [&](Value first, Value src) { return l.b.v_op(op_of(l), {first, src}); });
}
void fp_binary_imm(Lifter& l) {
    const bool compare = op_of(l) >= Op::CmpPS && op_of(l) <= Op::CmpSD;
    const u8 imm = compare ? last_imm8(l) & (l.insn.vex ? 31 : 7) : last_imm8(l);  // the predicate has five bits, or three
    const SimdCheck check = SimdCheck::make(check_of(l).elements(), check_of(l).arith(), imm);
    floating(l, check, [&](Value first, Value src) { return l.b.v_op(op_of(l), {first, src}, imm); });
}
void fp_unary(Lifter& l) {
    floating_unary(l, [&](Value src) { return l.b.v_op(dest_type(l), op_of(l), {src}); });
}
void fp_unary_imm(Lifter& l) {
    floating_unary(l, [&](Value src) { return l.b.v_op(op_of(l), {src}, imm8(l, 2)); });
}

// CVTSI2SS, CVTSI2SD.
void from_integer(Lifter& l) {
    const unsigned i = second_index(l);
    const Value src = l.is_mem(i) ? load_operand(l, i) : l.gpr(l.op(i).reg, l.op(i).size);
    const Value first = first_source(l);
    set_vec(l, dest(l), with_exceptions(l, [&] { return l.b.v_op(op_of(l), {first, src}); }));
}

// CVTSS2SI and relatives.
void to_integer(Lifter& l) {
    const Value src = vector_operand(l, 1);
    const Value v = with_exceptions(l, [&] { return l.b.v_to_int(op_of(l), l.type(0), {src}); });
    l.set_gpr(dest(l), v);
}

// COMISS and relatives.
void compare_scalar(Lifter& l) {
    const Value second = vector_operand(l, 1);
    const Value first = xmm(l, dest(l));
    const Value flags = with_exceptions(l, [&] { return l.b.v_to_int(op_of(l), Type::I32, {first, second}); });
    l.set_flags(l.zext64(flags));
}

// PTEST, VTESTPS, VTESTPD.
void test(Lifter& l) {
    const Value second = vector_operand(l, 1);
    l.set_flags(l.zext64(l.b.v_to_int(op_of(l), Type::I32, {vector_operand(l, 0), second})));
}

// MOVMSKPS, MOVMSKPD, PMOVMSKB.
void move_mask(Lifter& l) {
    if (is_mm(l, 1)) return mmx_to_gpr(l, op_of(l));
    l.set_gpr(dest(l), l.b.v_to_int(op_of(l), Type::I32, {vector_operand(l, 1)}));
}

using enum SimdArith;
constexpr u32 arg(Op op, SimdElements elements = SimdElements::None, SimdArith arith = None) {
    return VectorArg::of(op, elements, arith).value;
}
constexpr SimdElements kPS = SimdElements::PackedSingle, kPD = SimdElements::PackedDouble, kSS = SimdElements::ScalarSingle,
                       kSD = SimdElements::ScalarDouble;

constexpr LiftRow kRows[] = {
// A legacy instruction and its VEX twin.
#define BOTH(opcode, lift, argument) \
    {Opcode::opcode, lift, argument}, { Opcode::V##opcode, lift, argument }
#define INTEGER(opcode, op) BOTH(opcode, binary, arg(Op::op))
#define INTEGER_IMM(opcode, op) BOTH(opcode, binary_imm, arg(Op::op))
#define HALVES(opcode, op) BOTH(opcode, by_halves, arg(Op::op))
#define LEGACY(opcode, lift, op) {Opcode::opcode, lift, arg(Op::op)}
#define VEX(opcode, lift, op) {Opcode::opcode, lift, arg(Op::op)}
#define UNARY(opcode, op) BOTH(opcode, unary, arg(Op::op))
#define UNARY_IMM(opcode, op) BOTH(opcode, unary_imm, arg(Op::op))
#define TERNARY(opcode, op) BOTH(opcode, ternary, arg(Op::op))
#define SHIFT(opcode, op) BOTH(opcode, shift, shift_arg(Op::op, Op::op##I))
#define FLOATING(opcode, op, ...) BOTH(opcode, fp_binary, arg(Op::op __VA_OPT__(, ) __VA_ARGS__))
#define FLOATING_IMM(opcode, op, ...) BOTH(opcode, fp_binary_imm, arg(Op::op __VA_OPT__(, ) __VA_ARGS__))
#define FLOATING_UNARY(opcode, op, ...) BOTH(opcode, fp_unary, arg(Op::op __VA_OPT__(, ) __VA_ARGS__))
    INTEGER(PADDB, PAddB),
    INTEGER(PADDW, PAddW),
    INTEGER(PADDD, PAddD),
    INTEGER(PADDQ, PAddQ),
    INTEGER(PADDSB, PAddSB),
    INTEGER(PADDSW, PAddSW),
    INTEGER(PADDUSB, PAddUSB),
    INTEGER(PADDUSW, PAddUSW),
    INTEGER(PSUBB, PSubB),
    INTEGER(PSUBW, PSubW),
    INTEGER(PSUBD, PSubD),
    INTEGER(PSUBQ, PSubQ),
    INTEGER(PSUBSB, PSubSB),
    INTEGER(PSUBSW, PSubSW),
    INTEGER(PSUBUSB, PSubUSB),
    INTEGER(PSUBUSW, PSubUSW),
    INTEGER(PMULLW, PMulLW),
    INTEGER(PMULHW, PMulHW),
    INTEGER(PMULHUW, PMulHUW),
    INTEGER(PMULUDQ, PMulUDQ),
    INTEGER(PMULDQ, PMulDQ),
    INTEGER(PMULLD, PMulLD),
    INTEGER(PMULHRSW, PMulHRSW),
    INTEGER(PMADDWD, PMAddWD),
    INTEGER(PMADDUBSW, PMAddUBSW),
    INTEGER(PSADBW, PSadBW),
    INTEGER(PAVGB, PAvgB),
    INTEGER(PAVGW, PAvgW),
    INTEGER(PMINUB, PMinUB),
    INTEGER(PMINUW, PMinUW),
    INTEGER(PMINUD, PMinUD),
    INTEGER(PMINSB, PMinSB),
    INTEGER(PMINSW, PMinSW),
    INTEGER(PMINSD, PMinSD),
    INTEGER(PMAXUB, PMaxUB),
    INTEGER(PMAXUW, PMaxUW),
    INTEGER(PMAXUD, PMaxUD),
    INTEGER(PMAXSB, PMaxSB),
    INTEGER(PMAXSW, PMaxSW),
    INTEGER(PMAXSD, PMaxSD),
    INTEGER(PAND, PAnd),
    INTEGER(ANDPS, PAnd),
    INTEGER(ANDPD, PAnd),
    INTEGER(PANDN, PAndN),
    INTEGER(ANDNPS, PAndN),
    INTEGER(ANDNPD, PAndN),
    INTEGER(POR, POr),
    INTEGER(ORPS, POr),
    INTEGER(ORPD, POr),
    INTEGER(PXOR, PXor),
    INTEGER(XORPS, PXor),
    INTEGER(XORPD, PXor),
    INTEGER(PCMPEQB, PCmpEqB),
    INTEGER(PCMPEQW, PCmpEqW),
    INTEGER(PCMPEQD, PCmpEqD),
    INTEGER(PCMPEQQ, PCmpEqQ),
    INTEGER(PCMPGTB, PCmpGtB),
    INTEGER(PCMPGTW, PCmpGtW),
    INTEGER(PCMPGTD, PCmpGtD),
    INTEGER(PCMPGTQ, PCmpGtQ),
    INTEGER(PACKSSWB, PackSSWB),
    INTEGER(PACKSSDW, PackSSDW),
    INTEGER(PACKUSWB, PackUSWB),
    INTEGER(PACKUSDW, PackUSDW),
    INTEGER(PUNPCKLBW, PUnpckLBW),
    INTEGER(PUNPCKLWD, PUnpckLWD),
    INTEGER(PUNPCKLDQ, PUnpckLDQ),
    INTEGER(PUNPCKLQDQ, PUnpckLQDQ),
    INTEGER(PUNPCKHBW, PUnpckHBW),
    INTEGER(PUNPCKHWD, PUnpckHWD),
    INTEGER(PUNPCKHDQ, PUnpckHDQ),
    INTEGER(PUNPCKHQDQ, PUnpckHQDQ),
    INTEGER(PHADDW, PHAddW),
    INTEGER(PHADDD, PHAddD),
    INTEGER(PHADDSW, PHAddSW),
    INTEGER(PHSUBW, PHSubW),
    INTEGER(PHSUBD, PHSubD),
    INTEGER(PHSUBSW, PHSubSW),
    INTEGER(PSIGNB, PSignB),
    INTEGER(PSIGNW, PSignW),
    INTEGER(PSIGND, PSignD),
    INTEGER(PSHUFB, PShufB),
    INTEGER(UNPCKLPS, UnpckLPS),
    INTEGER(UNPCKHPS, UnpckHPS),
    INTEGER(UNPCKLPD, UnpckLPD),
    INTEGER(UNPCKHPD, UnpckHPD),
    HALVES(AESENC, AesEnc),
    HALVES(AESENCLAST, AesEncLast),
    HALVES(AESDEC, AesDec),
    HALVES(AESDECLAST, AesDecLast),
    LEGACY(SHA1NEXTE, binary, Sha1NextE),
    LEGACY(SHA1MSG1, binary, Sha1Msg1),
    LEGACY(SHA1MSG2, binary, Sha1Msg2),
    LEGACY(SHA256MSG1, binary, Sha256Msg1),
    LEGACY(SHA256MSG2, binary, Sha256Msg2),
    INTEGER(RCPSS, RcpSS),
    INTEGER(RSQRTSS, RsqrtSS),
    UNARY(RCPPS, RcpPS),
    UNARY(RSQRTPS, RsqrtPS),
    UNARY(PABSB, PAbsB),
    UNARY(PABSW, PAbsW),
    UNARY(PABSD, PAbsD),
    UNARY(PMOVSXBW, PMovSXBW),
    UNARY(PMOVSXBD, PMovSXBD),
    UNARY(PMOVSXBQ, PMovSXBQ),
    UNARY(PMOVSXWD, PMovSXWD),
    UNARY(PMOVSXWQ, PMovSXWQ),
    UNARY(PMOVSXDQ, PMovSXDQ),
    UNARY(PMOVZXBW, PMovZXBW),
    UNARY(PMOVZXBD, PMovZXBD),
    UNARY(PMOVZXBQ, PMovZXBQ),
    UNARY(PMOVZXWD, PMovZXWD),
    UNARY(PMOVZXWQ, PMovZXWQ),
    UNARY(PMOVZXDQ, PMovZXDQ),
    UNARY(PHMINPOSUW, PHMinPosUW),
    UNARY(MOVSHDUP, MovShDup),
    UNARY(MOVSLDUP, MovSlDup),
    UNARY(MOVDDUP, MovDDup),
    UNARY(AESIMC, AesImc),
    UNARY_IMM(PSHUFD, PShufD),
    UNARY_IMM(PSHUFHW, PShufHW),
    UNARY_IMM(PSHUFLW, PShufLW),
    UNARY_IMM(AESKEYGENASSIST, AesKeyGenAssist),
    INTEGER_IMM(PBLENDW, PBlendW),
    INTEGER_IMM(BLENDPS, BlendPS),
    INTEGER_IMM(BLENDPD, BlendPD),
    INTEGER_IMM(MPSADBW, MPSadBW),
    INTEGER_IMM(SHUFPS, ShufPS),
    INTEGER_IMM(SHUFPD, ShufPD),
    HALVES(PCLMULQDQ, PClMulQDQ),
    LEGACY(SHA1RNDS4, binary_imm, Sha1Rnds4),
    BOTH(PALIGNR, align_right, arg(Op::PAlignR)),
    TERNARY(PBLENDVB, PBlendVB),
    TERNARY(BLENDVPS, BlendVPS),
    TERNARY(BLENDVPD, BlendVPD),
    LEGACY(SHA256RNDS2, ternary, Sha256Rnds2),
    SHIFT(PSLLW, PSllW),
    SHIFT(PSLLD, PSllD),
    SHIFT(PSLLQ, PSllQ),
    SHIFT(PSRLW, PSrlW),
    SHIFT(PSRLD, PSrlD),
    SHIFT(PSRLQ, PSrlQ),
    SHIFT(PSRAW, PSraW),
    SHIFT(PSRAD, PSraD),
    BOTH(PSLLDQ, shift_bytes, arg(Op::PSllDQ)),
    BOTH(PSRLDQ, shift_bytes, arg(Op::PSrlDQ)),
    BOTH(PTEST, test, arg(Op::PTest)),
    VEX(VTESTPS, test, VTestPS),
    VEX(VTESTPD, test, VTestPD),
    BOTH(MOVMSKPS, move_mask, arg(Op::MovMskPS)),
    BOTH(MOVMSKPD, move_mask, arg(Op::MovMskPD)),
    BOTH(PMOVMSKB, move_mask, arg(Op::PMovMskB)),
    FLOATING(ADDPS, AddPS, kPS, Add),
    FLOATING(ADDPD, AddPD, kPD, Add),
    FLOATING(ADDSS, AddSS, kSS, Add),
    FLOATING(ADDSD, AddSD, kSD, Add),
    FLOATING(SUBPS, SubPS, kPS, Sub),
    FLOATING(SUBPD, SubPD, kPD, Sub),
    FLOATING(SUBSS, SubSS, kSS, Sub),
    FLOATING(SUBSD, SubSD, kSD, Sub),
    FLOATING(MULPS, MulPS, kPS, Mul),
    FLOATING(MULPD, MulPD, kPD, Mul),
    FLOATING(MULSS, MulSS, kSS, Mul),
    FLOATING(MULSD, MulSD, kSD, Mul),
    FLOATING(DIVPS, DivPS, kPS, Div),
    FLOATING(DIVPD, DivPD, kPD, Div),
    FLOATING(DIVSS, DivSS, kSS, Div),
    FLOATING(DIVSD, DivSD, kSD, Div),
    FLOATING(MINPS, MinPS),
    FLOATING(MINPD, MinPD),
    FLOATING(MINSS, MinSS),
    FLOATING(MINSD, MinSD),
    FLOATING(MAXPS, MaxPS),
    FLOATING(MAXPD, MaxPD),
    FLOATING(MAXSS, MaxSS),
    FLOATING(MAXSD, MaxSD),
    FLOATING(ADDSUBPS, AddSubPS, kPS, AddSub),
    FLOATING(ADDSUBPD, AddSubPD, kPD, AddSub),
    FLOATING(HADDPS, HAddPS, kPS, HorizontalAdd),
    FLOATING(HADDPD, HAddPD, kPD, HorizontalAdd),
    FLOATING(HSUBPS, HSubPS, kPS, HorizontalSub),
    FLOATING(HSUBPD, HSubPD, kPD, HorizontalSub),
    FLOATING(SQRTSS, SqrtSS),
    FLOATING(SQRTSD, SqrtSD),
    FLOATING(CVTSS2SD, CvtSS2SD),
    FLOATING(CVTSD2SS, CvtSD2SS, kSS, Narrow),
    FLOATING_IMM(CMPPS, CmpPS),
    FLOATING_IMM(CMPPD, CmpPD),
    FLOATING_IMM(CMPSS, CmpSS),
    FLOATING_IMM(CMPSD, CmpSD),
    FLOATING_IMM(DPPS, DpPS, kPS, Dot),
    FLOATING_IMM(DPPD, DpPD, kPD, Dot),
    FLOATING_IMM(ROUNDSS, RoundSS),
    FLOATING_IMM(ROUNDSD, RoundSD),
    BOTH(ROUNDPS, fp_unary_imm, arg(Op::RoundPS)),
    BOTH(ROUNDPD, fp_unary_imm, arg(Op::RoundPD)),
    FLOATING_UNARY(SQRTPS, SqrtPS),
    FLOATING_UNARY(SQRTPD, SqrtPD),
    FLOATING_UNARY(CVTPS2PD, CvtPS2PD),
    FLOATING_UNARY(CVTPD2PS, CvtPD2PS, kPS, Narrow),
    FLOATING_UNARY(CVTDQ2PS, CvtDQ2PS),
    FLOATING_UNARY(CVTDQ2PD, CvtDQ2PD),
    FLOATING_UNARY(CVTPS2DQ, CvtPS2DQ),
    FLOATING_UNARY(CVTTPS2DQ, CvtTPS2DQ),
    FLOATING_UNARY(CVTPD2DQ, CvtPD2DQ),
    FLOATING_UNARY(CVTTPD2DQ, CvtTPD2DQ),
    BOTH(CVTSI2SS, from_integer, arg(Op::CvtSI2SS)),
    BOTH(CVTSI2SD, from_integer, arg(Op::CvtSI2SD)),
    BOTH(CVTSS2SI, to_integer, arg(Op::CvtSS2SI)),
    BOTH(CVTSD2SI, to_integer, arg(Op::CvtSD2SI)),
    BOTH(CVTTSS2SI, to_integer, arg(Op::CvtTSS2SI)),
    BOTH(CVTTSD2SI, to_integer, arg(Op::CvtTSD2SI)),
    BOTH(UCOMISS, compare_scalar, arg(Op::UComISS)),
    BOTH(UCOMISD, compare_scalar, arg(Op::UComISD)),
    BOTH(COMISS, compare_scalar, arg(Op::ComISS)),
    BOTH(COMISD, compare_scalar, arg(Op::ComISD)),
    VEX(VPSLLVD, binary, PSllVD),
    VEX(VPSLLVQ, binary, PSllVQ),
    VEX(VPSRLVD, binary, PSrlVD),
    VEX(VPSRLVQ, binary, PSrlVQ),
    VEX(VPSRAVD, binary, PSraVD),
    VEX(VPERMD, binary, PermD),
    VEX(VPERMPS, binary, PermD),
    VEX(VPERMQ, unary_imm, PermQ),
    VEX(VPERMPD, unary_imm, PermQ),
    VEX(VPERM2F128, binary_imm, Perm2I128),
    VEX(VPERM2I128, binary_imm, Perm2I128),
    VEX(VPBLENDD, binary_imm, PBlendD),
    {Opcode::VPERMILPS, shift, shift_arg(Op::PermilPS, Op::PermilPSI)},
    {Opcode::VPERMILPD, shift, shift_arg(Op::PermilPD, Op::PermilPDI)},
    VEX(VPBROADCASTB, unary, PBroadcastB),
    VEX(VPBROADCASTW, unary, PBroadcastW),
    VEX(VPBROADCASTD, unary, PBroadcastD),
    VEX(VPBROADCASTQ, unary, PBroadcastQ),
    VEX(VBROADCASTSS, unary, PBroadcastD),
    VEX(VBROADCASTSD, unary, PBroadcastQ),
    VEX(VCVTPH2PS, fp_unary, CvtPH2PS),
#undef BOTH
#undef HALVES
#undef LEGACY
#undef VEX
#undef INTEGER
#undef INTEGER_IMM
#undef UNARY
#undef UNARY_IMM
#undef TERNARY
#undef SHIFT
#undef FLOATING
#undef FLOATING_IMM
#undef FLOATING_UNARY
};

}  // namespace

std::span<const LiftRow> vector_ops_rows() { return kRows; }

}  // namespace tandem::cpu::x86
