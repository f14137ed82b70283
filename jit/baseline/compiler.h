// Makes the host code of one block: one pass over its IR.
//
// Registers: rbp = guest state, rsp = the frame's spill area, everything else belongs to the block. I8, I16 and I32 values
// may carry garbage above their width unless known clean (Registers::is_clean); arithmetic on I8 and I16 is done in 32 bits.
#pragma once

#include <vector>

#include "jit/baseline/code_memory.h"
#include "jit/baseline/host.h"
#include "jit/baseline/host_code.h"
#include "jit/baseline/registers.h"
#include "jit/baseline/thunks.h"
#include "jit/runtime/backend.h"

namespace tandem::jit::baseline {

// A link slot of the compiled block, by offset into its code.
struct ExitSite {
    u64 target_pc = 0;
    u32 rel32 = 0;
    u32 stub = 0;
    u32 detail = 0;  // the imm64 in the stub that is to hold the slot's address
};

// A direct jump that leaves the guest's page.
struct FarExit {
    u64 target_pc = 0;
    u32 rel32 = 0;
};

class Compiler {
public:
    Compiler(const BackendContext& context, const HostFeatures& host, const CodeMemory& memory, HostCode& code,
             const Thunks& thunks);

    // Leaves the block's code in the HostCode and its exits in exits(). Unsupported: too large, or an operation that the
    // host lacks.
    Result<void> compile(TranslatedBlock& block);
    [[nodiscard]] const std::vector<ExitSite>& exits() const { return exits_; }

private:
    using Value = u16;
    using Type = ir::Type;

    // [base + displacement], guest-virtual.
    struct Address {
        Reg base = 0;
        i32 displacement = 0;
    };
    // The bytes [low, high] from a root value on, in guest-virtual memory.
    struct Span {
        Value root = kNone;
        i64 low = 0, high = 0;
    };
    // The last check that may serve again: registers that hold the page it found (all ones after a slow path) and what to
    // add to guest addresses on it, and the bytes known to be on that page when they do.
    struct PageMemo {
        Reg page = kNoReg, host = kNoReg;
        Span span;
        u32 mmu = 0;
        bool writable = false;
    };
    // A memory access whose fast path has been emitted; its slow path follows the block.
    struct SlowAccess {
        SlowPath path = SlowPath::Load;
        VectorsKept vectors = VectorsKept::None;
        bool store_pc = false;
        Type type = Type::Void;
        u8 atomic = 0;    // the operation, less Op::AtomicXchg
        Reg scratch = 0;  // free at the jump to the slow path
        Reg result = kNoReg;
        Reg forget = kNoReg;  // PageMemo::page, when the slow path makes the memo wrong
        Reg operand[2] = {kNoReg, kNoReg};
        Reg mask = kNoReg;      // of a masked access
        u8 element = 0;         // its bytes per element
        bool constant = false;  // Store of `imm`
        Address address;
        u32 mem_flags = 0;
        u32 jump = 0;             // rel32 fields to bind
        u32 jump_misaligned = 0;  // 0: no alignment check
        u32 jump_marks = 0;       // 0: marks of the line do not matter
        u32 resume = 0;
        u32 dirty_begin = 0, dirty_end = 0;
        u64 imm = 0;
        u64 pc = 0;
    };
    struct VectorConstantUse {
        u32 rel32;
        u32 index;
        u32 count;
    };
    // A CallIf whose condition may hold: its call follows the block.
    struct RareCall {
        u32 jump = 0;
        u32 helper = 0;
        bool store_pc = false;
        u64 pc = 0;
        u32 arguments_begin = 0, arguments_end = 0;  // in rare_arguments_
        u32 dirty_begin = 0, dirty_end = 0;
    };
    // Leaves at a block boundary because attention was asked for; pc is the target.
    struct AttentionStub {
        u32 jump;
        u64 pc;
    };

    // compiler.cpp
    void emit_block(TranslatedBlock& block);
    void emit_entry(TranslatedBlock& block);
    void emit_inst(Value v, const ir::Inst& inst);
    void emit_tail();
    void insn_start(const ir::Inst& inst);
    void get_state(Value v, const ir::Inst& inst);
    void set_state(const ir::Inst& inst);
    void count_instruction();
    void store_pc(u64 pc);
    void flush_state();
    [[nodiscard]] const ir::Inst& inst_of(Value v) const { return block_->insts[v]; }
    [[nodiscard]] Type type_of(Value v) const { return block_->insts[v].type; }

    // integer.cpp
    void add(Value v, const ir::Inst& inst);
    void sub(Value v, const ir::Inst& inst);
    void logic(Value v, const ir::Inst& inst);
    bool and_mask(Value v, const ir::Inst& inst);
    void mul(Value v, const ir::Inst& inst);
    void mul_high(Value v, const ir::Inst& inst, Value low);
    void unary(Value v, const ir::Inst& inst);
    void shift(Value v, const ir::Inst& inst);
    void carry(Value v, const ir::Inst& inst);
    void extend(Value v, const ir::Inst& inst);
    void deposit(Value v, const ir::Inst& inst);
    void icmp(Value v, const ir::Inst& inst);
    void select(Value v, const ir::Inst& inst);
    void bswap(Value v, const ir::Inst& inst);
    Cc compare(const ir::Inst& condition);
    Cc condition(Value v);
    Value find_partner(Value v, ir::Op op, unsigned arguments);
    asmjit::Operand operand(Value v, Type t);
    void set_result_flags(Value v);
    // bits.cpp
    void count_zeros(Value v, const ir::Inst& inst);
    void popcnt(Value v, const ir::Inst& inst);

    // memory.cpp
    Address address(const ir::Inst& inst);
    SlowAccess translate(const ir::Inst& inst, Type type, bool write, Reg host);
    void check_page(SlowAccess& access, bool for_write, Reg host);
    bool check_again(SlowAccess& access, const Span& span, bool for_write);
    [[nodiscard]] bool span_of(const ir::Inst& inst, Span& out) const;
    [[nodiscard]] bool used_again(const Span& span, u32 mmu, bool writable) const;
    void slow_when(SlowAccess& access, Cc condition);
    void finish_access(SlowAccess& access);
    struct MarkRegisters {
        Reg cell = kNoReg, other = kNoReg;
    };
    MarkRegisters mark_registers(const ir::Inst& inst);
    void find_cell(const SlowAccess& access, const MarkRegisters& regs);
    void claim_line(SlowAccess& access, const MarkRegisters& regs, Reg expected);
    void require_mark(SlowAccess& access, const MarkRegisters& regs);
    void refuse_marks(SlowAccess& access, const MarkRegisters& regs);
    void load(Value v, const ir::Inst& inst);
    void store(const ir::Inst& inst);
    void atomic(Value v, const ir::Inst& inst);
    void atomic_loop(Value v, const ir::Inst& inst);
    void atomic_cas(Value v, const ir::Inst& inst);
    void mask_load(Value v, const ir::Inst& inst);
    void mask_store(const ir::Inst& inst);
    void emit_slow_access(const SlowAccess& access);
    void emit_dirty_stores(u32 begin, u32 end, Reg scratch);

    // vector.cpp
    void vector(Value v, const ir::Inst& inst);
    void vector_row(Value v, const ir::Inst& inst, const VectorInstruction& row);
    void legacy_row(Value v, const ir::Inst& inst, const VectorInstruction& row);
    void vex_row(Value v, const ir::Inst& inst, const VectorInstruction& row);
    void vector_constant(Value v, const ir::Inst& inst);
    void vector_to_flags(Value v, const ir::Inst& inst, u32 instruction);
    void vector_from_int(Value v, const ir::Inst& inst);
    void vector_extract(Value v, const ir::Inst& inst);
    void vector_insert(Value v, const ir::Inst& inst);
    void vector_halves(Value v, const ir::Inst& inst);
    asmjit::Operand vector_operand(Value v);

    // exits.cpp
    void call(Value v, const ir::Inst& inst);
    void call_if(const ir::Inst& inst);
    void emit_rare_call(const RareCall& rare);
    void move_arguments(const ir::Inst& inst);
    void jump(const ir::Inst& inst);
    void branch(const ir::Inst& inst);
    void jump_indirect(const ir::Inst& inst);
    void leave(const ir::Inst& inst);
    void check_attention(u64 target_pc);
    void link_jump(u64 target_pc);
    void link_jump(Cc condition, u64 target_pc);
    void emit_exit_stub(ExitSite& exit);
    void emit_far_exit(const FarExit& exit);
    [[nodiscard]] bool linkable(u64 target_pc) const;
    u32 jump_unless_equal(const asmjit::x86::Mem& m, u64 value);
    [[nodiscard]] bool backward(u64 target_pc) const { return target_pc <= block_->key.pc; }

    const BackendContext& context_;
    const HostFeatures& host_;
    const CodeMemory& memory_;
    HostCode& code_;
    const Thunks& thunks_;
    std::span<const Helper> helpers_;
    u32 pc_offset_;
    bool hot_counters_;

    Analysis analysis_;
    Registers regs_;
    const ir::Block* block_ = nullptr;
    std::vector<ExitSite> exits_;
    std::vector<FarExit> far_exits_;
    std::vector<SlowAccess> slow_;
    std::vector<DirtySlot> dirty_;
    std::vector<RareCall> rare_calls_;
    std::vector<DirtySlot> rare_arguments_;
    std::vector<VectorConstantUse> vector_constants_;
    std::vector<AttentionStub> attention_;
    const char* unsupported_ = nullptr;
    // The pc slot stands for pc_ since the last InsnStart, and memory does not hold it yet.
    u64 pc_ = 0;
    bool pc_pending_ = false;
    bool pc_known_ = false;  // the slot's content is pc_ (pending or stored)
    bool first_insn_ = true;
    // The host's ZF and SF describe this root value (in its own type) until an instruction changes them.
    Value flags_of_ = kNone;
    PageMemo memo_;
    Value now_ = 0;  // the instruction being emitted
    u64 hot_block_ = 0;
    u32 hot_jump_ = 0;
    u32 limit_jump_ = 0;
};

// Offset of a FrameHeader field from the frame pointer.
constexpr i32 header_field(size_t offset) { return static_cast<i32>(offset) - static_cast<i32>(sizeof(FrameHeader)); }
#define TANDEM_HEADER(field) ::tandem::jit::baseline::header_field(offsetof(::tandem::jit::FrameHeader, field))

}  // namespace tandem::jit::baseline
