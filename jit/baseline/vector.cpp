// Vectors: the rows of vector_ops.inc as the host instruction each one names, and lane moves.
#include "jit/baseline/compiler.h"

namespace tandem::jit::baseline {

using ir::Inst;
using ir::Op;
using ir::Type;
using ir::VectorForm;
using namespace asmjit;

namespace {

// Rows whose second operand in memory is none, or means something else than the register.
bool registers_only(Op op) {
    return op == Op::MovSS || op == Op::MovSD || op == Op::MovHLPS || op == Op::MovLHPS || op == Op::InsertPS;
}

// Comparison predicates that the legacy instructions do not have.
bool is_wide_predicate(const Inst& inst) { return inst.op >= Op::CmpPS && inst.op <= Op::CmpSD && inst.aux >= 8; }

}  // namespace

void Compiler::vector_constant(Value v, const Inst& inst) {
    const u32 count = ir::size_of(inst.type) / 16;
    if (inst.imm + count > block_->vector_constants.size()) {
        unsupported_ = "vector constant out of range";
        return;
    }
    constexpr ir::Vec128 kOnes{~u64{0}, ~u64{0}};
    const ir::Vec128& c = block_->vector_constants[inst.imm];
    const bool uniform = count == 1 || block_->vector_constants[inst.imm + 1] == c;
    const Reg d = regs_.define(v);
    regs_.info(v).clean = code_.vex();
    if (uniform && c == ir::Vec128{}) {
        code_.emit(code_.vex() ? x86::Inst::kIdVpxor : x86::Inst::kIdPxor, xmm(d), xmm(d), code_.vex() ? xmm(d) : Operand());
    } else if (uniform && c == kOnes && !code_.vex()) {
        code_.pcmpeqd(xmm(d), xmm(d));
    } else if (uniform && c == kOnes && (count == 1 || host_.avx2)) {
        code_.emit(x86::Inst::kIdVpcmpeqd, vec(d, inst.type), vec(d, inst.type), vec(d, inst.type));
    } else {
        // movups xmm, [rip + rel32]: the constant follows the block's code.
        code_.load_vector(vec(d, inst.type), x86::ptr(x86::rip, 0));
        vector_constants_.push_back({code_.position() - 4, static_cast<u32>(inst.imm), count});
    }
}

// Result in EFLAGS positions: LAHF gives SF ZF AF PF CF, of which the instruction leaves ZF, PF and CF.
void Compiler::vector_to_flags(Value v, const Inst& inst, u32 instruction) {
    const Type t = type_of(inst.args[0]);
    regs_.claim(kRax);
    const Reg a = regs_.use(inst.args[0]);
    const Reg b = regs_.use(inst.args[1]);
    code_.emit(instruction, vec(a, t), vec(b, t));
    code_.lahf();
    code_.movzx(x86::eax, x86::ah);
    code_.and_(x86::eax, host_.row(inst.op).form == VectorForm::VTEST ? 0x41 : 0x45);
    regs_.define_in(v, kRax);
    regs_.info(v).clean = true;
}

void Compiler::legacy_row(Value v, const Inst& inst, const VectorInstruction& row) {
    const Imm imm(static_cast<u8>(inst.aux));
    const Type t = inst.type;
    const auto fresh = [&](auto... immediate) {  // destination written whole
        const Reg a = regs_.use(inst.args[0]);
        code_.emit(row.legacy, xmm(regs_.define(v)), xmm(a), immediate...);
    };
    const auto merged = [&](auto... immediate) {  // destination is also the first operand
        const Reg b = regs_.use(inst.args[1]);
        code_.emit(row.legacy, xmm(regs_.define_copy(v, inst.args[0])), xmm(b), immediate...);
    };
    switch (row.form) {
        case VectorForm::VOP1:
        case VectorForm::VOPX:
        case VectorForm::VFPX:
        case VectorForm::VFPN:
        case VectorForm::VFP1: return fresh();
        case VectorForm::VOP1I:
        case VectorForm::VFPNI:
        case VectorForm::VFP1I: return fresh(imm);
        case VectorForm::VSHI: code_.emit(row.legacy, xmm(regs_.define_copy(v, inst.args[0])), imm); return;
        case VectorForm::VOP2:
        case VectorForm::VOP2S:
        case VectorForm::VFP2:
        case VectorForm::VFPM: return merged();
        case VectorForm::VOP2I:
        case VectorForm::VFP2I: return merged(imm);
        case VectorForm::VFP3:
        case VectorForm::VOP3: regs_.claim_with(kXmm0, inst.args[2]); return merged(x86::xmm0);
        case VectorForm::VTOI:
        case VectorForm::FTOI: {
            const Reg a = regs_.use(inst.args[0]);
            const Reg d = regs_.define(v);
            code_.emit(row.legacy, row.form == VectorForm::VTOI ? gp32(d) : gp_op(d, t), xmm(a));
            regs_.info(v).clean = true;
            return;
        }
        case VectorForm::ITOF: {
            const Reg b = regs_.use(inst.args[1]);
            code_.emit(row.legacy, xmm(regs_.define_copy(v, inst.args[0])), gp_op(b, type_of(inst.args[1])));
            return;
        }
        case VectorForm::VTEST:
        case VectorForm::FCMP: return vector_to_flags(v, inst, row.legacy);
        case VectorForm::None: unsupported_ = "operation is unknown to the generator"; return;
    }
}

// A vector register, or the memory that the value is in.
Operand Compiler::vector_operand(Value v) {
    x86::Mem m;
    if (regs_.in_memory(v, m)) return m;
    return vec(regs_.use(v), type_of(v));
}

void Compiler::vex_row(Value v, const Inst& inst, const VectorInstruction& row) {
    const Imm imm(static_cast<u8>(inst.aux));
    const Type t = inst.type;
    const auto one = [&](auto... immediate) {
        const Reg a = regs_.use(inst.args[0]);
        code_.emit(row.vex, vec(regs_.define_over(v, inst.args[0]), t), vec(a, type_of(inst.args[0])), immediate...);
    };
    const auto two = [&](auto... immediate) {
        const Reg a = regs_.use(inst.args[0]);
        const Operand b = registers_only(inst.op) ? vec(regs_.use(inst.args[1]), t) : vector_operand(inst.args[1]);
        code_.emit(row.vex, vec(regs_.define_over(v, inst.args[0]), t), vec(a, t), b, immediate...);
    };
    switch (row.form) {
        case VectorForm::VOP1:
        case VectorForm::VOPX:
        case VectorForm::VFPX:
        case VectorForm::VFPN:
        case VectorForm::VFP1: one(); break;
        case VectorForm::VOP1I:
        case VectorForm::VSHI:
        case VectorForm::VFPNI:
        case VectorForm::VFP1I: one(imm); break;
        case VectorForm::VOP2:
        case VectorForm::VOP2S:
        case VectorForm::VFP2:
        case VectorForm::VFPM: two(); break;
        case VectorForm::VOP2I:
        case VectorForm::VFP2I: two(imm); break;
        case VectorForm::VOP3: {
            const Reg a = regs_.use(inst.args[0]);
            const Reg b = regs_.use(inst.args[1]);
            const Reg c = regs_.use(inst.args[2]);
            code_.emit(row.vex, vec(regs_.define_over(v, inst.args[0]), t), vec(a, t), vec(b, t), vec(c, t));
            break;
        }
        case VectorForm::VFP3: {
            const Reg b = regs_.use(inst.args[1]);
            const Operand c = vector_operand(inst.args[2]);
            code_.emit(row.vex, vec(regs_.define_copy(v, inst.args[0]), t), vec(b, t), c);
            break;
        }
        case VectorForm::VTOI:
        case VectorForm::FTOI: {
            const Reg a = regs_.use(inst.args[0]);
            const Reg d = regs_.define(v);
            code_.emit(row.vex, row.form == VectorForm::VTOI ? gp32(d) : gp_op(d, t), vec(a, type_of(inst.args[0])));
            break;
        }
        case VectorForm::ITOF: {
            const Reg a = regs_.use(inst.args[0]);
            const Reg b = regs_.use(inst.args[1]);
            code_.emit(row.vex, xmm(regs_.define_over(v, inst.args[0])), xmm(a), gp_op(b, type_of(inst.args[1])));
            break;
        }
        case VectorForm::VTEST:
        case VectorForm::FCMP: return vector_to_flags(v, inst, row.vex);
        case VectorForm::None: unsupported_ = "operation is unknown to the generator"; return;
    }
    regs_.info(v).clean = true;
}

void Compiler::vector_row(Value v, const Inst& inst, const VectorInstruction& row) {
    const bool wide = ir::vector_type(*block_, inst) == Type::V256;
    if (code_.vex() && (wide ? row.ymm_supported : row.xmm_supported)) {
        vex_row(v, inst, row);
    } else if (!wide && row.legacy_supported && (row.form != VectorForm::VFP2I || !is_wide_predicate(inst))) {
        legacy_row(v, inst, row);
    } else {
        unsupported_ = row.form == VectorForm::None ? "operation is unknown to the generator" : "host lacks an instruction";
    }
}

void Compiler::vector_from_int(Value v, const Inst& inst) {
    namespace I = x86::Inst;
    const bool wide = type_of(inst.args[0]) == Type::I64;
    const Reg a = regs_.use(inst.args[0]);
    const Reg d = regs_.define(v);
    const InstId id = code_.vex() ? (wide ? I::kIdVmovq : I::kIdVmovd) : (wide ? I::kIdMovq : I::kIdMovd);
    code_.emit(id, xmm(d), gp_op(a, type_of(inst.args[0])));
    regs_.info(v).clean = code_.vex();
}

void Compiler::vector_extract(Value v, const Inst& inst) {
    namespace I = x86::Inst;
    const Type t = inst.type;
    const bool vex = code_.vex();
    const Reg a = regs_.use(inst.args[0]);
    const Reg d = regs_.define(v);
    const Imm lane(inst.aux);
    regs_.info(v).clean = true;
    if (t == Type::I64 && inst.aux == 0) {
        code_.emit(vex ? I::kIdVmovq : I::kIdMovq, gp64(d), xmm(a));
    } else if (t == Type::I32 && inst.aux == 0) {
        code_.emit(vex ? I::kIdVmovd : I::kIdMovd, gp32(d), xmm(a));
    } else if (t == Type::I16) {
        code_.emit(vex ? I::kIdVpextrw : I::kIdPextrw, gp32(d), xmm(a), lane);
    } else if (!host_.sse41) {
        unsupported_ = "host lacks SSE4.1";
    } else {
        const InstId id = t == Type::I8    ? (vex ? I::kIdVpextrb : I::kIdPextrb)
                          : t == Type::I32 ? (vex ? I::kIdVpextrd : I::kIdPextrd)
                                           : (vex ? I::kIdVpextrq : I::kIdPextrq);
        code_.emit(id, gp_op(d, t), xmm(a), lane);
    }
}

void Compiler::vector_insert(Value v, const Inst& inst) {
    namespace I = x86::Inst;
    const Type t = type_of(inst.args[1]);
    const bool vex = code_.vex();
    const Imm lane(inst.aux);
    if (t != Type::I16 && !host_.sse41) {
        unsupported_ = "host lacks SSE4.1";
        return;
    }
    const InstId id = t == Type::I8    ? (vex ? I::kIdVpinsrb : I::kIdPinsrb)
                      : t == Type::I16 ? (vex ? I::kIdVpinsrw : I::kIdPinsrw)
                      : t == Type::I32 ? (vex ? I::kIdVpinsrd : I::kIdPinsrd)
                                       : (vex ? I::kIdVpinsrq : I::kIdPinsrq);
    const Reg b = regs_.use(inst.args[1]);
    if (!vex) {
        code_.emit(id, xmm(regs_.define_copy(v, inst.args[0])), gp_op(b, t), lane);
        return;
    }
    const Reg a = regs_.use(inst.args[0]);
    code_.emit(id, xmm(regs_.define_over(v, inst.args[0])), xmm(a), gp_op(b, t), lane);
    regs_.info(v).clean = true;
}

void Compiler::vector_halves(Value v, const Inst& inst) {
    if (!host_.avx) {
        unsupported_ = "host lacks AVX";
        return;
    }
    switch (inst.op) {
        case Op::VLow: return regs_.alias(v, inst.args[0]);
        case Op::VZext: {
            if (regs_.is_clean(inst.args[0])) return regs_.alias(v, inst.args[0]);
            const Reg a = regs_.use(inst.args[0]);
            code_.vmovaps(xmm(regs_.define_over(v, inst.args[0])), xmm(a));
            return;
        }
        case Op::VHigh: {
            const Reg a = regs_.use(inst.args[0]);
            code_.vextractf128(xmm(regs_.define_over(v, inst.args[0])), ymm(a), 1);
            regs_.info(v).clean = true;
            return;
        }
        default: {  // VCombine
            const Reg lo = regs_.use(inst.args[0]);
            const Operand hi = vector_operand(inst.args[1]);
            code_.emit(x86::Inst::kIdVinsertf128, ymm(regs_.define_over(v, inst.args[0])), ymm(lo), hi, Imm(1));
            return;
        }
    }
}

void Compiler::vector(Value v, const Inst& inst) {
    switch (inst.op) {
        case Op::ConstV: return vector_constant(v, inst);
        case Op::VFromI: return vector_from_int(v, inst);
        case Op::VExtract: return vector_extract(v, inst);
        case Op::VInsert: return vector_insert(v, inst);
        case Op::VLow:
        case Op::VHigh:
        case Op::VCombine:
        case Op::VZext: return vector_halves(v, inst);
        default: return vector_row(v, inst, host_.row(inst.op));
    }
}

}  // namespace tandem::jit::baseline
