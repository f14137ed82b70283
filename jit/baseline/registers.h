// Which host register holds which value, and which value is the current content of which guest state slot.
//
// Slots are written lazily: SetState only notes the slot's new content. Two invariants make that exact:
//  - memory holds the content of every slot that is not dirty, so a value whose home is a slot is that slot's clean content;
//  - before a slot's content changes, a value that is needed further and has its only home there is taken into a register.
// Whoever lets the outside see the state (exits, calls) flushes; slow paths flush out of line from a snapshot.
#pragma once

#include <vector>

#include "jit/baseline/host_code.h"
#include "jit/baseline/values.h"

namespace tandem::jit::baseline {

// 0-15: general registers by their hardware number; 16-31: xmm0-15.
using Reg = u8;
enum : Reg { kRax, kRcx, kRdx, kRbx, kRsp, kRbp, kRsi, kRdi, kR8, kR9, kR10, kR11, kR12, kR13, kR14, kR15, kXmm0 };
constexpr u32 reg_bit(Reg r) { return u32{1} << r; }
constexpr u32 kGeneralMask = 0xffff & ~(reg_bit(kRsp) | reg_bit(kRbp));
constexpr u32 kVectorMask = 0xffff0000;
constexpr u32 kCalleeSaved = reg_bit(kRbx) | reg_bit(kR12) | reg_bit(kR13) | reg_bit(kR14) | reg_bit(kR15);

// Layout of the frame at [rsp] (Backend::kSpillBytes): arguments of slow paths, then spill cells.
constexpr i32 kArgumentArea = 0;  // va, low, high: 8 bytes each; spec
constexpr i32 kGeneralSpill = 64;
constexpr i32 kVectorSpill = kGeneralSpill + 64 * 8;
constexpr i32 kVectorCell = 32;
static_assert(kVectorSpill + 64 * kVectorCell <= 3072);

inline asmjit::x86::Gp gp64(Reg r) { return asmjit::x86::gpq(r); }
inline asmjit::x86::Gp gp32(Reg r) { return asmjit::x86::gpd(r); }
inline asmjit::x86::Xmm xmm(Reg r) { return asmjit::x86::xmm(static_cast<u32>(r) - kXmm0); }
inline asmjit::x86::Ymm ymm(Reg r) { return asmjit::x86::ymm(static_cast<u32>(r) - kXmm0); }
inline asmjit::x86::Vec vec(Reg r, ir::Type t) {
    return t == ir::Type::V256 ? static_cast<asmjit::x86::Vec>(ymm(r)) : static_cast<asmjit::x86::Vec>(xmm(r));
}
// Register of exactly the type's width / of the width that arithmetic on the type uses (32 bits for the narrow types).
inline asmjit::x86::Gp gp_exact(Reg r, ir::Type t) {
    switch (t) {
        case ir::Type::I8: return asmjit::x86::gpb(r);
        case ir::Type::I16: return asmjit::x86::gpw(r);
        case ir::Type::I32: return asmjit::x86::gpd(r);
        default: return asmjit::x86::gpq(r);
    }
}
inline asmjit::x86::Gp gp_op(Reg r, ir::Type t) { return t == ir::Type::I64 ? gp64(r) : gp32(r); }
inline asmjit::x86::Mem frame(i64 offset, u32 size = 0) {
    return asmjit::x86::ptr(asmjit::x86::rbp, static_cast<i32>(offset), size);
}
inline asmjit::x86::Mem stack(i32 offset, u32 size = 0) { return asmjit::x86::ptr(asmjit::x86::rsp, offset, size); }
inline bool fits_i32(u64 v) { return static_cast<i64>(v) == static_cast<i32>(static_cast<u32>(v)); }
inline u64 truncate(u64 v, ir::Type t) { return t == ir::Type::I64 ? v : v & ((u64{1} << ir::width_of(t)) - 1); }

struct Slot {
    u32 offset = 0;
    ir::Type type = ir::Type::Void;
    bool dirty = false;
    u16 value = kNone;  // root value that is its content; kNone: only memory knows
};

// How to store one dirty slot, as of a point in the code.
struct DirtySlot {
    u32 offset = 0;
    ir::Type type = ir::Type::Void;
    enum class From : u8 { Register, Constant, Frame, Stack } from = From::Register;
    Reg reg = 0;
    i32 where = 0;  // Frame, Stack: displacement
    u64 imm = 0;
};

class Registers {
public:
    explicit Registers(HostCode& code) : code_(code) {}
    void configure(const StateLayout& layout);
    void begin(const ir::Block& block);
    // False when the block needed more spill cells or slots than there are, or accessed a slot in two types (other than a
    // V256 and its halves, see jit/ir/ir.h).
    [[nodiscard]] bool ok() const { return ok_; }

    std::vector<ValueInfo>& values() { return values_; }
    ValueInfo& info(u16 v) { return values_[v]; }
    u16 root(u16 v) const { return values_[v].root; }
    ValueInfo& root_info(u16 v) { return values_[values_[v].root]; }

    // One IR instruction: registers named between begin_inst and end_inst stay where they are, values that die at it are
    // released at its end.
    void begin_inst(u16 index) {
        now_ = index;
        locked_ = 0;
        temps_ = 0;
        touched_.clear();
    }
    void end_inst();

    Reg use(u16 v);                      // in a register
    Reg temp(bool vector = false);       // scratch until end_inst
    Reg define(u16 v);                   // a fresh register for a result
    Reg define_copy(u16 v, u16 source);  // holding source's value; its own register when it dies here
    Reg define_over(u16 v, u16 source);  // content undefined; source's register (already used) when it dies here
    void define_in(u16 v, Reg r);        // result is in r, which is claimed
    void alias(u16 v, u16 source);       // v is a view of source
    Reg claim(Reg r);                    // a fixed register as scratch; its content moves elsewhere
    Reg claim_with(Reg r, u16 v);        // a fixed register holding a copy of v that may be changed
    // A pair of scratch registers (temp()) that stays beyond end_inst as long as nobody needs the room: forgotten when the
    // registers run out and at calls.
    void keep_pair(Reg first, Reg second);
    void drop_pair();
    [[nodiscard]] bool has_pair() const { return pair_ != 0; }
    void lock_pair() { locked_ |= pair_; }
    void note_use(u16 v) { touched_.push_back(root(v)); }

    [[nodiscard]] bool dies(u16 v) const {
        const ValueInfo& r = values_[values_[v].root];
        return r.last_use <= now_ && r.dirty == 0;
    }
    // The value's constant, in type t.
    bool constant(u16 v, u64& out) const;
    // True when v can be a memory operand of an instruction of its type: it is not in a register and not wanted in one.
    // Vectors only where the instruction takes unaligned operands (VEX).
    bool in_memory(u16 v, asmjit::x86::Mem& out);
    // Whether the register bits above v's type are zero.
    [[nodiscard]] bool is_clean(u16 v) const;

    void get_state(u16 v, u32 offset, ir::Type type);
    void set_state(u32 offset, ir::Type type, u16 v);
    void forget_slot(u32 offset);  // drops a pending write of the slot
    void flush_all(u32 except_offset);
    void snapshot_dirty(std::vector<DirtySlot>& out) const;
    // Where v is now, and its type; `offset` is free for the caller.
    [[nodiscard]] DirtySlot place_of(u16 v) const;
    void make_const(u16 v, u64 imm);

    // Before a call that writes state, with everything flushed: values whose home is a slot are taken out of it, and no
    // slot's content is known any more.
    void forget_slots();
    // Before a call: moves what is needed after it out of the caller-saved registers, which belong to nobody afterwards (but
    // still hold what they held).
    void save_for_call();
    // Whether upper halves of vector registers may be other than zero. The host's own code runs, and blocks are left,
    // without (Intel SDM vol. 1, 14.1.2: VZEROUPPER).
    [[nodiscard]] bool upper_halves() const { return upper_halves_; }
    void clear_upper_halves();
    [[nodiscard]] bool vectors_live() const { return (~free_ & kVectorMask) != 0; }
    [[nodiscard]] Reg reg_of(u16 v) const { return values_[root(v)].reg; }
    void load(u16 root, Reg r);
    void copy(Reg to, Reg from, ir::Type type);

private:
    static constexpr unsigned kMaxSlots = 250;

    [[nodiscard]] ir::Type type_of(u16 v) const { return block_->insts[v].type; }
    [[nodiscard]] bool vector(u16 v) const { return ir::is_vector(type_of(v)); }
    [[nodiscard]] bool needed(const ValueInfo& v) const { return v.last_use > now_ || v.dirty != 0; }
    Reg allocate(u32 candidates);
    [[nodiscard]] unsigned eviction_cost(Reg r) const;
    void evict(u16 v);
    void vacate(Reg r);
    void bind(u16 v, Reg r);
    void unbind(u16 v);  // its register becomes free
    void give_home(u16 v);
    void detach_slots(u16 v);
    void release_if_dead(u16 v);
    void release_later(u16 v);
    Slot* slot_at(u32 offset, ir::Type type);
    Slot* known_slot(u32 offset, ir::Type type);
    Slot* whole_of(u32 offset);
    void get_half(u16 v, u32 offset, Slot& whole);
    void set_half(u32 offset, u16 v, Slot& whole);
    void displace(Slot& slot);
    void store_slot(Slot& slot);
    void flush(Slot& slot);
    asmjit::x86::Mem home_of(const ValueInfo& v, unsigned size) const;
    asmjit::x86::Mem cell(u16 index, bool is_vector) const;

    HostCode& code_;
    const ir::Block* block_ = nullptr;
    std::vector<ValueInfo> values_;
    std::vector<Slot> slots_;
    std::vector<u16> slot_index_;  // by offset
    std::vector<u16> touched_;
    u16 owner_[32] = {};
    u32 free_ = 0;
    u32 locked_ = 0;
    u32 temps_ = 0;
    u32 pair_ = 0;
    u64 general_cells_ = 0;  // free spill cells
    u64 vector_cells_ = 0;
    u16 now_ = 0;
    bool ok_ = true;
    bool upper_halves_ = false;
};

}  // namespace tandem::jit::baseline
