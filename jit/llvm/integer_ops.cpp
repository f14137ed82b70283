// Integer operations of the IR as LLVM IR.
#include <llvm/IR/Intrinsics.h>

#include "jit/llvm/function_builder.h"

namespace tandem::jit::llvm_tier {

using ir::Op;

llvm::Value* FunctionBuilder::compare(const ir::Inst& inst) {
    static constexpr llvm::CmpInst::Predicate kPredicates[] = {
        llvm::CmpInst::ICMP_EQ,  llvm::CmpInst::ICMP_NE,  llvm::CmpInst::ICMP_ULT, llvm::CmpInst::ICMP_ULE,
        llvm::CmpInst::ICMP_UGT, llvm::CmpInst::ICMP_UGE, llvm::CmpInst::ICMP_SLT, llvm::CmpInst::ICMP_SLE,
        llvm::CmpInst::ICMP_SGT, llvm::CmpInst::ICMP_SGE};
    return b_.CreateZExt(b_.CreateICmp(kPredicates[inst.aux], arg(inst, 0), arg(inst, 1)), b_.getInt8Ty());
}

llvm::Value* FunctionBuilder::carry(const ir::Inst& inst) {
    llvm::Value* a = arg(inst, 0);
    llvm::Value* c = arg(inst, 1);
    llvm::Value* in = b_.CreateZExtOrTrunc(b_.CreateAnd(arg(inst, 2), 1), a->getType());
    const bool add = inst.op == Op::AddC || inst.op == Op::CarryOut;
    if (inst.op == Op::AddC) return b_.CreateAdd(b_.CreateAdd(a, c), in);
    if (inst.op == Op::SubB) return b_.CreateSub(b_.CreateSub(a, c), in);
    const auto id = add ? llvm::Intrinsic::uadd_with_overflow : llvm::Intrinsic::usub_with_overflow;
    auto* first = b_.CreateBinaryIntrinsic(id, a, c);
    auto* second = b_.CreateBinaryIntrinsic(id, b_.CreateExtractValue(first, 0), in);
    auto* either = b_.CreateOr(b_.CreateExtractValue(first, 1), b_.CreateExtractValue(second, 1));
    return b_.CreateZExt(either, b_.getInt8Ty());
}

llvm::Value* FunctionBuilder::integer(const ir::Block& block, const ir::Inst& inst) {
    llvm::Type* t = type(inst.type);
    const unsigned width = ir::width_of(inst.type);
    // Counts are taken modulo the width.
    const auto count = [&] {
        return b_.CreateAnd(b_.CreateZExtOrTrunc(arg(inst, 1), t), llvm::ConstantInt::get(t, width - 1));
    };
    const auto high_half = [&](bool is_signed) {
        llvm::Type* wide = b_.getIntNTy(2 * width);
        llvm::Value* x = is_signed ? b_.CreateSExt(arg(inst, 0), wide) : b_.CreateZExt(arg(inst, 0), wide);
        llvm::Value* y = is_signed ? b_.CreateSExt(arg(inst, 1), wide) : b_.CreateZExt(arg(inst, 1), wide);
        return b_.CreateTrunc(b_.CreateLShr(b_.CreateMul(x, y), width), t);
    };
    switch (inst.op) {
        case Op::Const: return llvm::ConstantInt::get(t, inst.imm & (width == 64 ? ~u64{0} : (u64{1} << width) - 1));
        case Op::Add: return b_.CreateAdd(arg(inst, 0), arg(inst, 1));
        case Op::Sub: return b_.CreateSub(arg(inst, 0), arg(inst, 1));
        case Op::Mul: return b_.CreateMul(arg(inst, 0), arg(inst, 1));
        case Op::MulHiU: return high_half(false);
        case Op::MulHiS: return high_half(true);
        case Op::And: return b_.CreateAnd(arg(inst, 0), arg(inst, 1));
        case Op::Or: return b_.CreateOr(arg(inst, 0), arg(inst, 1));
        case Op::Xor: return b_.CreateXor(arg(inst, 0), arg(inst, 1));
        case Op::Neg: return b_.CreateNeg(arg(inst, 0));
        case Op::Not: return b_.CreateNot(arg(inst, 0));
        case Op::Shl: return b_.CreateShl(arg(inst, 0), count());
        case Op::Shr: return b_.CreateLShr(arg(inst, 0), count());
        case Op::Sar: return b_.CreateAShr(arg(inst, 0), count());
        case Op::Rol: return b_.CreateIntrinsic(llvm::Intrinsic::fshl, {t}, {arg(inst, 0), arg(inst, 0), count()});
        case Op::Ror: return b_.CreateIntrinsic(llvm::Intrinsic::fshr, {t}, {arg(inst, 0), arg(inst, 0), count()});
        case Op::AddC:
        case Op::CarryOut:
        case Op::SubB:
        case Op::BorrowOut: return carry(inst);
        case Op::Clz: return b_.CreateIntrinsic(llvm::Intrinsic::ctlz, {t}, {arg(inst, 0), b_.getFalse()});
        case Op::Ctz: return b_.CreateIntrinsic(llvm::Intrinsic::cttz, {t}, {arg(inst, 0), b_.getFalse()});
        case Op::Popcnt: return b_.CreateUnaryIntrinsic(llvm::Intrinsic::ctpop, arg(inst, 0));
        case Op::Bswap: return b_.CreateUnaryIntrinsic(llvm::Intrinsic::bswap, arg(inst, 0));
        case Op::ZExt: return b_.CreateZExt(arg(inst, 0), t);
        case Op::SExt: return b_.CreateSExt(arg(inst, 0), t);
        case Op::Trunc: return b_.CreateTrunc(arg(inst, 0), t);
        case Op::Deposit: {
            const unsigned field = ir::width_of(block.type_of(inst.args[1]));
            const u64 hole = ((field == 64 ? 0 : u64{1} << field) - 1) << inst.imm;
            llvm::Value* kept = b_.CreateAnd(arg(inst, 0), llvm::ConstantInt::get(t, ~hole));
            return b_.CreateOr(kept, b_.CreateShl(b_.CreateZExt(arg(inst, 1), t), inst.imm));
        }
        case Op::ICmp: return compare(inst);
        case Op::Select: return b_.CreateSelect(truth(arg(inst, 0)), arg(inst, 1), arg(inst, 2));
        default: return nullptr;
    }
}

}  // namespace tandem::jit::llvm_tier
