// Builds one LLVM function from a Region. Guest slots become SSA values for the length of the region: they are loaded at the
// entry, written back at every way out, and on the cold side of memory accesses before the slow path may look at them.
#pragma once

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/MDBuilder.h>
#include <llvm/IR/Module.h>

#include <map>
#include <vector>

#include "jit/runtime/region_compiler.h"

namespace tandem::jit::llvm_tier {

class FunctionBuilder {
public:
    // vex: vector code is VEX-encoded; V256 needs it.
    FunctionBuilder(llvm::Module& module, const Region& region, const RegionCompilerOptions& options, bool vex);
    // The finished function: i32 NAME(ptr frame).
    llvm::Function* build(llvm::StringRef name);

private:
    struct Slot {
        ir::Type type = ir::Type::I64;
        bool written = false;
        bool in_memory = false;  // overlaps another slot of another type in this region: not promoted
        bool high_half = false;  // of the V256 slot 16 bytes below, which holds its content
        llvm::AllocaInst* value = nullptr;
    };
    struct HostAddress {
        llvm::Value* pointer = nullptr;
        llvm::BasicBlock* hit = nullptr;
        llvm::BasicBlock* miss = nullptr;
    };

    // State (function_builder.cpp)
    void collect_slots();
    void merge_halves();
    llvm::Value* read_slot(u32 offset, ir::Type type);
    void write_slot(u32 offset, llvm::Value* value, ir::Type type);
    void load_slots();
    void flush(bool with_pc);
    void count_instruction();
    void check_limit(const ir::Block& block);
    llvm::Value* slot_address(u32 offset);
    llvm::Value* header_address(std::size_t header_offset);
    void store_pc(llvm::Value* pc);
    void leave(llvm::Value* reason);
    void leave(ir::LeaveReason reason);

    // Blocks and control flow
    void build_block(std::size_t index);
    void instruction(const ir::Block& block, ir::Value id);
    void terminator(const ir::Block& block, const ir::Inst& inst, std::size_t index);
    void go_to(std::size_t from, u64 pc);
    void leave_if(llvm::Value* status);
    void call_helper(const ir::Inst& inst, ir::Value id);
    void call_if(const ir::Inst& inst);
    // Helper inst.imm with the arguments from `first` on.
    llvm::CallInst* emit_call(const ir::Inst& inst, unsigned first, ir::Type result);

    // Integer operations (integer_ops.cpp). Null: not an integer operation.
    llvm::Value* integer(const ir::Block& block, const ir::Inst& inst);
    llvm::Value* carry(const ir::Inst& inst);
    llvm::Value* compare(const ir::Inst& inst);

    // Vectors (vector_ops.cpp)
    llvm::Value* vector(const ir::Block& block, const ir::Inst& inst);
    llvm::Value* vector_asm(const ir::Inst& inst);
    llvm::Value* vector_lanes(const ir::Block& block, const ir::Inst& inst);
    llvm::Value* low_half(llvm::Value* v) { return b_.CreateShuffleVector(v, {0, 1}); }
    llvm::Value* high_half(llvm::Value* v) { return b_.CreateShuffleVector(v, {2, 3}); }
    llvm::Value* combine(llvm::Value* lo, llvm::Value* hi) { return b_.CreateShuffleVector(lo, hi, {0, 1, 2, 3}); }

    // Guest memory (memory_ops.cpp)
    void memory(const ir::Block& block, const ir::Inst& inst, ir::Value id);
    HostAddress probe_tlb(llvm::Value* va, const ir::Inst& inst, unsigned size, bool write, bool atomic);
    llvm::Value* line_cell(llvm::Value* pointer);
    llvm::Value* mark_bits(std::size_t header_offset);
    llvm::Value* check_marks(const ir::Inst& inst, const HostAddress& host);
    llvm::Value* load_scratch(ir::Type type);
    void store_scratch(llvm::Value* value, unsigned word);
    llvm::Value* masked_on_host(const ir::Inst& inst, ir::Type type, llvm::Value* pointer);
    llvm::Value* atomic_on_host(const ir::Inst& inst, llvm::Value* pointer);
    llvm::CallInst* call_slow(void* function, llvm::ArrayRef<llvm::Value*> args);

    llvm::Type* type(ir::Type t);
    llvm::Value* arg(const ir::Inst& inst, unsigned n) { return values_[inst.args[n]]; }
    llvm::Value* truth(llvm::Value* byte);
    llvm::ConstantInt* c32(u64 v) { return b_.getInt32(static_cast<u32>(v)); }
    llvm::ConstantInt* c64(u64 v) { return b_.getInt64(v); }
    llvm::Value* function_pointer(const void* f);
    llvm::BasicBlock* new_block(const char* name);
    llvm::MDNode* likely() { return llvm::MDBuilder(context_).createBranchWeights(2000, 1); }
    llvm::MDNode* unlikely() { return llvm::MDBuilder(context_).createBranchWeights(1, 2000); }
    llvm::Instruction* in_frame(llvm::Instruction* access);
    llvm::Instruction* in_guest(llvm::Instruction* access);

    llvm::Module& module_;
    llvm::LLVMContext& context_;
    const Region& region_;
    const RegionCompilerOptions& options_;
    const StateLayout& layout_;
    const bool vex_;
    llvm::IRBuilder<> b_;
    llvm::Function* function_ = nullptr;
    llvm::Value* frame_ = nullptr;
    std::map<u32, Slot> slots_;
    std::vector<llvm::BasicBlock*> entries_;
    std::vector<llvm::Value*> values_;  // of the block under construction
    u64 insn_pc_ = 0;
    llvm::AllocaInst* count_ = nullptr;    // instructions retired; null: they are not counted
    bool first_insn_ = true;               // of the block under construction
    bool pc_set_ = false;                  // the pc slot holds something else, in memory
    llvm::MDNode* frame_scope_ = nullptr;  // alias scopes: the frame and its TLBs never overlap guest memory
    llvm::MDNode* guest_scope_ = nullptr;
};

}  // namespace tandem::jit::llvm_tier
