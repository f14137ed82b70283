// Vector operations. Lane moves and the commonest integer rows are generic LLVM IR; the other rows are the host's own
// instruction as inline assembly, which LLVM can neither fold, commute nor reorder among floating-point rows: NaN payloads
// and MXCSR stay exact.
#include <llvm/IR/InlineAsm.h>

#include <string>

#include "jit/ir/vector_row.h"
#include "jit/llvm/function_builder.h"

namespace tandem::jit::llvm_tier {

using ir::Op;
using ir::VectorForm;

llvm::Value* FunctionBuilder::vector(const ir::Block& block, const ir::Inst& inst) {
    const unsigned width = ir::width_of(ir::vector_type(block, inst));
    const auto lanes = [&](unsigned bits) { return llvm::FixedVectorType::get(b_.getIntNTy(bits), width / bits); };
    const auto as = [&](unsigned n, unsigned bits) { return b_.CreateBitCast(arg(inst, n), lanes(bits)); };
    const auto back = [&](llvm::Value* v) { return b_.CreateBitCast(v, type(inst.type)); };
    switch (inst.op) {
        case Op::PAddB: return back(b_.CreateAdd(as(0, 8), as(1, 8)));
        case Op::PAddW: return back(b_.CreateAdd(as(0, 16), as(1, 16)));
        case Op::PAddD: return back(b_.CreateAdd(as(0, 32), as(1, 32)));
        case Op::PAddQ: return b_.CreateAdd(arg(inst, 0), arg(inst, 1));
        case Op::PSubB: return back(b_.CreateSub(as(0, 8), as(1, 8)));
        case Op::PSubW: return back(b_.CreateSub(as(0, 16), as(1, 16)));
        case Op::PSubD: return back(b_.CreateSub(as(0, 32), as(1, 32)));
        case Op::PSubQ: return b_.CreateSub(arg(inst, 0), arg(inst, 1));
        case Op::PMulLW: return back(b_.CreateMul(as(0, 16), as(1, 16)));
        case Op::PAnd: return b_.CreateAnd(arg(inst, 0), arg(inst, 1));
        case Op::PAndN: return b_.CreateAnd(b_.CreateNot(arg(inst, 0)), arg(inst, 1));
        case Op::POr: return b_.CreateOr(arg(inst, 0), arg(inst, 1));
        case Op::PXor: return b_.CreateXor(arg(inst, 0), arg(inst, 1));
        case Op::PCmpEqB: return back(b_.CreateSExt(b_.CreateICmpEQ(as(0, 8), as(1, 8)), lanes(8)));
        case Op::PCmpEqW: return back(b_.CreateSExt(b_.CreateICmpEQ(as(0, 16), as(1, 16)), lanes(16)));
        case Op::PCmpEqD: return back(b_.CreateSExt(b_.CreateICmpEQ(as(0, 32), as(1, 32)), lanes(32)));
        default: return vector_lanes(block, inst);
    }
}

// Constants, lanes and halves.
llvm::Value* FunctionBuilder::vector_lanes(const ir::Block& block, const ir::Inst& inst) {
    const auto as = [&](unsigned bits) {
        return b_.CreateBitCast(arg(inst, 0), llvm::FixedVectorType::get(b_.getIntNTy(bits), 128 / bits));
    };
    llvm::Type* v128 = type(ir::Type::V128);
    switch (inst.op) {
        case Op::ConstV: {
            const ir::Vec128* c = &block.vector_constants[inst.imm];
            if (inst.type == ir::Type::V128) {
                return llvm::ConstantDataVector::get(context_, llvm::ArrayRef<u64>({c[0].lo, c[0].hi}));
            }
            return llvm::ConstantDataVector::get(context_, llvm::ArrayRef<u64>({c[0].lo, c[0].hi, c[1].lo, c[1].hi}));
        }
        case Op::VFromI: {
            llvm::Value* wide = b_.CreateZExt(arg(inst, 0), b_.getInt64Ty());
            return b_.CreateInsertElement(llvm::Constant::getNullValue(v128), wide, u64{0});
        }
        case Op::VExtract: return b_.CreateExtractElement(as(ir::width_of(inst.type)), u64{inst.aux});
        case Op::VInsert: {
            llvm::Value* lanes = as(ir::width_of(block.type_of(inst.args[1])));
            return b_.CreateBitCast(b_.CreateInsertElement(lanes, arg(inst, 1), u64{inst.aux}), v128);
        }
        case Op::VLow: return low_half(arg(inst, 0));
        case Op::VHigh: return high_half(arg(inst, 0));
        case Op::VCombine: return combine(arg(inst, 0), arg(inst, 1));
        case Op::VZext: return combine(arg(inst, 0), llvm::Constant::getNullValue(v128));
        default: return vector_asm(inst);
    }
}

namespace {

// Text and constraints of a row as inline assembly, in AT&T syntax: $0 is the result.
struct Assembly {
    std::string text;
    const char* constraints = "";
};

Assembly legacy_assembly(const ir::VectorRow& row, const std::string& imm, bool from_quad) {
    const std::string m(row.mnemonic);
    switch (row.form) {
        case VectorForm::VOP1:
        case VectorForm::VOPX:
        case VectorForm::VFPX:
        case VectorForm::VFPN:
        case VectorForm::VFP1: return {m + " $1, $0", "=x,x"};
        case VectorForm::VSHI: return {m + " " + imm + "$0", "=x,0"};
        case VectorForm::VOP1I:
        case VectorForm::VFPNI:
        case VectorForm::VFP1I: return {m + " " + imm + "$1, $0", "=x,x"};
        case VectorForm::VOP2:
        case VectorForm::VOP2S:
        case VectorForm::VFP2:
        case VectorForm::VFPM: return {m + " $2, $0", "=x,0,x"};
        case VectorForm::VOP2I:
        case VectorForm::VFP2I: return {m + " " + imm + "$2, $0", "=x,0,x"};
        case VectorForm::VFP3:
        case VectorForm::VOP3: return {m + " %xmm0, $2, $0", "=x,0,x,{xmm0}"};
        case VectorForm::VTOI:
        case VectorForm::FTOI: return {m + " $1, $0", "=r,x"};
        case VectorForm::ITOF: return {m + (from_quad ? "q" : "l") + " $2, $0", "=x,0,r"};
        default: return {m + " $2, $1", "={eax},x,x"};
    }
}

Assembly vex_assembly(const ir::VectorRow& row, const std::string& imm, bool from_quad) {
    const std::string m(row.vex_mnemonic);
    switch (row.form) {
        case VectorForm::VOP1:
        case VectorForm::VOPX:
        case VectorForm::VFPX:
        case VectorForm::VFPN:
        case VectorForm::VFP1: return {m + " $1, $0", "=x,x"};
        case VectorForm::VSHI:
        case VectorForm::VOP1I:
        case VectorForm::VFPNI:
        case VectorForm::VFP1I: return {m + " " + imm + "$1, $0", "=x,x"};
        case VectorForm::VOP2:
        case VectorForm::VOP2S:
        case VectorForm::VFP2:
        case VectorForm::VFPM: return {m + " $2, $1, $0", "=x,x,x"};
        case VectorForm::VOP2I:
        case VectorForm::VFP2I: return {m + " " + imm + "$2, $1, $0", "=x,x,x"};
        case VectorForm::VOP3: return {m + " $3, $2, $1, $0", "=x,x,x,x"};
        case VectorForm::VFP3: return {m + " $3, $2, $0", "=x,0,x,x"};
        case VectorForm::VTOI:
        case VectorForm::FTOI: return {m + " $1, $0", "=r,x"};
        case VectorForm::ITOF: return {m + (from_quad ? "q" : "l") + " $2, $1, $0", "=x,x,r"};
        default: return {m + " $2, $1", "={eax},x,x"};
    }
}

}  // namespace

llvm::Value* FunctionBuilder::vector_asm(const ir::Inst& inst) {
    const ir::VectorRow& r = ir::vector_row(inst.op);
    if (r.form == VectorForm::None) return llvm::PoisonValue::get(type(inst.type));
    const std::string imm = "$$" + std::to_string(inst.aux & 0xff) + ", ";
    const bool from_quad = r.form == VectorForm::ITOF && arg(inst, 1)->getType()->getIntegerBitWidth() == 64;
    auto [text, form_constraints] =
        vex_ && !r.vex_mnemonic.empty() ? vex_assembly(r, imm, from_quad) : legacy_assembly(r, imm, from_quad);
    const bool test = r.form == VectorForm::VTEST;
    const bool flags = test || r.form == VectorForm::FCMP;
    // ZF, PF, CF land in AH by LAHF in their EFLAGS positions (bits 6, 2, 0); AF's bit and bit 1 are masked off.
    if (flags) text += "\n\tlahf\n\tmovzbl %ah, %eax";
    llvm::Type* result = flags || r.form == VectorForm::VTOI ? b_.getInt32Ty() : type(inst.type);
    std::string constraints = form_constraints;
    constraints += ",~{dirflag},~{fpsr},~{flags}";
    std::vector<llvm::Type*> types;
    std::vector<llvm::Value*> args;
    for (unsigned n = 0; n < inst.nargs; ++n) {
        types.push_back(arg(inst, n)->getType());
        args.push_back(arg(inst, n));
    }
    auto* code = llvm::InlineAsm::get(llvm::FunctionType::get(result, types, false), text, constraints, r.floating_point());
    auto* call = b_.CreateCall(code, args);
    call->setDoesNotThrow();
    // Registers only; floating-point rows stay ordered among each other as side effects, but do not order memory.
    call->setDoesNotAccessMemory();
    llvm::Value* value = call;
    if (flags) value = b_.CreateAnd(value, test ? 0x41 : 0x45);
    if (ir::is_int(inst.type)) value = b_.CreateZExtOrTrunc(value, type(inst.type));
    return value;
}

}  // namespace tandem::jit::llvm_tier
