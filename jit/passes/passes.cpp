#include "jit/passes/passes.h"

#include <array>
#include <utility>

namespace tandem::jit::passes {
namespace {

using ir::Inst;
using ir::kNoValue;
using ir::Op;

// Blocks beyond this are left as they are: the work arrays live on the stack.
constexpr std::size_t kMaxInsts = 4096;

// What is known of the guest state's slots at one point of the block. Slots are named by offset: a block accesses each with
// one type and never two that overlap. A small direct-mapped table; a collision forgets, which is always right.
class Slots {
public:
    struct Entry {
        u32 offset = 0;
        u16 value = kNoValue;  // what the slot holds
        u16 write = kNoValue;  // the SetState nothing has been able to see yet
        u32 values_era = 0;    // the members above count while their eras are the current ones
        u32 writes_era = 0;
    };

    Entry& at(u64 offset) {
        Entry& e = entries_[(offset ^ offset >> 6) / 4 % entries_.size()];
        if (e.offset != offset) e = {static_cast<u32>(offset), kNoValue, kNoValue, values_era_, writes_era_};
        if (e.values_era != values_era_) e.value = kNoValue;
        if (e.writes_era != writes_era_) e.write = kNoValue;
        e.values_era = values_era_;
        e.writes_era = writes_era_;
        return e;
    }
    // All state written so far can be seen.
    void expose() { ++writes_era_; }
    // Slots may hold anything.
    void forget() {
        ++values_era_;
        expose();
    }

private:
    std::array<Entry, 64> entries_;
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
    [[nodiscard]] std::size_t size() const { return insts_.size(); }

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

    void read(const Inst& i, u16 n) {
        Slots::Entry& slot = slots_.at(i.imm);
        if (slot.value != kNoValue) {
            target_[n] = slot.value;
        } else {
            slot.value = n;
        }
    }

    void write(const Inst& i, u16 n) {
        Slots::Entry& slot = slots_.at(i.imm);
        if (slot.value == i.args[0]) {
            uses_[n] = kDead;
            return;
        }
        if (slot.write != kNoValue) uses_[slot.write] = kDead;
        slot.value = i.args[0];
        slot.write = n;
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
