// Guest memory accesses: the soft-TLB check inline, the access itself, and the cold path that writes the state back and
// calls the runtime. The runtime is reached through thunks that preserve every register, so the cold path costs the hot one
// nothing.
#include <llvm/IR/IntrinsicsX86.h>

#include "jit/guest/frame.h"
#include "jit/ir/vector_row.h"
#include "jit/llvm/function_builder.h"
#include "jit/llvm/slow_thunks.h"
#include "jit/runtime/line_marks.h"
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

// The cell of the line at a host address (jit/runtime/line_marks.h).
llvm::Value* FunctionBuilder::line_cell(llvm::Value* pointer) {
    auto* address = b_.CreatePtrToInt(pointer, b_.getInt64Ty());
    auto* offset =
        b_.CreateAnd(b_.CreateXor(address, b_.CreateLShr(address, LineMarks::kCellBits)), c64(LineMarks::kOffsetMask));
    auto* cells = b_.CreateAlignedLoad(b_.getPtrTy(), header_address(offsetof(FrameHeader, line_marks)), llvm::Align(8));
    return b_.CreateInBoundsGEP(b_.getInt8Ty(), in_frame(cells), offset);
}

llvm::Value* FunctionBuilder::mark_bits(std::size_t header_offset) {
    return in_frame(b_.CreateAlignedLoad(b_.getInt32Ty(), header_address(header_offset), llvm::Align(4)));
}

// Goes on where the access may be made here, with the cell when the line has been claimed.
llvm::Value* FunctionBuilder::check_marks(const ir::Inst& inst, const HostAddress& host) {
    const bool exclusive = (inst.aux & MemFlags::kExclusive) != 0;
    if (!exclusive && (inst.aux & MemFlags::kClearsMarks) == 0) return nullptr;
    const llvm::Align align(sizeof(LineMarks::Cell));
    auto* cell = line_cell(host.pointer);
    auto* on = new_block("marked");
    if (exclusive && inst.op == Op::AtomicCas) {
        auto* claim = b_.CreateAtomicCmpXchg(cell, mark_bits(offsetof(FrameHeader, own_mark)), c32(LineMarks::kLocked),
                                             align, llvm::AtomicOrdering::SequentiallyConsistent,
                                             llvm::AtomicOrdering::SequentiallyConsistent);
        b_.CreateCondBr(b_.CreateExtractValue(claim, 1), on, host.miss, likely());
        b_.SetInsertPoint(on);
        return cell;
    }
    auto* seen = b_.CreateAlignedLoad(b_.getInt32Ty(), cell, align);
    seen->setAtomic(llvm::AtomicOrdering::Acquire);
    const std::size_t which = exclusive ? offsetof(FrameHeader, own_mark) : offsetof(FrameHeader, other_marks);
    auto* none = b_.CreateICmpEQ(b_.CreateAnd(seen, mark_bits(which)), c32(0));
    b_.CreateCondBr(none, exclusive ? host.miss : on, exclusive ? on : host.miss);
    b_.SetInsertPoint(on);
    return nullptr;
}

llvm::Value* FunctionBuilder::load_scratch(ir::Type t) {
    auto* loaded = b_.CreateAlignedLoad(type(t), header_address(offsetof(FrameHeader, scratch)), llvm::Align(8));
    return in_frame(loaded);
}

void FunctionBuilder::store_scratch(llvm::Value* value, unsigned word) {
    auto* to = header_address(offsetof(FrameHeader, scratch) + std::size_t{word} * sizeof(u64));
    in_frame(b_.CreateAlignedStore(value, to, llvm::Align(8)));
}

// VMASKMOVPS and VMASKMOVPD, which do on a mapped page as the guest's instruction would.
llvm::Value* FunctionBuilder::masked_on_host(const ir::Inst& inst, ir::Type t, llvm::Value* pointer) {
    namespace I = llvm::Intrinsic;
    static constexpr I::ID kLoads[2][2] = {{I::x86_avx_maskload_ps, I::x86_avx_maskload_ps_256},
                                           {I::x86_avx_maskload_pd, I::x86_avx_maskload_pd_256}};
    static constexpr I::ID kStores[2][2] = {{I::x86_avx_maskstore_ps, I::x86_avx_maskstore_ps_256},
                                            {I::x86_avx_maskstore_pd, I::x86_avx_maskstore_pd_256}};
    const unsigned bits = ir::masked_element(inst.op) * 8;
    const bool quads = bits == 64;
    const bool wide = t == ir::Type::V256;
    llvm::Value* mask =
        b_.CreateBitCast(arg(inst, 1), llvm::FixedVectorType::get(b_.getIntNTy(bits), ir::width_of(t) / bits));
    if (inst.type != ir::Type::Void) {
        auto* load = b_.CreateIntrinsic(kLoads[quads][wide], {}, {pointer, mask});
        return b_.CreateBitCast(in_guest(load), type(t));
    }
    llvm::Type* element = quads ? b_.getDoubleTy() : b_.getFloatTy();
    llvm::Value* value = b_.CreateBitCast(arg(inst, 2), llvm::FixedVectorType::get(element, ir::width_of(t) / bits));
    in_guest(b_.CreateIntrinsic(kStores[quads][wide], {}, {pointer, mask, value}));
    return nullptr;
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
    const bool masked = ir::is_masked_access(inst.op);
    const unsigned element = masked ? ir::masked_element(inst.op) : 0;
    const bool is_store = inst.op == Op::Store || (masked && inst.type == ir::Type::Void);
    const bool is_load = inst.op == Op::Load || (masked && !is_store);
    const ir::Type t = is_store ? block.type_of(inst.args[masked ? 2 : 1]) : inst.type;
    const unsigned size = ir::size_of(t);
    const bool write = !is_load || (inst.aux & MemFlags::kForWrite) != 0;
    auto* va = inst.imm == 0 ? arg(inst, 0) : b_.CreateAdd(arg(inst, 0), c64(inst.imm));
    const HostAddress host = probe_tlb(va, inst, size, write, !is_load && !is_store);
    auto* done = new_block("done");
    llvm::Value* const claimed = check_marks(inst, host);

    llvm::Value* fast = nullptr;
    if (masked) {
        fast = masked_on_host(inst, t, host.pointer);
    } else if (is_load) {
        fast = in_guest(b_.CreateAlignedLoad(type(t), host.pointer, llvm::Align(1)));
    } else if (is_store) {
        in_guest(b_.CreateAlignedStore(arg(inst, 1), host.pointer, llvm::Align(1)));
    } else {
        fast = atomic_on_host(inst, host.pointer);
    }
    if (claimed != nullptr) {  // LineMarks::release()
        auto* own = mark_bits(offsetof(FrameHeader, own_mark));
        b_.CreateAlignedStore(own, claimed, llvm::Align(sizeof(LineMarks::Cell)))->setAtomic(llvm::AtomicOrdering::Release);
    }
    b_.CreateBr(done);
    auto* hit_end = b_.GetInsertBlock();

    b_.SetInsertPoint(host.miss);
    flush(true);
    const auto widen = [&](llvm::Value* v) { return b_.CreateZExt(v, b_.getInt64Ty()); };
    if (masked) store_scratch(arg(inst, 1), kScratchMask);
    if (is_load) {
        leave_if(call_slow(slow_load_thunk(vex_), {frame_, va, c32(access_spec(inst.aux, size, element))}));
    } else if (is_store) {
        llvm::Value* v = arg(inst, masked ? 2 : 1);
        const bool vector = ir::is_vector(t);
        llvm::Value* low = vector ? b_.CreateExtractElement(v, u64{0}) : widen(v);
        llvm::Value* high = vector ? b_.CreateExtractElement(v, u64{1}) : c64(0);
        if (t == ir::Type::V256) store_scratch(v, kScratchValue);
        leave_if(call_slow(slow_store_thunk(vex_), {frame_, va, c32(access_spec(inst.aux, size, element)), low, high}));
    } else {
        const unsigned op = static_cast<unsigned>(inst.op) - static_cast<unsigned>(Op::AtomicXchg);
        llvm::Value* second = inst.op == Op::AtomicCas ? widen(arg(inst, 2)) : c64(0);
        leave_if(call_slow(slow_atomic_thunk(vex_),
                           {frame_, va, c32(access_spec(inst.aux, size, op)), widen(arg(inst, 1)), second}));
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
