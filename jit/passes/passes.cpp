#include "jit/passes/passes.h"

#include <array>
#include <utility>

namespace tandem::jit::passes {
namespace {

using ir::Inst;
using ir::kNoValue;
using ir::Op;
using ir::Type;

// Blocks beyond this are left as they are: the work arrays live on the stack.
constexpr std::size_t kMaxInsts = 4096;

// What is known of the guest state's slots at one point of the block. Slots are named by offset: no two overlap but a V256
// and its halves (jit/ir/ir.h). A small direct-mapped table; a collision forgets, which is always right.
class Slots {
public:
    struct Entry {
        u32 offset = 0;
        u16 value = kNoValue;  // what the slot holds
        u16 write = kNoValue;  // the SetState nothing has been able to see yet
        bool whole = false;    // the above are of a V256
        u32 values_era = 0;    // the members above count while their eras are the current ones
        u32 writes_era = 0;
    };

    Entry& at(u64 offset) {
        Entry& e = entries_[index(offset)];
        if (e.offset != offset) e = {static_cast<u32>(offset), kNoValue, kNoValue, false, values_era_, writes_era_};
        if (e.values_era != values_era_) e.value = kNoValue;
        if (e.writes_era != writes_era_) e.write = kNoValue;
        e.values_era = values_era_;
        e.writes_era = writes_era_;
        return e;
    }
    // What is known of the slot, or null; evicts nothing.
    Entry* find(u64 offset) { return entries_[index(offset)].offset == offset ? &at(offset) : nullptr; }
    // All state written so far can be seen.
    void expose() { ++writes_era_; }
    // Slots may hold anything.
    void forget() {
        ++values_era_;
        expose();
    }

private:
    static constexpr std::size_t kEntries = 64;
    static std::size_t index(u64 offset) { return (offset ^ offset >> 6) / 4 % kEntries; }

    std::array<Entry, kEntries> entries_;
    u32 values_era_ = 1;
    u32 writes_era_ = 1;
};

class Passes {
public:
    Passes(ir::Block& block, const Guest& guest)
        : insts_(block.insts), helpers_(guest.helpers()), pc_offset_(guest.layout().pc_offset) {}

    void run() {
        forward();
        mark();
        compact();
    }

private:
    [[nodiscard]] u16 size() const { return static_cast<u16>(insts_.size()); }

    // Program order: replaces state reads by the value known to be there and finds the writes that a later one covers.
    void forward() {
        for (u16 n = 0; n < size(); ++n) {
            Inst& i = insts_[n];
            target_[n] = n;
            uses_[n] = 0;
            for (unsigned a = 0; a < i.nargs; ++a) i.args[a] = target_[i.args[a]];
            switch (i.op) {
                case Op::GetState: read(i, n); break;
                case Op::SetState: write(i, n); break;
                case Op::InsnStart: {
                    Slots::Entry& pc = slots_.at(pc_offset_);
                    pc.value = pc.write = kNoValue;
                    break;
                }
                case Op::Call: call(helpers_[i.imm].flags); break;
                default:
                    if ((ir::info(i.op).flags & (ir::kFault | ir::kEnd)) != 0) slots_.expose();
                    break;
            }
        }
    }

    void read(Inst& i, u16 n) {
        const bool whole = i.type == Type::V256;
        if (whole) {
            expose(i.imm + kHalf);
        } else if (i.type == Type::V128) {
            expose_whole(i.imm);
        }
        Slots::Entry& slot = slots_.at(i.imm);
        if (slot.value == kNoValue || (whole && !slot.whole)) {
            if (slot.whole != whole) slot.write = kNoValue;
            slot.value = n;
            slot.whole = whole;
        } else if (slot.whole == whole) {
            target_[n] = slot.value;
        } else {
            read_low_half(i, n, slot.value);
        }
    }

    // The low half of a known V256.
    void read_low_half(Inst& i, u16 n, u16 value) {
        const Inst& made = insts_[value];
        if (made.op == Op::VZext || made.op == Op::VCombine) {
            target_[n] = made.args[0];
            return;
        }
        i.op = Op::VLow;
        i.imm = 0;
        i.nargs = 1;
        i.args[0] = value;
    }

    void write(const Inst& i, u16 n) {
        const Type type = insts_[i.args[0]].type;
        const bool whole = type == Type::V256;
        if (type == Type::V128) hide_whole(i.imm);
        if (whole) {
            if (Slots::Entry* high = slots_.find(i.imm + kHalf); high != nullptr) {
                if (high->write != kNoValue) uses_[high->write] = kDead;
                high->value = high->write = kNoValue;
            }
        }
        Slots::Entry& slot = slots_.at(i.imm);
        if (slot.value == i.args[0]) {
            uses_[n] = kDead;
            return;
        }
        if (slot.write != kNoValue && (whole || !slot.whole)) uses_[slot.write] = kDead;
        slot.value = i.args[0];
        slot.write = n;
        slot.whole = whole;
    }

    // The slot at `offset` is looked at otherwise than by its name.
    void expose(u64 offset) {
        if (Slots::Entry* e = slots_.find(offset); e != nullptr) e->write = kNoValue;
    }

    // The V256 that has its high half at `offset`, if any, is looked at.
    void expose_whole(u64 offset) {
        if (Slots::Entry* e = slots_.find(offset - kHalf); e != nullptr && e->whole) e->write = kNoValue;
    }
    // It is changed.
    void hide_whole(u64 offset) {
        if (Slots::Entry* e = slots_.find(offset - kHalf); e != nullptr && e->whole) e->value = e->write = kNoValue;
    }

    void call(u8 flags) {
        if ((flags & kWritesState) != 0) {
            slots_.forget();
        } else if ((flags & (kReadsState | kMayLeave)) != 0) {
            slots_.expose();
        }
    }

    [[nodiscard]] bool removable(const Inst& i) const {
        if (i.op == Op::SetState) return false;
        if (i.op == Op::Call) return (helpers_[i.imm].flags & kPure) != 0;
        return ir::info(i.op).flags == ir::kNone;
    }

    // Backwards: an operation without effect and without a user goes, and with it its use of its arguments.
    void mark() {
        for (std::size_t n = size(); n-- > 0;) {
            const Inst& i = insts_[n];
            if (uses_[n] == kDead || (uses_[n] == 0 && removable(i))) {
                uses_[n] = kDead;
                continue;
            }
            for (unsigned a = 0; a < i.nargs; ++a) uses_[i.args[a]] = 1;
        }
    }

    void compact() {
        u16 to = 0;
        for (u16 n = 0; n < size(); ++n) {
            if (uses_[n] == kDead) continue;
            Inst& i = insts_[n];
            for (unsigned a = 0; a < i.nargs; ++a) i.args[a] = target_[i.args[a]];
            target_[n] = to;
            if (to != n) insts_[to] = i;
            ++to;
        }
        insts_.resize(to);
    }

    static constexpr u8 kDead = 0xff;
    static constexpr u64 kHalf = 16;

    std::vector<Inst>& insts_;
    std::span<const Helper> helpers_;
    u32 pc_offset_;
    Slots slots_;
    std::array<u16, kMaxInsts> target_;  // forward: the value that stands for this one; compact: its new index
    std::array<u8, kMaxInsts> uses_;     // whether a live operation uses it, or kDead
};

}  // namespace

void run(ir::Block& block, const Guest& guest) {
    if (block.insts.size() <= kMaxInsts) Passes(block, guest).run();
}

}  // namespace tandem::jit::passes
