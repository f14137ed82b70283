// MMX, and the MMX forms of SSE and SSSE3 instructions (SDM volume 2, by instruction; volume 1, chapter 9).
#include "cpu/x86/lift/mmx.h"

namespace tandem::cpu::x86 {

namespace {

Value low(Lifter& l, Value v) { return l.b.v_extract(Type::I64, v, 0); }
Value high(Lifter& l, Value v) { return l.b.v_extract(Type::I64, v, 1); }

// Operand `i` as 64 bits: register or memory.
Value operand64(Lifter& l, unsigned i) {
    const Operand& o = l.op(i);
    if (o.kind == OperandKind::Mm) return mm(l, o.reg);
    const Value v = load_operand(l, i);
    return l.b.zext(Type::I64, v);
}

// How a 128-bit operation gives the 64-bit one.
enum class Shape : u8 {
    Lanes,   // element by element: the low half
    Joined,  // consumes all of the destination, then all of the source: both in one vector, given twice
    Upper,   // unpacks upper halves, which are in the upper half of unpacking whole low halves
};

Shape shape_of(Op op) {
    switch (op) {
        case Op::PackSSWB:
        case Op::PackSSDW:
        case Op::PackUSWB:
        case Op::PHAddW:
        case Op::PHAddD:
        case Op::PHAddSW:
        case Op::PHSubW:
        case Op::PHSubD:
        case Op::PHSubSW: return Shape::Joined;
        case Op::PUnpckHBW:
        case Op::PUnpckHWD:
        case Op::PUnpckHDQ: return Shape::Upper;
        default: return Shape::Lanes;
    }
}

Op unpack_low(Op op) { return op == Op::PUnpckHBW ? Op::PUnpckLBW : op == Op::PUnpckHWD ? Op::PUnpckLWD : Op::PUnpckLDQ; }

Value binary(Lifter& l, Op op, Value dst, Value src) {
    switch (shape_of(op)) {
        case Shape::Joined: {
            const Value both = l.b.v_insert(l.b.v_from(dst), src, 1);
            return low(l, l.b.v_op(op, {both, both}));
        }
        case Shape::Upper: return high(l, l.b.v_op(unpack_low(op), {l.b.v_from(dst), l.b.v_from(src)}));
        case Shape::Lanes: break;
    }
    // PSHUFB takes three index bits instead of four.
    if (op == Op::PShufB) src = l.b.andi(src, 0x8787878787878787);
    return low(l, l.b.v_op(op, {l.b.v_from(dst), l.b.v_from(src)}));
}

void finish(Lifter& l, unsigned i, Value v) {
    mmx_enter(l);
    set_mm(l, l.op(i).reg, v);
}

// MOVQ mm, MOVNTQ: operands of 64 bits.
void move(Lifter& l) {
    mmx_wait(l);
    const Value v = operand64(l, 1);
    if (is_mm(l, 0)) return finish(l, 0, v);
    store_operand(l, 0, v);
    mmx_enter(l);
}

void shuffle_words(Lifter& l) {
    mmx_wait(l);
    const Value src = operand64(l, 1);
    finish(l, 0, low(l, l.b.v_op(Op::PShufLW, {l.b.v_from(src)}, imm8(l, 2))));
}

void empty(Lifter& l) {
    mmx_wait(l);
    mmx_enter(l);
    l.set(static_cast<u32>(offsetof(State, x87) + offsetof(X87, valid)), l.konst(Type::I8, 0));
}

void movq2dq(Lifter& l) {
    mmx_wait(l);
    const Value v = mm(l, l.op(1).reg);
    mmx_enter(l);
    set_vec(l, l.op(0).reg, l.b.v_from(v));
}

void movdq2q(Lifter& l) {
    mmx_wait(l);
    finish(l, 0, low(l, xmm(l, l.op(1).reg)));
}

// The conversions between MMX and XMM registers enter MMX mode before they convert: an #XM leaves TOP and the tags changed,
// as on the processors.

// CVTPI2PS into the low half, CVTPI2PD into all of the register. No MMX instructions when the operand is memory.
void from_integers(Lifter& l) {
    const Op op = VectorArg{l.arg}.op();
    if (is_mm(l, 1)) mmx_wait(l);
    const Value src = l.b.v_from(operand64(l, 1));
    if (is_mm(l, 1)) mmx_enter(l);
    const Value result = with_exceptions(l, [&] { return l.b.v_op(op, {src}); });
    const unsigned reg = l.op(0).reg;
    set_vec(l, reg, op == Op::CvtDQ2PS ? l.b.v_insert(xmm(l, reg), low(l, result), 0) : result);
}

// CVTPS2PI, CVTPD2PI and their truncating forms.
void to_integers(Lifter& l) {
    mmx_wait(l);
    const Op op = VectorArg{l.arg}.op();
    Value src = vector_operand(l, 1);
    const bool singles = op == Op::CvtPS2DQ || op == Op::CvtTPS2DQ;
    if (singles && is_xmm(l, 1)) src = l.b.v_from(low(l, src));
    mmx_enter(l);
    const Value result = with_exceptions(l, [&] { return l.b.v_op(op, {src}); });
    set_mm(l, l.op(0).reg, low(l, result));
}

constexpr u32 arg(Op op) { return VectorArg::of(op).value; }

constexpr LiftRow kRows[] = {
    {Opcode::MOVNTQ, move},
    {Opcode::PSHUFW, shuffle_words},
    {Opcode::EMMS, empty},
    {Opcode::MOVQ2DQ, movq2dq},
    {Opcode::MOVDQ2Q, movdq2q},
    {Opcode::CVTPI2PS, from_integers, arg(Op::CvtDQ2PS)},
    {Opcode::CVTPI2PD, from_integers, arg(Op::CvtDQ2PD)},
    {Opcode::CVTPS2PI, to_integers, arg(Op::CvtPS2DQ)},
    {Opcode::CVTTPS2PI, to_integers, arg(Op::CvtTPS2DQ)},
    {Opcode::CVTPD2PI, to_integers, arg(Op::CvtPD2DQ)},
    {Opcode::CVTTPD2PI, to_integers, arg(Op::CvtTPD2DQ)},
};

}  // namespace

void mmx_binary(Lifter& l, Op op) {
    mmx_wait(l);
    const Value src = operand64(l, 1);
    finish(l, 0, binary(l, op, mm(l, l.op(0).reg), src));
}

void mmx_unary(Lifter& l, Op op) {
    mmx_wait(l);
    const Value src = operand64(l, 1);
    finish(l, 0, low(l, l.b.v_op(op, {l.b.v_from(src)})));
}

void mmx_shift(Lifter& l, Op by_register, Op by_immediate) {
    mmx_wait(l);
    const Value dst = l.b.v_from(mm(l, l.op(0).reg));
    if (l.op(1).kind == OperandKind::Imm) return finish(l, 0, low(l, l.b.v_op(by_immediate, {dst}, imm8(l, 1))));
    const Value count = l.b.v_from(operand64(l, 1));
    finish(l, 0, low(l, l.b.v_op(by_register, {dst, count})));
}

void mmx_align(Lifter& l) {
    mmx_wait(l);
    const Value src = operand64(l, 1);
    const Value both = l.b.v_insert(l.b.v_from(src), mm(l, l.op(0).reg), 1);
    finish(l, 0, low(l, l.b.v_op(Op::PSrlDQ, {both}, imm8(l, 2))));
}

void mmx_to_gpr(Lifter& l, Op op) {
    mmx_wait(l);
    const Value v = l.b.v_to_int(op, Type::I32, {l.b.v_from(mm(l, l.op(1).reg))});
    mmx_enter(l);
    l.set_gpr(l.op(0).reg, v);
}

void mmx_insert_word(Lifter& l) {
    mmx_wait(l);
    const Value word = l.is_mem(1) ? load_operand(l, 1) : l.gpr(l.op(1).reg, 2);
    finish(l, 0, l.b.deposit(mm(l, l.op(0).reg), word, 16u * (imm8(l, 2) & 3)));
}

void mmx_extract_word(Lifter& l) {
    mmx_wait(l);
    const Value word = l.b.trunc(Type::I16, l.b.shri(mm(l, l.op(1).reg), static_cast<u8>(16 * (imm8(l, 2) & 3))));
    mmx_enter(l);
    l.set_gpr(l.op(0).reg, l.b.zext(Type::I32, word));
}

void mmx_move_doubleword(Lifter& l) {
    const Operand& dst = l.op(0);
    const Operand& src = l.op(1);
    if (dst.kind != OperandKind::Mm) {
        mmx_wait(l);
        const Value v = l.b.trunc(jit::ir::int_type(dst.size), mm(l, src.reg));
        if (dst.kind == OperandKind::Mem) store_operand(l, 0, v);
        mmx_enter(l);
        if (dst.kind == OperandKind::Gpr) l.set_gpr(dst.reg, v);
    } else if (src.kind == OperandKind::Gpr) {
        mmx_wait(l);
        finish(l, 0, l.b.zext(Type::I64, l.gpr(src.reg, src.size)));
    } else {
        move(l);
    }
}

std::span<const LiftRow> mmx_rows() { return kRows; }

}  // namespace tandem::cpu::x86
