// Guest memory accesses: the soft-TLB check inline, the access itself, and the cold path that writes the state back and
// calls the runtime. The runtime is reached through thunks that preserve every register, so the cold path costs the hot one
// nothing.
#include "jit/guest/frame.h"
#include "jit/llvm/function_builder.h"
#include "jit/llvm/slow_thunks.h"
#include "jit/runtime/slow_paths.h"

namespace tandem::jit::llvm_tier {

using ir::MemFlags;
using ir::Op;

// Leaves the builder in the hit block, with the host address of the access.
FunctionBuilder::HostAddress FunctionBuilder::probe_tlb(llvm::Value* va, const ir::Inst& inst, unsigned size, bool write,
                                                        bool atomic) {
    const u32 mmu = inst.aux & MemFlags::kMmuMask;
    const std::size_t view = offsetof(FrameHeader, tlb) + mmu * sizeof(TlbView);
    auto* mask = b_.CreateAlignedLoad(b_.getInt64Ty(), header_address(view + offsetof(TlbView, mask_bytes)), llvm::Align(8));
    auto* table = b_.CreateAlignedLoad(b_.getPtrTy(), header_address(view + offsetof(TlbView, entries)), llvm::Align(8));
    in_frame(mask);
    in_frame(table);
    auto* entry = b_.CreateInBoundsGEP(b_.getInt8Ty(), table, b_.CreateAnd(b_.CreateLShr(va, kPageBits - 5), mask));
    const std::size_t tag_offset = write ? offsetof(TlbEntry, write_tag) : offsetof(TlbEntry, read_tag);
    auto* tag_address = b_.CreateConstInBoundsGEP1_64(b_.getInt8Ty(), entry, tag_offset);
    auto* tag = b_.CreateAlignedLoad(b_.getInt64Ty(), tag_address, llvm::Align(8));
    in_frame(tag);
    auto* last_byte = b_.CreateAdd(va, c64(size - 1));
    // An alignment check keeps the low address bits in the comparison, where a tag has zeroes.
    llvm::Value* page = b_.CreateAnd(last_byte, c64(kPageMask));
    llvm::Value* same = b_.CreateICmpEQ(page, tag);
    if (size > 1 && (atomic || (inst.aux & MemFlags::kAligned) != 0)) {
        auto* low = b_.CreateAnd(va, c64(size - 1));
        same = b_.CreateICmpEQ(b_.CreateOr(page, low), tag);
    }
    HostAddress host;
    host.hit = new_block("hit");
    host.miss = new_block("miss");
    b_.CreateCondBr(same, host.hit, host.miss, likely());
    b_.SetInsertPoint(host.hit);
    auto* addend_address = b_.CreateConstInBoundsGEP1_64(b_.getInt8Ty(), entry, offsetof(TlbEntry, addend));
    auto* addend = b_.CreateAlignedLoad(b_.getInt64Ty(), addend_address, llvm::Align(8));
    in_frame(addend);
    host.pointer = b_.CreateIntToPtr(b_.CreateAdd(va, addend), b_.getPtrTy());
    return host;
}

llvm::Value* FunctionBuilder::load_scratch(ir::Type t) {
    auto* loaded = b_.CreateAlignedLoad(type(t), header_address(offsetof(FrameHeader, scratch)), llvm::Align(8));
    return in_frame(loaded);
}

llvm::CallInst* FunctionBuilder::call_slow(void* function, llvm::ArrayRef<llvm::Value*> args) {
    std::vector<llvm::Type*> types;
    for (auto* a : args) types.push_back(a->getType());
    auto* call = b_.CreateCall(llvm::FunctionType::get(b_.getInt32Ty(), types, false), function_pointer(function), args);
    call->setCallingConv(llvm::CallingConv::PreserveAll);
    call->setDoesNotThrow();
    return call;
}

llvm::Value* FunctionBuilder::atomic_on_host(const ir::Inst& inst, llvm::Value* pointer) {
    constexpr auto kOrder = llvm::AtomicOrdering::SequentiallyConsistent;
    const llvm::Align align(ir::size_of(inst.type));
    if (inst.op == Op::AtomicCas) {
        auto* cas = b_.CreateAtomicCmpXchg(pointer, arg(inst, 1), arg(inst, 2), align, kOrder, kOrder);
        return b_.CreateExtractValue(in_guest(cas), 0);
    }
    const auto op = inst.op == Op::AtomicXchg  ? llvm::AtomicRMWInst::Xchg
                    : inst.op == Op::AtomicAdd ? llvm::AtomicRMWInst::Add
                    : inst.op == Op::AtomicAnd ? llvm::AtomicRMWInst::And
                    : inst.op == Op::AtomicOr  ? llvm::AtomicRMWInst::Or
                                               : llvm::AtomicRMWInst::Xor;
    return in_guest(b_.CreateAtomicRMW(op, pointer, arg(inst, 1), align, kOrder));
}

void FunctionBuilder::memory(const ir::Block& block, const ir::Inst& inst, ir::Value id) {
    const bool is_load = inst.op == Op::Load;
    const bool is_store = inst.op == Op::Store;
    const ir::Type t = is_store ? block.type_of(inst.args[1]) : inst.type;
    const unsigned size = ir::size_of(t);
    const bool write = !is_load || (inst.aux & MemFlags::kForWrite) != 0;
    auto* va = inst.imm == 0 ? arg(inst, 0) : b_.CreateAdd(arg(inst, 0), c64(inst.imm));
    const HostAddress host = probe_tlb(va, inst, size, write, !is_load && !is_store);
    auto* done = new_block("done");

    llvm::Value* fast = nullptr;
    if (is_load) {
        fast = in_guest(b_.CreateAlignedLoad(type(t), host.pointer, llvm::Align(1)));
    } else if (is_store) {
        in_guest(b_.CreateAlignedStore(arg(inst, 1), host.pointer, llvm::Align(1)));
    } else {
        fast = atomic_on_host(inst, host.pointer);
    }
    b_.CreateBr(done);
    auto* hit_end = b_.GetInsertBlock();

    b_.SetInsertPoint(host.miss);
    flush(true);
    const auto widen = [&](llvm::Value* v) { return b_.CreateZExt(v, b_.getInt64Ty()); };
    if (is_load) {
        leave_if(call_slow(slow_load_thunk(), {frame_, va, c32(access_spec(inst.aux, size))}));
    } else if (is_store) {
        llvm::Value* v = arg(inst, 1);
        const bool vector = t == ir::Type::V128;
        llvm::Value* low = vector ? b_.CreateExtractElement(v, u64{0}) : widen(v);
        llvm::Value* high = vector ? b_.CreateExtractElement(v, u64{1}) : c64(0);
        leave_if(call_slow(slow_store_thunk(), {frame_, va, c32(access_spec(inst.aux, size)), low, high}));
    } else {
        const unsigned op = static_cast<unsigned>(inst.op) - static_cast<unsigned>(Op::AtomicXchg);
        llvm::Value* second = inst.op == Op::AtomicCas ? widen(arg(inst, 2)) : c64(0);
        leave_if(
            call_slow(slow_atomic_thunk(), {frame_, va, c32(access_spec(inst.aux, size, op)), widen(arg(inst, 1)), second}));
    }
    llvm::Value* slow = is_store ? nullptr : load_scratch(t);
    b_.CreateBr(done);
    auto* miss_end = b_.GetInsertBlock();

    b_.SetInsertPoint(done);
    if (is_store) return;
    auto* phi = b_.CreatePHI(type(t), 2);
    phi->addIncoming(fast, hit_end);
    phi->addIncoming(slow, miss_end);
    values_[id] = phi;
}

}  // namespace tandem::jit::llvm_tier
