// SSE to SSE4.2, AES, PCLMULQDQ and SHA: the instructions that are one IR operation on their operands, as rows.
#include "cpu/x86/lift/mmx.h"
#include "cpu/x86/lift/vector.h"

namespace tandem::cpu::x86 {

namespace {

Op op_of(const Lifter& l) { return VectorArg{l.arg}.op(); }
unsigned dest(const Lifter& l) { return l.op(0).reg; }

// Integer and bitwise forms, by operands of the IR operation. Those with an MMX twin ask for it.
void binary(Lifter& l) {
    if (is_mm(l, 0)) return mmx_binary(l, op_of(l));
    const bool same = is_xmm(l, 1) && l.op(1).reg == dest(l);
    if (same && op_of(l) == Op::PXor) return set_xmm(l, dest(l), l.b.konst_v(jit::ir::Vec128{}));  // how registers are cleared
    const Value src = vector_operand(l, 1);
    set_xmm(l, dest(l), l.b.v_op(op_of(l), {xmm(l, dest(l)), src}));
}

void binary_imm(Lifter& l) {
    const Value src = vector_operand(l, 1);
    set_xmm(l, dest(l), l.b.v_op(op_of(l), {xmm(l, dest(l)), src}, imm8(l, 2)));
}

void unary(Lifter& l) {
    if (is_mm(l, 0)) return mmx_unary(l, op_of(l));
    set_xmm(l, dest(l), l.b.v_op(op_of(l), {vector_operand(l, 1)}));
}

void unary_imm(Lifter& l) { set_xmm(l, dest(l), l.b.v_op(op_of(l), {vector_operand(l, 1)}, imm8(l, 2))); }

// Third operand XMM0.
void ternary(Lifter& l) {
    const Value src = vector_operand(l, 1);
    set_xmm(l, dest(l), l.b.v_op(op_of(l), {xmm(l, dest(l)), src, xmm(l, 0)}));
}

// Shifts: count in a register or memory, or immediate. arg: both operations.
constexpr u32 shift_arg(Op by_register, Op by_immediate) {
    return static_cast<u32>(by_register) | static_cast<u32>(by_immediate) << 16;
}
void shift(Lifter& l) {
    const Op by_register = static_cast<Op>(l.arg & 0xffff);
    const Op by_immediate = static_cast<Op>(l.arg >> 16);
    if (is_mm(l, 0)) return mmx_shift(l, by_register, by_immediate);
    if (l.op(1).kind == OperandKind::Imm) {
        set_xmm(l, dest(l), l.b.v_op(by_immediate, {xmm(l, dest(l))}, imm8(l, 1)));
        return;
    }
    const Value count = vector_operand(l, 1);
    set_xmm(l, dest(l), l.b.v_op(by_register, {xmm(l, dest(l)), count}));
}
void shift_bytes(Lifter& l) { set_xmm(l, dest(l), l.b.v_op(op_of(l), {xmm(l, dest(l))}, imm8(l, 1))); }

void align_right(Lifter& l) { is_mm(l, 0) ? mmx_align(l) : binary_imm(l); }

// Floating-point forms. A reciprocal estimate raises no exception and is lifted as binary or unary.
template <class Emit>
void floating(Lifter& l, SimdCheck check, Emit emit) {
    const Value src = vector_operand(l, 1);
    const Value dst = xmm(l, dest(l));
    set_xmm(l, dest(l), with_exceptions(l, check, dst, src, [&] { return emit(dst, src); }));
}
SimdCheck check_of(const Lifter& l) { return VectorArg{l.arg}.check(); }

void fp_binary(Lifter& l) {
    floating(l, check_of(l), [&](Value dst, Value src) { return l.b.v_op(op_of(l), {dst, src}); });
}
void fp_binary_imm(Lifter& l) {
    const bool compare = op_of(l) >= Op::CmpPS && op_of(l) <= Op::CmpSD;  // legacy predicates have three bits
    const u8 imm = compare ? imm8(l, 2) & 7 : imm8(l, 2);
    const SimdCheck check = SimdCheck::make(check_of(l).elements(), check_of(l).arith(), imm);
    floating(l, check, [&](Value dst, Value src) { return l.b.v_op(op_of(l), {dst, src}, imm); });
}
void fp_unary(Lifter& l) {
    floating(l, check_of(l), [&](Value, Value src) { return l.b.v_op(op_of(l), {src}); });
}
void fp_unary_imm(Lifter& l) {
    floating(l, check_of(l), [&](Value, Value src) { return l.b.v_op(op_of(l), {src}, imm8(l, 2)); });
}

// CVTSI2SS, CVTSI2SD.
void from_integer(Lifter& l) {
    const Value src = l.is_mem(1) ? load_operand(l, 1) : l.gpr(l.op(1).reg, l.op(1).size);
    const Value dst = xmm(l, dest(l));
    set_xmm(l, dest(l), with_exceptions(l, [&] { return l.b.v_op(op_of(l), {dst, src}); }));
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

void ptest(Lifter& l) {
    const Value second = vector_operand(l, 1);
    l.set_flags(l.zext64(l.b.v_to_int(Op::PTest, Type::I32, {xmm(l, dest(l)), second})));
}

// MOVMSKPS, MOVMSKPD, PMOVMSKB.
void move_mask(Lifter& l) {
    if (is_mm(l, 1)) return mmx_to_gpr(l, op_of(l));
    l.set_gpr(dest(l), l.b.v_to_int(op_of(l), Type::I32, {xmm(l, l.op(1).reg)}));
}

using enum SimdArith;
constexpr u32 arg(Op op, SimdElements elements = SimdElements::None, SimdArith arith = None) {
    return VectorArg::of(op, elements, arith).value;
}
constexpr SimdElements kPS = SimdElements::PackedSingle, kPD = SimdElements::PackedDouble, kSS = SimdElements::ScalarSingle,
                       kSD = SimdElements::ScalarDouble;

constexpr LiftRow kRows[] = {
#define INTEGER(opcode, op) {Opcode::opcode, binary, arg(Op::op)}
#define INTEGER_IMM(opcode, op) {Opcode::opcode, binary_imm, arg(Op::op)}
#define UNARY(opcode, op) {Opcode::opcode, unary, arg(Op::op)}
#define UNARY_IMM(opcode, op) {Opcode::opcode, unary_imm, arg(Op::op)}
#define TERNARY(opcode, op) {Opcode::opcode, ternary, arg(Op::op)}
#define SHIFT(opcode, op) {Opcode::opcode, shift, shift_arg(Op::op, Op::op##I)}
#define FLOATING(opcode, op, ...) {Opcode::opcode, fp_binary, arg(Op::op __VA_OPT__(, ) __VA_ARGS__)}
#define FLOATING_IMM(opcode, op, ...) {Opcode::opcode, fp_binary_imm, arg(Op::op __VA_OPT__(, ) __VA_ARGS__)}
#define FLOATING_UNARY(opcode, op, ...) {Opcode::opcode, fp_unary, arg(Op::op __VA_OPT__(, ) __VA_ARGS__)}
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
    INTEGER(AESENC, AesEnc),
    INTEGER(AESENCLAST, AesEncLast),
    INTEGER(AESDEC, AesDec),
    INTEGER(AESDECLAST, AesDecLast),
    INTEGER(SHA1NEXTE, Sha1NextE),
    INTEGER(SHA1MSG1, Sha1Msg1),
    INTEGER(SHA1MSG2, Sha1Msg2),
    INTEGER(SHA256MSG1, Sha256Msg1),
    INTEGER(SHA256MSG2, Sha256Msg2),
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
    INTEGER_IMM(PCLMULQDQ, PClMulQDQ),
    INTEGER_IMM(SHA1RNDS4, Sha1Rnds4),
    {Opcode::PALIGNR, align_right, arg(Op::PAlignR)},
    TERNARY(PBLENDVB, PBlendVB),
    TERNARY(BLENDVPS, BlendVPS),
    TERNARY(BLENDVPD, BlendVPD),
    TERNARY(SHA256RNDS2, Sha256Rnds2),
    SHIFT(PSLLW, PSllW),
    SHIFT(PSLLD, PSllD),
    SHIFT(PSLLQ, PSllQ),
    SHIFT(PSRLW, PSrlW),
    SHIFT(PSRLD, PSrlD),
    SHIFT(PSRLQ, PSrlQ),
    SHIFT(PSRAW, PSraW),
    SHIFT(PSRAD, PSraD),
    {Opcode::PSLLDQ, shift_bytes, arg(Op::PSllDQ)},
    {Opcode::PSRLDQ, shift_bytes, arg(Op::PSrlDQ)},
    {Opcode::PTEST, ptest},
    {Opcode::MOVMSKPS, move_mask, arg(Op::MovMskPS)},
    {Opcode::MOVMSKPD, move_mask, arg(Op::MovMskPD)},
    {Opcode::PMOVMSKB, move_mask, arg(Op::PMovMskB)},
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
    {Opcode::ROUNDPS, fp_unary_imm, arg(Op::RoundPS)},
    {Opcode::ROUNDPD, fp_unary_imm, arg(Op::RoundPD)},
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
    {Opcode::CVTSI2SS, from_integer, arg(Op::CvtSI2SS)},
    {Opcode::CVTSI2SD, from_integer, arg(Op::CvtSI2SD)},
    {Opcode::CVTSS2SI, to_integer, arg(Op::CvtSS2SI)},
    {Opcode::CVTSD2SI, to_integer, arg(Op::CvtSD2SI)},
    {Opcode::CVTTSS2SI, to_integer, arg(Op::CvtTSS2SI)},
    {Opcode::CVTTSD2SI, to_integer, arg(Op::CvtTSD2SI)},
    {Opcode::UCOMISS, compare_scalar, arg(Op::UComISS)},
    {Opcode::UCOMISD, compare_scalar, arg(Op::UComISD)},
    {Opcode::COMISS, compare_scalar, arg(Op::ComISS)},
    {Opcode::COMISD, compare_scalar, arg(Op::ComISD)},
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
