#include "jit/baseline/values.h"

namespace tandem::jit::baseline {

using ir::Op;

namespace {

constexpr unsigned kMaxInsts = 0xfff0;

bool is_address_user(Op op) { return (op >= Op::Load && op <= Op::AtomicCas) || ir::is_masked_access(op); }

bool is_zero_const(const ir::Block& block, u16 value) { return is_const(block, value) && block.insts[value].imm == 0; }

bool small_displacement(u64 imm) {
    const i64 d = static_cast<i64>(imm);
    return d >= -kMaxDisplacement && d <= kMaxDisplacement;
}

// Comparisons that an instruction which wants a condition can make itself.
bool is_condition(const ir::Block& block, u16 value) {
    const ir::Inst& i = block.insts[value];
    return i.op == Op::ICmp || (i.op == Op::BorrowOut && is_zero_const(block, i.args[2]));
}

}  // namespace

void Analysis::configure(const StateLayout& layout, std::span<const Helper> helpers) {
    overwritten_.assign(layout.size, 0);
    epoch_ = 0;
    pc_offset_ = layout.pc_offset;
    helpers_ = helpers;
}

// Whether `user` absorbs the instruction that makes its argument, provided nobody else needs it in a register.
bool Analysis::can_fold(const ir::Block& block, const ir::Inst& user, unsigned argument, u16 value) {
    const ir::Inst& made = block.insts[value];
    switch (user.op) {
        case Op::Branch: return is_condition(block, value);
        case Op::Select: return argument == 0 && is_condition(block, value);
        case Op::ICmp: return argument == 0 && made.op == Op::And && is_zero_const(block, user.args[1]);
        case Op::Add: {  // lea d, [a + b * 2^n]
            const bool wide = user.type == ir::Type::I64 || user.type == ir::Type::I32;
            return wide && argument == 1 && made.op == Op::Shl && is_const(block, made.args[1]) &&
                   block.insts[made.args[1]].imm <= 3 && !is_const(block, user.args[0]) && user.args[0] != value;
        }
        default:
            return argument == 0 && is_address_user(user.op) && made.op == Op::Add && is_const(block, made.args[1]) &&
                   small_displacement(user.imm) && small_displacement(block.insts[made.args[1]].imm) &&
                   !is_const(block, made.args[0]);
    }
}

void Analysis::use(Context& c, u16 value, u16 at, bool foldable) {
    ValueInfo& v = c.values[value];
    if (v.uses++ == 0 || v.last_use < at) v.last_use = at;
    v.folded_uses = static_cast<u16>(v.folded_uses + foldable);
}

// Also keeps track of the state slots that are overwritten further down before anything can see them.
bool Analysis::needed(const ir::Inst& inst, u16 index, Context& c) {
    switch (inst.op) {
        case Op::SetState: {
            const bool whole = c.block.type_of(inst.args[0]) == ir::Type::V256;  // covered when both halves are
            u32& later = overwritten_[inst.imm];
            u32& later_high = overwritten_[inst.imm + (whole ? 16 : 0)];
            if (later == epoch_ && later_high == epoch_) return false;
            later = later_high = epoch_;
            return true;
        }
        case Op::GetState:
            if (c.values[index].uses == 0) return false;
            overwritten_[inst.imm] = 0;
            if (inst.type == ir::Type::V256) overwritten_[inst.imm + 16] = 0;
            return true;
        case Op::Call: {
            const u8 flags = helpers_[inst.imm].flags;
            if ((flags & kPure) != 0) return c.values[index].uses != 0;
            if ((flags & (kReadsState | kWritesState | kMayLeave)) != 0) ++epoch_;
            return true;
        }
        default: {
            const u8 flags = ir::info(inst.op).flags;
            if ((flags & (ir::kFault | ir::kEnd)) != 0) ++epoch_;
            return flags != ir::kNone || c.values[index].uses != 0;
        }
    }
}

bool Analysis::run(const ir::Block& block, std::vector<ValueInfo>& values) {
    const size_t count = block.insts.size();
    if (count == 0 || count > kMaxInsts) return false;
    values.assign(count, ValueInfo{});
    if (epoch_ > 0x7fff0000) {
        overwritten_.assign(overwritten_.size(), 0);
        epoch_ = 0;
    }
    ++epoch_;
    Context c{block, values};
    for (size_t n = count; n-- > 0;) {
        const u16 i = static_cast<u16>(n);
        const ir::Inst& inst = block.insts[n];
        ValueInfo& v = values[n];
        const bool state = inst.op == Op::GetState || inst.op == Op::SetState;
        const unsigned size = inst.op == Op::SetState ? ir::size_of(block.type_of(inst.args[0])) : ir::size_of(inst.type);
        if (state && (inst.imm > overwritten_.size() || overwritten_.size() - inst.imm < size || size == 0)) return false;
        if (inst.op == Op::Call && (inst.imm >= helpers_.size() || inst.nargs > 4)) return false;
        v.root = i;
        if (!needed(inst, i, c)) {
            v.skip = true;
            continue;
        }
        u16 at = i;
        if (v.uses == 0) {
            v.last_use = i;
        } else if (v.uses == v.folded_uses) {
            v.skip = true;
            at = v.last_use;
        }
        for (unsigned a = 0; a < inst.nargs; ++a) {
            const u16 argument = inst.args[a];
            if (argument >= i) return false;
            use(c, argument, at, can_fold(block, inst, a, argument));
        }
    }
    return true;
}

}  // namespace tandem::jit::baseline
