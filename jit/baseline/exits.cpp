// Helper calls and the ways out of a block.
#include <algorithm>

#include "jit/baseline/compiler.h"

namespace tandem::jit::baseline {

using ir::Inst;
using ir::LeaveReason;
using ir::Type;
using namespace asmjit;

namespace {

// System V ABI: rdi is the frame pointer, these are the helper's own arguments.
constexpr Reg kArguments[] = {kRsi, kRdx, kRcx, kR8};

}  // namespace

// Puts the arguments into their registers, zero-extended, and empties the caller-saved registers of everything that lives
// on.
void Compiler::move_arguments(const Inst& inst) {
    struct Move {
        Reg to, from;
        Value value;
    };
    Move pending[4];
    unsigned count = 0;
    for (unsigned n = 0; n < inst.nargs; ++n) {
        const Value v = inst.args[n];
        if (ir::is_vector(type_of(v))) {
            unsupported_ = "vector argument of a helper";
            return;
        }
        regs_.note_use(v);
        pending[count++] = {kArguments[n], regs_.reg_of(v), v};
    }
    regs_.save_for_call();
    const auto read_later = [&](Reg r, unsigned except) {
        for (unsigned n = 0; n < count; ++n) {
            if (n != except && pending[n].from == r) return true;
        }
        return false;
    };
    const auto place = [&](unsigned n) {
        const auto [to, from, v] = pending[n];
        const Type t = type_of(v);
        u64 imm = 0;
        if (regs_.constant(v, imm)) {
            code_.mov(imm <= ~u32{0} ? gp32(to) : gp64(to), static_cast<i64>(imm));
        } else {
            if (from == kNoReg) regs_.load(regs_.root(v), to);
            const Reg source = from == kNoReg ? to : from;
            if (t == Type::I8 || t == Type::I16) {
                code_.movzx(gp32(to), gp_exact(source, t));
            } else if (source != to || t == Type::I32) {
                code_.mov(gp_op(to, t), gp_op(source, t));
            }
        }
        pending[n] = pending[--count];
    };
    while (count != 0) {
        unsigned ready = count;
        for (unsigned n = 0; n < count && ready == count; ++n) {
            if (!read_later(pending[n].to, n)) ready = n;
        }
        if (ready != count) {
            place(ready);
            continue;
        }
        // A cycle of argument registers: one of them steps aside.
        Reg aside = kRax;
        for (const Reg r : {kRdi, kR9, kR10, kR11}) {
            if (read_later(aside, count)) aside = r;
        }
        const Reg from = pending[0].from;
        code_.mov(gp64(aside), gp64(from));
        for (unsigned n = 0; n < count; ++n) {
            if (pending[n].from == from) pending[n].from = aside;
        }
    }
}

void Compiler::call(Value v, const Inst& inst) {
    const Helper& helper = helpers_[inst.imm];
    const bool sees_state = (helper.flags & (kReadsState | kWritesState | kMayLeave)) != 0;
    if (sees_state) flush_state();
    if ((helper.flags & kWritesState) != 0) {
        regs_.forget_slots();
        pc_known_ = false;
    }
    if (ir::is_vector(inst.type)) {
        unsupported_ = "vector result of a helper";
        return;
    }
    move_arguments(inst);
    regs_.clear_upper_halves();
    code_.mov(x86::rdi, x86::rbp);
    call_function(code_, memory_, helper.function);
    if ((helper.flags & kMayLeave) != 0) {
        code_.test(x86::eax, x86::eax);
        code_.jump_outside(Cc::NE, thunks_.epilogue);
    }
    if (inst.type != Type::Void && regs_.info(v).uses != 0) regs_.define_in(v, kRax);
}

// The call itself is out of line; nothing of the block's state changes on the way past it.
void Compiler::call_if(const Inst& inst) {
    RareCall rare;
    rare.helper = static_cast<u32>(inst.imm);
    const Cc c = condition(inst.args[0]);
    rare.arguments_begin = static_cast<u32>(rare_arguments_.size());
    for (unsigned n = 1; n < inst.nargs; ++n) {
        const Value v = inst.args[n];
        if (ir::is_vector(type_of(v))) unsupported_ = "vector argument of a helper";
        regs_.note_use(v);
        rare_arguments_.push_back(regs_.place_of(v));
    }
    rare.arguments_end = static_cast<u32>(rare_arguments_.size());
    rare.dirty_begin = static_cast<u32>(dirty_.size());
    regs_.snapshot_dirty(dirty_);
    rare.dirty_end = static_cast<u32>(dirty_.size());
    // Registers are stored first: any of them then serves as scratch.
    std::partition(dirty_.begin() + rare.dirty_begin, dirty_.end(),
                   [](const DirtySlot& d) { return d.from == DirtySlot::From::Register; });
    rare.store_pc = pc_pending_;
    rare.pc = pc_;
    rare.jump = code_.jump(c);
    rare_calls_.push_back(rare);
}

// Arguments go through memory, so that their registers may be one another's. A helper that finds nothing to do leaves the
// instruction to the interpreter: nothing is kept for a way back.
void Compiler::emit_rare_call(const RareCall& rare) {
    code_.bind(rare.jump);
    const unsigned count = rare.arguments_end - rare.arguments_begin;
    code_.mov(stack(kArgumentArea + 24), x86::rax);
    for (unsigned n = 0; n < count; ++n) {
        const DirtySlot& a = rare_arguments_[rare.arguments_begin + n];
        const x86::Mem to = stack(kArgumentArea + static_cast<i32>(n) * 8);
        switch (a.from) {
            case DirtySlot::From::Register: code_.mov(to, gp64(a.reg)); continue;
            case DirtySlot::From::Constant: code_.mov(x86::rax, static_cast<i64>(a.imm)); break;
            case DirtySlot::From::Frame: code_.mov(gp_exact(kRax, a.type), frame(a.where)); break;
            case DirtySlot::From::Stack: code_.mov(x86::rax, stack(a.where)); break;
        }
        code_.mov(to, x86::rax);
        code_.mov(x86::rax, stack(kArgumentArea + 24));
    }
    emit_dirty_stores(rare.dirty_begin, rare.dirty_end, kRax);
    if (rare.store_pc) store_pc(rare.pc);
    for (unsigned n = 0; n < count; ++n) {
        const Type t = rare_arguments_[rare.arguments_begin + n].type;
        x86::Mem from = stack(kArgumentArea + static_cast<i32>(n) * 8);
        if (t == Type::I8 || t == Type::I16) {
            from.setSize(ir::size_of(t));
            code_.movzx(gp32(kArguments[n]), from);
        } else {
            code_.mov(gp_op(kArguments[n], t), from);
        }
    }
    if (code_.vex()) code_.vzeroupper();
    code_.mov(x86::rdi, x86::rbp);
    call_function(code_, memory_, helpers_[rare.helper].function);
    code_.mov(x86::ecx, static_cast<u32>(LeaveReason::Interpret));
    code_.test(x86::eax, x86::eax);
    code_.cmove(x86::eax, x86::ecx);
    code_.jump_outside(thunks_.epilogue);
}

void Compiler::check_attention(u64 target_pc) {
    code_.cmp(frame(TANDEM_HEADER(attention), 4), 0);
    attention_.push_back({code_.jump(Cc::NE), target_pc});
}

void Compiler::link_jump(u64 target_pc) {
    if (!linkable(target_pc)) {
        far_exits_.push_back({target_pc, code_.jump()});
        return;
    }
    code_.align_link(false);
    exits_.push_back({target_pc, code_.jump(), 0, 0});
}

void Compiler::link_jump(Cc condition, u64 target_pc) {
    if (!linkable(target_pc)) {
        far_exits_.push_back({target_pc, code_.jump(condition)});
        return;
    }
    code_.align_link(true);
    exits_.push_back({target_pc, code_.jump(condition), 0, 0});
}

// Only within a page is the target mapped whenever this block is.
bool Compiler::linkable(u64 target_pc) const {
    const u64 start = block_->key.address();
    const bool one_page = (start & ~kPageMask) + block_->guest_bytes <= kPageSize;
    return one_page && ((target_pc + block_->key.base) & kPageMask) == (start & kPageMask);
}

// The returned jump is taken when the memory operand does not hold the value. Clobbers rdx.
u32 Compiler::jump_unless_equal(const x86::Mem& m, u64 value) {
    if (fits_i32(value)) {
        code_.cmp(m, static_cast<i32>(static_cast<u32>(value)));
    } else {
        code_.mov(x86::rdx, static_cast<i64>(value));
        code_.cmp(m, x86::rdx);
    }
    return code_.jump(Cc::NE);
}

// A direct jump to another page goes through the jump cache, whose place for it is known.
void Compiler::emit_far_exit(const FarExit& exit) {
    code_.bind(exit.rel32);
    code_.mov(x86::rcx, frame(TANDEM_HEADER(jump_cache)));
    const auto place = static_cast<i32>(jump_cache_index(exit.target_pc) * sizeof(JumpCacheEntry));
    const auto field = [&](size_t offset) { return x86::ptr(x86::rcx, place + static_cast<i32>(offset), 8); };
    const u32 miss[] = {jump_unless_equal(field(offsetof(ir::BlockKey, pc)), exit.target_pc),
                        jump_unless_equal(field(offsetof(ir::BlockKey, base)), block_->key.base),
                        jump_unless_equal(field(offsetof(ir::BlockKey, mode)), block_->key.mode)};
    code_.jmp(field(offsetof(JumpCacheEntry, code)));
    for (const u32 m : miss) code_.bind(m);
    store_pc(exit.target_pc);
    code_.mov(x86::eax, kLeaveSameMode);
    code_.jump_outside(thunks_.leave_lookup);
}

void Compiler::emit_exit_stub(ExitSite& exit) {
    code_.bind(exit.rel32);
    exit.stub = code_.position();
    store_pc(exit.target_pc);
    code_.byte(0x48);  // mov rax, imm64
    code_.byte(0xb8);
    exit.detail = code_.position();
    code_.qword(0);
    code_.jump_outside(thunks_.leave_lookup);
}

void Compiler::jump(const Inst& inst) {
    count_instruction();
    regs_.flush_all(pc_offset_);
    regs_.clear_upper_halves();
    if (backward(inst.imm)) check_attention(inst.imm);
    link_jump(inst.imm);
}

void Compiler::branch(const Inst& inst) {
    const u64 taken = inst.imm, fallthrough = block_->fallthrough;
    count_instruction();
    regs_.flush_all(pc_offset_);
    regs_.clear_upper_halves();
    const u32 start = code_.position();
    const Cc c = condition(inst.args[0]);
    if (backward(taken) && backward(fallthrough)) {
        const u32 not_taken = code_.jump(negate(c));
        check_attention(taken);
        link_jump(taken);
        code_.bind(not_taken);
        check_attention(fallthrough);
        link_jump(fallthrough);
        return;
    }
    // The side that can close a loop comes second, so that the check costs the other one nothing.
    const bool loops = backward(taken);
    const u64 first = loops ? fallthrough : taken;
    const u64 second = loops ? taken : fallthrough;
    // Padding goes before the comparison, so that the host can fuse it with the jump.
    if (linkable(first)) code_.align_link_from(start);
    link_jump(loops ? negate(c) : c, first);
    if (backward(second)) check_attention(second);
    link_jump(second);
}

void Compiler::jump_indirect(const Inst& inst) {
    count_instruction();
    regs_.flush_all(pc_offset_);
    regs_.clear_upper_halves();
    const Reg pc = regs_.use(inst.args[0]);
    const Reg entry = regs_.temp();
    const Reg other = regs_.temp();
    code_.cmp(frame(TANDEM_HEADER(attention), 4), 0);
    const u32 attention = code_.jump(Cc::NE);
    code_.mov(gp32(entry), gp32(pc));
    code_.shr(gp32(entry), kJumpCacheBits);
    code_.xor_(gp32(entry), gp32(pc));
    code_.and_(gp32(entry), (1u << kJumpCacheBits) - 1);
    static_assert(sizeof(JumpCacheEntry) == 1u << 5);
    code_.shl(gp32(entry), 5);
    code_.add(gp64(entry), frame(TANDEM_HEADER(jump_cache)));
    u32 miss[4];
    unsigned misses = 0;
    code_.cmp(gp64(pc), x86::ptr(gp64(entry), static_cast<i32>(offsetof(ir::BlockKey, pc))));
    miss[misses++] = code_.jump(Cc::NE);
    const auto same = [&](size_t field, u64 value) {
        const x86::Mem m = x86::ptr(gp64(entry), static_cast<i32>(field), 8);
        if (fits_i32(value)) {
            code_.cmp(m, static_cast<i32>(static_cast<u32>(value)));
        } else {
            code_.mov(gp64(other), static_cast<i64>(value));
            code_.cmp(m, gp64(other));
        }
        miss[misses++] = code_.jump(Cc::NE);
    };
    same(offsetof(ir::BlockKey, base), block_->key.base);
    same(offsetof(ir::BlockKey, mode), block_->key.mode);
    const x86::Mem target = x86::ptr(gp64(entry), static_cast<i32>(offsetof(JumpCacheEntry, code)), 8);
    if (block_->key.base == 0 && block_->key.mode == 0) {  // an empty entry has the key 0, 0, 0
        code_.mov(gp64(other), target);
        code_.test(gp64(other), gp64(other));
        miss[misses++] = code_.jump(Cc::E);
        code_.jmp(gp64(other));
    } else {
        code_.jmp(target);
    }
    for (unsigned n = 0; n < misses; ++n) code_.bind(miss[n]);
    code_.mov(frame(pc_offset_), gp64(pc));
    code_.mov(x86::eax, kLeaveSameMode);
    code_.jump_outside(thunks_.leave_lookup);
    code_.bind(attention);
    code_.mov(frame(pc_offset_), gp64(pc));
    code_.jump_outside(thunks_.leave_attention);
}

void Compiler::leave(const Inst& inst) {
    flush_state();
    regs_.clear_upper_halves();
    code_.mov(x86::eax, static_cast<u32>(inst.imm));
    code_.jump_outside(thunks_.epilogue);
}

}  // namespace tandem::jit::baseline
