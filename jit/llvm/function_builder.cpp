#include "jit/llvm/function_builder.h"

#include <llvm/IR/Intrinsics.h>

#include "jit/guest/counting.h"
#include "jit/runtime/backend.h"

namespace tandem::jit::llvm_tier {

using ir::LeaveReason;
using ir::Op;

FunctionBuilder::FunctionBuilder(llvm::Module& module, const Region& region, const RegionCompilerOptions& options, bool vex)
    : module_(module),
      context_(module.getContext()),
      region_(region),
      options_(options),
      layout_(options.guest->layout()),
      vex_(vex),
      b_(context_) {
    llvm::MDBuilder md(context_);
    llvm::MDNode* domain = md.createAnonymousAliasScopeDomain("tandem");
    frame_scope_ = llvm::MDNode::get(context_, md.createAnonymousAliasScope(domain, "frame"));
    guest_scope_ = llvm::MDNode::get(context_, md.createAnonymousAliasScope(domain, "guest"));
}

llvm::Function* FunctionBuilder::build(llvm::StringRef name) {
    auto* signature = llvm::FunctionType::get(b_.getInt32Ty(), {b_.getPtrTy()}, false);
    function_ = llvm::Function::Create(signature, llvm::Function::ExternalLinkage, name, module_);
    function_->addFnAttr(llvm::Attribute::NoUnwind);
    frame_ = function_->getArg(0);
    frame_->setName("frame");
    auto* entry = new_block("entry");
    for (std::size_t i = 0; i < region_.blocks.size(); ++i) entries_.push_back(new_block("block"));
    b_.SetInsertPoint(entry);
    collect_slots();
    load_slots();
    if (options_.count_instructions) {
        count_ = b_.CreateAlloca(b_.getInt64Ty());
        auto* before =
            b_.CreateAlignedLoad(b_.getInt64Ty(), header_address(offsetof(FrameHeader, instructions)), llvm::Align(8));
        b_.CreateStore(in_frame(before), count_);
    }
    b_.CreateBr(entries_[0]);
    for (std::size_t i = 0; i < region_.blocks.size(); ++i) build_block(i);
    return function_;
}

void FunctionBuilder::collect_slots() {
    for (const auto& block : region_.blocks) {
        for (const auto& inst : block.insts) {
            if (inst.op != Op::GetState && inst.op != Op::SetState) continue;
            const ir::Type t = inst.op == Op::GetState ? inst.type : block.type_of(inst.args[0]);
            auto [it, fresh] = slots_.try_emplace(static_cast<u32>(inst.imm), Slot{t});
            if (it->second.type != t) {
                it->second.in_memory |= !ir::is_vector(t) || !ir::is_vector(it->second.type);
                if (size_of(t) > size_of(it->second.type)) it->second.type = t;
            }
            if (inst.op == Op::SetState) it->second.written = true;
        }
    }
    merge_halves();
    for (auto it = slots_.begin(); it != slots_.end(); ++it) {
        if (it->first == layout_.pc_offset) it->second.in_memory = true;
        const u32 end = it->first + size_of(it->second.type);
        for (auto next = std::next(it); next != slots_.end() && next->first < end; ++next) {
            if (next->second.high_half) continue;
            it->second.in_memory = next->second.in_memory = true;
        }
    }
    for (auto& [offset, slot] : slots_) {
        if (!slot.in_memory && !slot.high_half) slot.value = b_.CreateAlloca(type(slot.type));
    }
}

// A V128 slot that is the high half of a V256 one lives in it (jit/ir/ir.h).
void FunctionBuilder::merge_halves() {
    for (auto& [offset, slot] : slots_) {
        const auto high = slots_.find(offset + 16);
        if (slot.type != ir::Type::V256 || high == slots_.end() || high->second.type != ir::Type::V128) continue;
        high->second.high_half = true;
        slot.written |= high->second.written;
    }
}

llvm::Value* FunctionBuilder::read_slot(u32 offset, ir::Type t) {
    const Slot& slot = slots_.at(offset);
    const Slot& whole = slot.high_half ? slots_.at(offset - 16) : slot;
    if (whole.in_memory) {
        return in_frame(b_.CreateAlignedLoad(type(t), slot_address(offset), llvm::Align(1)));
    }
    llvm::Value* value = b_.CreateLoad(type(whole.type), whole.value);
    if (whole.type == t) return value;
    return slot.high_half ? high_half(value) : low_half(value);
}

void FunctionBuilder::write_slot(u32 offset, llvm::Value* value, ir::Type t) {
    const Slot& slot = slots_.at(offset);
    const Slot& whole = slot.high_half ? slots_.at(offset - 16) : slot;
    if (whole.in_memory) {
        in_frame(b_.CreateAlignedStore(value, slot_address(offset), llvm::Align(1)));
        return;
    }
    if (whole.type != t) {
        llvm::Value* old = b_.CreateLoad(type(whole.type), whole.value);
        value = slot.high_half ? combine(low_half(old), value) : combine(value, high_half(old));
    }
    b_.CreateStore(value, whole.value);
}

void FunctionBuilder::load_slots() {
    for (auto& [offset, slot] : slots_) {
        if (slot.in_memory || slot.high_half) continue;
        auto* loaded = b_.CreateAlignedLoad(type(slot.type), slot_address(offset), llvm::Align(1));
        in_frame(loaded);
        b_.CreateStore(loaded, slot.value);
    }
}

void FunctionBuilder::flush(bool with_pc) {
    for (auto& [offset, slot] : slots_) {
        if (slot.in_memory || slot.high_half || !slot.written) continue;
        auto* value = b_.CreateLoad(type(slot.type), slot.value);
        in_frame(b_.CreateAlignedStore(value, slot_address(offset), llvm::Align(1)));
    }
    if (count_ != nullptr) {
        auto* count = b_.CreateLoad(b_.getInt64Ty(), count_);
        in_frame(b_.CreateAlignedStore(count, header_address(offsetof(FrameHeader, instructions)), llvm::Align(8)));
    }
    if (with_pc && !pc_set_) store_pc(c64(insn_pc_));
}

// One instruction more is complete.
void FunctionBuilder::count_instruction() {
    if (count_ == nullptr) return;
    b_.CreateStore(b_.CreateAdd(b_.CreateLoad(b_.getInt64Ty(), count_), c64(1)), count_);
}

// Leaves before a block that would go beyond FrameHeader::instruction_limit.
void FunctionBuilder::check_limit(const ir::Block& block) {
    if (count_ == nullptr) return;
    auto* after = b_.CreateAdd(b_.CreateLoad(b_.getInt64Ty(), count_), c64(block.guest_insns));
    auto* inverse = b_.CreateAlignedLoad(b_.getInt64Ty(), header_address(kInverseLimitOffset), llvm::Align(8));
    auto* limit = b_.CreateNot(in_frame(inverse));
    auto* out = new_block("limit");
    auto* on = new_block("on");
    b_.CreateCondBr(b_.CreateICmpULE(after, limit), on, out, likely());
    b_.SetInsertPoint(out);
    flush(false);
    store_pc(c64(block.key.pc));
    in_frame(
        b_.CreateAlignedStore(c64(kLeaveSameMode), header_address(offsetof(FrameHeader, leave_detail)), llvm::Align(8)));
    leave(LeaveReason::Lookup);
    b_.SetInsertPoint(on);
}

llvm::Value* FunctionBuilder::slot_address(u32 offset) {
    return b_.CreateConstInBoundsGEP1_64(b_.getInt8Ty(), frame_, offset);
}

llvm::Value* FunctionBuilder::header_address(std::size_t header_offset) {
    const auto distance = static_cast<tandem::i64>(header_offset) - static_cast<tandem::i64>(sizeof(FrameHeader));
    return b_.CreateConstInBoundsGEP1_64(b_.getInt8Ty(), frame_, static_cast<u64>(distance));
}

void FunctionBuilder::store_pc(llvm::Value* pc) {
    in_frame(b_.CreateAlignedStore(pc, slot_address(layout_.pc_offset), llvm::Align(1)));
}

void FunctionBuilder::leave(llvm::Value* reason) { b_.CreateRet(reason); }
void FunctionBuilder::leave(LeaveReason reason) { leave(c32(static_cast<u32>(reason))); }

void FunctionBuilder::build_block(std::size_t index) {
    const ir::Block& block = region_.blocks[index];
    b_.SetInsertPoint(entries_[index]);
    values_.assign(block.insts.size(), nullptr);
    insn_pc_ = block.key.pc;
    pc_set_ = false;
    first_insn_ = true;
    check_limit(block);
    for (ir::Value id = 0; id < block.insts.size(); ++id) {
        const ir::Inst& inst = block.insts[id];
        if ((ir::info(inst.op).flags & ir::kEnd) != 0) return terminator(block, inst, index);
        instruction(block, id);
    }
}

void FunctionBuilder::instruction(const ir::Block& block, ir::Value id) {
    const ir::Inst& inst = block.insts[id];
    switch (inst.op) {
        case Op::InsnStart:
            if (!first_insn_) count_instruction();
            first_insn_ = false;
            insn_pc_ = inst.imm;
            pc_set_ = false;
            return;
        case Op::GetState: {
            const bool implied = inst.imm == layout_.pc_offset && !pc_set_;
            values_[id] = implied ? c64(insn_pc_) : read_slot(static_cast<u32>(inst.imm), inst.type);
            return;
        }
        case Op::SetState:
            pc_set_ |= inst.imm == layout_.pc_offset;
            write_slot(static_cast<u32>(inst.imm), arg(inst, 0), block.type_of(inst.args[0]));
            return;
        case Op::Fence: b_.CreateFence(llvm::AtomicOrdering::SequentiallyConsistent); return;
        case Op::Call: return call_helper(inst, id);
        case Op::CallIf: return call_if(inst);
        default: break;
    }
    if ((ir::info(inst.op).flags & ir::kFault) != 0) return memory(block, inst, id);
    llvm::Value* value = integer(block, inst);
    values_[id] = value != nullptr ? value : vector(block, inst);
}

void FunctionBuilder::terminator(const ir::Block& block, const ir::Inst& inst, std::size_t index) {
    if (inst.op != Op::Leave) count_instruction();  // what leaves is counted by whoever it leaves to
    switch (inst.op) {
        case Op::Jump: return go_to(index, inst.imm);
        case Op::Branch: {
            auto* taken = new_block("taken");
            auto* other = new_block("other");
            b_.CreateCondBr(truth(arg(inst, 0)), taken, other);
            b_.SetInsertPoint(taken);
            go_to(index, inst.imm);
            b_.SetInsertPoint(other);
            return go_to(index, block.fallthrough);
        }
        case Op::JumpInd:
            flush(false);
            store_pc(arg(inst, 0));
            return leave(LeaveReason::None);
        default:  // Leave: the pc slot is set already, or holds the instruction's pc
            flush(true);
            return leave(static_cast<LeaveReason>(inst.imm));
    }
}

// A direct edge: inside the region when the target is one of its blocks, else out through the pc slot. Backward edges look
// for attention, so that no loop keeps the vCPU from its owner.
void FunctionBuilder::go_to(std::size_t from, u64 pc) {
    std::size_t to = 0;
    while (to < region_.blocks.size() && region_.blocks[to].key.pc != pc) ++to;
    if (to == region_.blocks.size()) {
        flush(false);
        store_pc(c64(pc));
        return leave(LeaveReason::None);
    }
    if (pc > region_.blocks[from].key.pc) {
        b_.CreateBr(entries_[to]);
        return;
    }
    auto* attention =
        b_.CreateAlignedLoad(b_.getInt32Ty(), header_address(offsetof(FrameHeader, attention)), llvm::Align(4));
    attention->setAtomic(llvm::AtomicOrdering::Monotonic);
    auto* out = new_block("attention");
    b_.CreateCondBr(b_.CreateICmpEQ(in_frame(attention), c32(0)), entries_[to], out, likely());
    b_.SetInsertPoint(out);
    flush(false);
    store_pc(c64(pc));
    leave(LeaveReason::Attention);
}

void FunctionBuilder::leave_if(llvm::Value* status) {
    auto* out = new_block("out");
    auto* on = new_block("on");
    b_.CreateCondBr(b_.CreateICmpEQ(status, c32(0)), on, out, likely());
    b_.SetInsertPoint(out);
    leave(status);
    b_.SetInsertPoint(on);
}

llvm::CallInst* FunctionBuilder::emit_call(const ir::Inst& inst, unsigned first, ir::Type result) {
    const Helper& helper = options_.guest->helpers()[inst.imm];
    std::vector<llvm::Type*> types{b_.getPtrTy()};
    std::vector<llvm::Value*> args{frame_};
    for (unsigned n = first; n < inst.nargs; ++n) {
        llvm::Value* a = arg(inst, n);
        if (a->getType()->getIntegerBitWidth() < 32) a = b_.CreateZExt(a, b_.getInt32Ty());
        types.push_back(a->getType());
        args.push_back(a);
    }
    auto* call = b_.CreateCall(llvm::FunctionType::get(type(result), types, false), function_pointer(helper.function), args);
    call->setDoesNotThrow();
    return call;
}

void FunctionBuilder::call_helper(const ir::Inst& inst, ir::Value id) {
    const Helper& helper = options_.guest->helpers()[inst.imm];
    if ((helper.flags & (kReadsState | kMayLeave)) != 0) flush(true);
    auto* call = emit_call(inst, 0, inst.type);
    if ((helper.flags & kPure) != 0) call->setDoesNotAccessMemory();
    if ((helper.flags & kMayLeave) != 0) leave_if(call);
    if ((helper.flags & kWritesState) != 0) {
        load_slots();
        pc_set_ = true;
    }
    if (inst.type != ir::Type::Void) values_[id] = call;
}

// The cold side never comes back, so that it costs the hot one no registers.
void FunctionBuilder::call_if(const ir::Inst& inst) {
    auto* rare = new_block("rare");
    auto* on = new_block("on");
    b_.CreateCondBr(truth(arg(inst, 0)), rare, on, unlikely());
    b_.SetInsertPoint(rare);
    flush(true);
    auto* call = emit_call(inst, 1, ir::Type::I32);
    auto* nothing = b_.CreateICmpEQ(call, c32(0));
    leave(b_.CreateSelect(nothing, c32(static_cast<u32>(LeaveReason::Interpret)), call));
    b_.SetInsertPoint(on);
}

llvm::Type* FunctionBuilder::type(ir::Type t) {
    switch (t) {
        case ir::Type::Void: return b_.getVoidTy();
        case ir::Type::V128: return llvm::FixedVectorType::get(b_.getInt64Ty(), 2);
        case ir::Type::V256: return llvm::FixedVectorType::get(b_.getInt64Ty(), 4);
        default: return b_.getIntNTy(ir::width_of(t));
    }
}

llvm::Value* FunctionBuilder::truth(llvm::Value* byte) {
    return b_.CreateICmpNE(byte, llvm::ConstantInt::get(byte->getType(), 0));
}

llvm::Value* FunctionBuilder::function_pointer(const void* f) {
    return b_.CreateIntToPtr(c64(reinterpret_cast<u64>(f)), b_.getPtrTy());
}

llvm::BasicBlock* FunctionBuilder::new_block(const char* name) {
    return llvm::BasicBlock::Create(context_, name, function_);
}

llvm::Instruction* FunctionBuilder::in_frame(llvm::Instruction* access) {
    access->setMetadata(llvm::LLVMContext::MD_alias_scope, frame_scope_);
    access->setMetadata(llvm::LLVMContext::MD_noalias, guest_scope_);
    return access;
}

llvm::Instruction* FunctionBuilder::in_guest(llvm::Instruction* access) {
    access->setMetadata(llvm::LLVMContext::MD_alias_scope, guest_scope_);
    access->setMetadata(llvm::LLVMContext::MD_noalias, frame_scope_);
    return access;
}

}  // namespace tandem::jit::llvm_tier
