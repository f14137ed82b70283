// Vectors: the rows of vector_ops.inc as the host instruction each one names, and lane moves.
#include "jit/baseline/compiler.h"

namespace tandem::jit::baseline {

using ir::Inst;
using ir::Op;
using ir::Type;
using ir::VectorForm;
using namespace asmjit;

void Compiler::vector_constant(Value v, const Inst& inst) {
    if (inst.imm >= block_->vector_constants.size()) {
        unsupported_ = "vector constant out of range";
        return;
    }
    const ir::Vec128& c = block_->vector_constants[inst.imm];
    const Reg d = regs_.define(v);
    if (c == ir::Vec128{}) {
        code_.pxor(xmm(d), xmm(d));
    } else if (c == ir::Vec128{~u64{0}, ~u64{0}}) {
        code_.pcmpeqd(xmm(d), xmm(d));
    } else {
        // movups xmm, [rip + rel32]: the constant follows the block's code.
        code_.movups(xmm(d), x86::ptr(x86::rip, 0));
        vector_constants_.push_back({code_.position() - 4, static_cast<u32>(inst.imm)});
    }
}

// Result in EFLAGS positions: LAHF gives SF ZF AF PF CF, of which the instruction leaves ZF, PF and CF.
void Compiler::vector_to_flags(Value v, const Inst& inst, const VectorInstruction& row) {
    regs_.claim(kRax);
    const Reg a = regs_.use(inst.args[0]);
    const Reg b = regs_.use(inst.args[1]);
    code_.emit(row.instruction, xmm(a), xmm(b));
    code_.lahf();
    code_.movzx(x86::eax, x86::ah);
    code_.and_(x86::eax, row.form == VectorForm::VTEST ? 0x41 : 0x45);
    regs_.define_in(v, kRax);
    regs_.info(v).clean = true;
}

void Compiler::vector_row(Value v, const Inst& inst, const VectorInstruction& row) {
    const Imm imm(static_cast<u8>(inst.aux));
    const Type t = inst.type;
    const auto fresh = [&](auto... immediate) {  // destination written whole
        const Reg a = regs_.use(inst.args[0]);
        code_.emit(row.instruction, xmm(regs_.define(v)), xmm(a), immediate...);
    };
    const auto merged = [&](auto... immediate) {  // destination is also the first operand
        const Reg b = regs_.use(inst.args[1]);
        code_.emit(row.instruction, xmm(regs_.define_copy(v, inst.args[0])), xmm(b), immediate...);
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
        case VectorForm::VSHI: code_.emit(row.instruction, xmm(regs_.define_copy(v, inst.args[0])), imm); return;
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
            code_.emit(row.instruction, row.form == VectorForm::VTOI ? gp32(d) : gp_op(d, t), xmm(a));
            regs_.info(v).clean = true;
            return;
        }
        case VectorForm::ITOF: {
            const Reg b = regs_.use(inst.args[1]);
            code_.emit(row.instruction, xmm(regs_.define_copy(v, inst.args[0])), gp_op(b, type_of(inst.args[1])));
            return;
        }
        case VectorForm::VTEST:
        case VectorForm::FCMP: return vector_to_flags(v, inst, row);
        case VectorForm::None: unsupported_ = "operation is unknown to the generator"; return;
    }
}

void Compiler::vector(Value v, const Inst& inst) {
    const Type t = inst.type;
    switch (inst.op) {
        case Op::ConstV: return vector_constant(v, inst);
        case Op::VFromI: {
            const Reg a = regs_.use(inst.args[0]);
            const Reg d = regs_.define(v);
            if (type_of(inst.args[0]) == Type::I64) {
                code_.movq(xmm(d), gp64(a));
            } else {
                code_.movd(xmm(d), gp32(a));
            }
            return;
        }
        case Op::VExtract: {
            const Reg a = regs_.use(inst.args[0]);
            const Reg d = regs_.define(v);
            const Imm lane(inst.aux);
            regs_.info(v).clean = true;
            if (t == Type::I64 && inst.aux == 0) {
                code_.movq(gp64(d), xmm(a));
            } else if (t == Type::I32 && inst.aux == 0) {
                code_.movd(gp32(d), xmm(a));
            } else if (t == Type::I16) {
                code_.pextrw(gp32(d), xmm(a), lane);
            } else if (!host_.sse41) {
                unsupported_ = "host lacks SSE4.1";
            } else {
                const InstId id = t == Type::I8    ? x86::Inst::kIdPextrb
                                  : t == Type::I32 ? x86::Inst::kIdPextrd
                                                   : x86::Inst::kIdPextrq;
                code_.emit(id, gp_op(d, t), xmm(a), lane);
            }
            return;
        }
        case Op::VInsert: {
            const Type lane_type = type_of(inst.args[1]);
            const Reg b = regs_.use(inst.args[1]);
            const Reg d = regs_.define_copy(v, inst.args[0]);
            const Imm lane(inst.aux);
            if (lane_type == Type::I16) {
                code_.pinsrw(xmm(d), gp32(b), lane);
            } else if (!host_.sse41) {
                unsupported_ = "host lacks SSE4.1";
            } else {
                namespace I = x86::Inst;
                const InstId id = lane_type == Type::I8    ? I::kIdPinsrb
                                  : lane_type == Type::I32 ? I::kIdPinsrd
                                                           : I::kIdPinsrq;
                code_.emit(id, xmm(d), gp_op(b, lane_type), lane);
            }
            return;
        }
        default: break;
    }
    const VectorInstruction& row = host_.row(inst.op);
    if (row.form != VectorForm::None && !row.supported) {
        unsupported_ = "host lacks an instruction set extension";
        return;
    }
    vector_row(v, inst, row);
}

}  // namespace tandem::jit::baseline
