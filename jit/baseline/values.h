// What the code generator knows about each IR value of a block, and the pass over the IR, last instruction first, that finds
// out.
#pragma once

#include <span>
#include <vector>

#include "jit/guest/guest.h"
#include "jit/ir/vector_row.h"

namespace tandem::jit::baseline {

constexpr u16 kNone = 0xffff;
constexpr u8 kNoReg = 0xff;

// Where a value can be had from when it is in no register.
enum class Home : u8 { None, Const, Slot, Spill };

struct ValueInfo {
    u64 imm = 0;       // Home::Const
    u16 root = kNone;  // the value whose register this one shares: itself, or what it is a narrower or wider view of
    u16 last_use = 0;  // index of the last instruction that reads it; its own when there is none
    u16 uses = 0;
    u16 folded_uses =
        0;  // uses by instructions that can absorb its computation (a compare into a branch, an add into an address)
    u16 home_index = 0;  // Slot: index of the slot; Spill: index of the spill cell
    Home home = Home::None;
    u8 reg = kNoReg;
    u8 slots = 0;        // slots whose current content it is
    u8 dirty = 0;        // those of them that memory does not hold yet
    bool clean = false;  // register bits above its own type are zero
    bool skip = false;   // emits nothing of its own: dead, or absorbed by its users
    bool done = false;   // already emitted together with an earlier instruction
};

// Byte offsets in the guest state that may be used as slots; one scratch row per offset, reused from block to block.
class Analysis {
public:
    void configure(const StateLayout& layout, std::span<const Helper> helpers);
    // False when the block is not something this generator takes (too long, bad slot offset or helper index).
    bool run(const ir::Block& block, std::vector<ValueInfo>& values);

private:
    struct Context {
        const ir::Block& block;
        std::vector<ValueInfo>& values;
    };
    bool needed(const ir::Inst& inst, u16 index, Context& c);
    static void use(Context& c, u16 value, u16 at, bool foldable);
    static bool can_fold(const ir::Block& block, const ir::Inst& user, unsigned argument, u16 value);

    std::vector<u32> overwritten_;  // per offset: epoch in which a later SetState overwrites it before anything looks
    u32 epoch_ = 0;
    u32 pc_offset_ = 0;
    std::span<const Helper> helpers_;
};

// Sum of a folded address addition and the access's displacement must stay within this, so that any host displacement fits.
constexpr i64 kMaxDisplacement = i64{1} << 30;

// A value's constant, when it is one. Truncated to the value's type.
inline bool is_const(const ir::Block& block, u16 value) { return block.insts[value].op == ir::Op::Const; }

}  // namespace tandem::jit::baseline
