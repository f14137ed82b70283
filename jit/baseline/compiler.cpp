#include "jit/baseline/compiler.h"

#include <fmt/format.h>

#include "jit/guest/counting.h"
#include "jit/runtime/hot_counters.h"

namespace tandem::jit::baseline {

using ir::Inst;
using ir::Op;
using namespace asmjit;

namespace {

// Operations that are emitted as moves only and so leave the host's flags as they are.
bool keeps_flags(Op op) {
    switch (op) {
        case Op::Const:
        case Op::GetState:
        case Op::SetState:
        case Op::InsnStart:
        case Op::ZExt:
        case Op::SExt:
        case Op::Trunc: return true;
        default: return false;
    }
}

}  // namespace

Compiler::Compiler(const BackendContext& context, const HostFeatures& host, const CodeMemory& memory, HostCode& code,
                   const Thunks& thunks)
    : context_(context),
      host_(host),
      memory_(memory),
      code_(code),
      thunks_(thunks),
      helpers_(context.guest->helpers()),
      pc_offset_(context.guest->layout().pc_offset),
      hot_counters_(context.options.tier != Tier::Baseline && context.options.llvm_threshold != 0),
      regs_(code) {
    analysis_.configure(context.guest->layout(), helpers_);
    regs_.configure(context.guest->layout());
}

Result<void> Compiler::compile(TranslatedBlock& block) {
    if (!block.ir) return Error{Errc::Unsupported, "block has no IR"};
    block_ = block.ir.get();
    exits_.clear();
    far_exits_.clear();
    slow_.clear();
    dirty_.clear();
    rare_calls_.clear();
    rare_arguments_.clear();
    vector_constants_.clear();
    attention_.clear();
    unsupported_ = nullptr;
    flags_of_ = kNone;
    hot_block_ = 0;
    pc_ = block_->key.pc;
    pc_known_ = pc_pending_ = true;
    first_insn_ = true;
    if (!analysis_.run(*block_, regs_.values())) return Error{Errc::Unsupported, "block is malformed or too long"};
    regs_.begin(*block_);
    code_.begin();
    emit_block(block);
    if (unsupported_) return Error{Errc::Unsupported, unsupported_};
    if (!regs_.ok()) return Error{Errc::Unsupported, "block needs more registers or state slots than there are"};
    return {};
}

void Compiler::emit_block(TranslatedBlock& block) {
    emit_entry(block);
    const size_t count = block_->insts.size();
    for (size_t n = 0; n < count && !unsupported_; ++n) {
        const Inst& inst = block_->insts[n];
        const ValueInfo& info = regs_.info(static_cast<Value>(n));
        if (info.skip) continue;
        regs_.begin_inst(now_ = static_cast<Value>(n));
        if (info.done) {
            for (unsigned a = 0; a < inst.nargs; ++a) regs_.note_use(inst.args[a]);
        } else {
            const Value flags_before = flags_of_;
            emit_inst(static_cast<Value>(n), inst);
            if (flags_of_ == flags_before && !keeps_flags(inst.op)) flags_of_ = kNone;
        }
        regs_.end_inst();
        if (code_.nearly_full()) unsupported_ = "block is too large";
    }
    if (!unsupported_) emit_tail();
}

void Compiler::emit_entry(TranslatedBlock& block) {
    code_.entry_nop();
    if (context_.options.count_instructions) {
        // Adding the inverted limit carries exactly when the sum is beyond it.
        code_.mov(x86::rax, frame(TANDEM_HEADER(instructions), 8));
        code_.add(x86::rax, static_cast<i32>(block_->guest_insns));
        code_.add(x86::rax, frame(header_field(kInverseLimitOffset), 8));
        limit_jump_ = code_.jump(Cc::B);
    }
    if (!hot_counters_) return;
    hot_block_ = reinterpret_cast<u64>(&block);
    code_.sub(frame(hot_counter_offset(block.hot_slot), 4), 1);
    hot_jump_ = code_.jump(Cc::S);
}

// What follows the block: everything that is seldom executed, and its constants.
void Compiler::emit_tail() {
    for (const SlowAccess& access : slow_) {
        emit_slow_access(access);
        if (code_.nearly_full()) {
            unsupported_ = "block is too large";
            return;
        }
    }
    for (const RareCall& rare : rare_calls_) {
        emit_rare_call(rare);
        if (code_.nearly_full()) {
            unsupported_ = "block is too large";
            return;
        }
    }
    for (const AttentionStub& stub : attention_) {
        code_.bind(stub.jump);
        store_pc(stub.pc);
        code_.jump_outside(thunks_.leave_attention);
    }
    for (ExitSite& exit : exits_) emit_exit_stub(exit);
    for (const FarExit& exit : far_exits_) emit_far_exit(exit);
    if (context_.options.count_instructions) {
        code_.bind(limit_jump_);
        store_pc(block_->key.pc);
        code_.mov(x86::eax, kLeaveSameMode);
        code_.jump_outside(thunks_.leave_lookup);
    }
    if (hot_block_ != 0) {
        code_.bind(hot_jump_);
        store_pc(block_->key.pc);
        code_.mov(x86::rax, hot_block_ | 1);
        code_.jump_outside(thunks_.leave_lookup);
    }
    if (vector_constants_.empty()) return;
    code_.pad((16 - code_.position() % 16) % 16);
    for (const VectorConstantUse& use : vector_constants_) {
        code_.bind(use.rel32);
        for (u32 n = 0; n < use.count; ++n) {
            code_.qword(block_->vector_constants[use.index + n].lo);
            code_.qword(block_->vector_constants[use.index + n].hi);
        }
    }
}

void Compiler::store_pc(u64 pc) {
    const i32 offset = static_cast<i32>(pc_offset_);
    code_.store_imm(fits_i32(pc), kRbp, offset, static_cast<i32>(static_cast<u32>(pc)));
    if (!fits_i32(pc)) code_.store_imm(false, kRbp, offset + 4, static_cast<i32>(static_cast<u32>(pc >> 32)));
}

void Compiler::flush_state() {
    regs_.flush_all(~u32{0});
    if (!pc_pending_) return;
    store_pc(pc_);
    pc_pending_ = false;
}

void Compiler::count_instruction() {
    if (!context_.options.count_instructions) return;
    code_.add(frame(TANDEM_HEADER(instructions), 8), 1);
    flags_of_ = kNone;
}

void Compiler::insn_start(const Inst& inst) {
    if (!first_insn_) count_instruction();
    first_insn_ = false;
    regs_.forget_slot(pc_offset_);
    pc_ = inst.imm;
    pc_known_ = pc_pending_ = true;
}

void Compiler::get_state(Value v, const Inst& inst) {
    if (inst.imm == pc_offset_ && pc_known_) {
        regs_.make_const(v, pc_);
    } else {
        regs_.get_state(v, static_cast<u32>(inst.imm), inst.type);
    }
}

void Compiler::set_state(const Inst& inst) {
    if (inst.imm == pc_offset_) pc_known_ = pc_pending_ = false;
    regs_.set_state(static_cast<u32>(inst.imm), type_of(inst.args[0]), inst.args[0]);
}

void Compiler::emit_inst(Value v, const Inst& inst) {
    if (inst.type == ir::Type::V256 && !host_.avx) {
        unsupported_ = "host lacks AVX";
        return;
    }
    switch (inst.op) {
        case Op::Const: return regs_.make_const(v, truncate(inst.imm, inst.type));
        case Op::GetState: return get_state(v, inst);
        case Op::SetState: return set_state(inst);
        case Op::InsnStart: return insn_start(inst);
        case Op::Add: return add(v, inst);
        case Op::Sub: return sub(v, inst);
        case Op::Mul: return mul(v, inst);
        case Op::MulHiU:
        case Op::MulHiS: return mul_high(v, inst, find_partner(v, Op::Mul, 2));
        case Op::And:
        case Op::Or:
        case Op::Xor: return logic(v, inst);
        case Op::Neg:
        case Op::Not: return unary(v, inst);
        case Op::Shl:
        case Op::Shr:
        case Op::Sar:
        case Op::Rol:
        case Op::Ror: return shift(v, inst);
        case Op::AddC:
        case Op::CarryOut:
        case Op::SubB:
        case Op::BorrowOut: return carry(v, inst);
        case Op::Clz:
        case Op::Ctz: return count_zeros(v, inst);
        case Op::Popcnt: return popcnt(v, inst);
        case Op::Bswap: return bswap(v, inst);
        case Op::ZExt:
        case Op::SExt: return extend(v, inst);
        case Op::Trunc: return regs_.alias(v, inst.args[0]);
        case Op::Deposit: return deposit(v, inst);
        case Op::ICmp: return icmp(v, inst);
        case Op::Select: return select(v, inst);
        case Op::Load: return load(v, inst);
        case Op::Store: return store(inst);
        case Op::AtomicXchg:
        case Op::AtomicAdd: return atomic(v, inst);
        case Op::AtomicAnd:
        case Op::AtomicOr:
        case Op::AtomicXor: return atomic_loop(v, inst);
        case Op::AtomicCas: return atomic_cas(v, inst);
        case Op::MaskLoadD:
        case Op::MaskLoadQ: return mask_load(v, inst);
        case Op::MaskStoreD:
        case Op::MaskStoreQ: return mask_store(inst);
        case Op::Fence: code_.lock().or_(x86::ptr(x86::rsp, 0, 4), 0); return;
        case Op::Call: return call(v, inst);
        case Op::CallIf: return call_if(inst);
        case Op::Jump: return jump(inst);
        case Op::Branch: return branch(inst);
        case Op::JumpInd: return jump_indirect(inst);
        case Op::Leave: return leave(inst);
        default: return vector(v, inst);
    }
}

}  // namespace tandem::jit::baseline
