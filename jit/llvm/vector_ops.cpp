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
    const auto lanes = [&](unsigned bits) { return llvm::FixedVectorType::get(b_.getIntNTy(bits), 128 / bits); };
    const auto as = [&](unsigned n, unsigned bits) { return b_.CreateBitCast(arg(inst, n), lanes(bits)); };
    llvm::Type* v128 = type(ir::Type::V128);
    const auto back = [&](llvm::Value* v) { return b_.CreateBitCast(v, v128); };
    switch (inst.op) {
        case Op::ConstV: {
            const ir::Vec128& c = block.vector_constants[inst.imm];
            return llvm::ConstantDataVector::get(context_, llvm::ArrayRef<u64>({c.lo, c.hi}));
        }
        case Op::VFromI: {
            llvm::Value* wide = b_.CreateZExt(arg(inst, 0), b_.getInt64Ty());
            return b_.CreateInsertElement(llvm::Constant::getNullValue(v128), wide, u64{0});
        }
        case Op::VExtract: return b_.CreateExtractElement(as(0, ir::width_of(inst.type)), u64{inst.aux});
        case Op::VInsert:
            return back(
                b_.CreateInsertElement(as(0, ir::width_of(block.type_of(inst.args[1]))), arg(inst, 1), u64{inst.aux}));
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
        default: return vector_asm(inst);
    }
}

llvm::Value* FunctionBuilder::vector_asm(const ir::Inst& inst) {
    const ir::VectorRow& r = ir::vector_row(inst.op);
    const std::string m(r.mnemonic);
    const std::string imm = "$$" + std::to_string(inst.aux & 0xff) + ", ";
    llvm::Type* v = type(ir::Type::V128);
    llvm::Type* result = v;
    std::string text;
    std::string constraints;
    switch (r.form) {
        case VectorForm::VOP1:
        case VectorForm::VOPX:
        case VectorForm::VFPX:
        case VectorForm::VFPN:
        case VectorForm::VFP1:
            text = m + " $1, $0";
            constraints = "=x,x";
            break;
        case VectorForm::VSHI:
            text = m + " " + imm + "$0";
            constraints = "=x,0";
            break;
        case VectorForm::VOP1I:
        case VectorForm::VFPNI:
        case VectorForm::VFP1I:
            text = m + " " + imm + "$1, $0";
            constraints = "=x,x";
            break;
        case VectorForm::VOP2:
        case VectorForm::VOP2S:
        case VectorForm::VFP2:
        case VectorForm::VFPM:
            text = m + " $2, $0";
            constraints = "=x,0,x";
            break;
        case VectorForm::VOP2I:
        case VectorForm::VFP2I:
            text = m + " " + imm + "$2, $0";
            constraints = "=x,0,x";
            break;
        case VectorForm::VFP3:
        case VectorForm::VOP3:
            text = m + " %xmm0, $2, $0";
            constraints = "=x,0,x,{xmm0}";
            break;
        case VectorForm::VTOI:
            result = b_.getInt32Ty();
            text = m + " $1, $0";
            constraints = "=r,x";
            break;
        case VectorForm::FTOI:
            result = type(inst.type);
            text = m + " $1, $0";
            constraints = "=r,x";
            break;
        case VectorForm::ITOF:
            text = m + (arg(inst, 1)->getType()->getIntegerBitWidth() == 64 ? "q" : "l") + " $2, $0";
            constraints = "=x,0,r";
            break;
        case VectorForm::VTEST:
        case VectorForm::FCMP:
            // ZF, PF, CF land in AH by LAHF in their EFLAGS positions (bits 6, 2, 0); AF's bit and bit 1 are masked off.
            result = b_.getInt32Ty();
            text = m + " $2, $1\n\tlahf\n\tmovzbl %ah, %eax";
            constraints = "={eax},x,x";
            break;
        case VectorForm::None: return llvm::PoisonValue::get(type(inst.type));
    }
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
    const bool test = r.form == VectorForm::VTEST;
    if (test || r.form == VectorForm::FCMP) value = b_.CreateAnd(value, test ? 0x41 : 0x45);
    if (result->isIntegerTy() && inst.type != ir::Type::V128) value = b_.CreateZExtOrTrunc(value, type(inst.type));
    return value;
}

}  // namespace tandem::jit::llvm_tier
