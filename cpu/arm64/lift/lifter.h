// What every lift function works with: the builder, the instruction word, the mode, and AArch64's registers, memory, flags
// and block ends expressed in IR. One Lifter lifts one block.
//
// Precise exceptions: a lift function reads and checks everything that can fault first, and sets registers and flags last.
#pragma once

#include <cstddef>
#include <initializer_list>

#include "base/bits.h"
#include "cpu/arm64/decode/rows.h"
#include "cpu/arm64/helpers.h"
#include "cpu/arm64/lift/functions.h"
#include "cpu/arm64/mode.h"
#include "cpu/arm64/system/system.h"
#include "cpu/arm64/translate_state.h"
#include "jit/ir/builder.h"

namespace tandem::cpu::arm64 {

using jit::ir::Cond;
using jit::ir::LeaveReason;
using jit::ir::MemFlags;
using jit::ir::Op;
using jit::ir::Type;
using jit::ir::Value;

constexpr Value kNone = jit::ir::kNoValue;

// An address of guest memory: base + disp, the displacement free of charge in memory operations.
struct Address {
    Value base = kNone;
    u64 disp = 0;
};

// An address and what becomes of its base register once the access has succeeded.
struct Addressing {
    Address at;
    bool write_back = false;
    Value new_base = kNone;
};

class Lifter {
public:
    Lifter(jit::ir::Block& block, const CpuModel& cpu_model, ModeBits mode_bits)
        : b(block), mode(mode_bits), model(cpu_model) {}

    jit::ir::Builder b;
    const ModeBits mode;
    const CpuModel& model;
    u32 word = 0;
    u64 pc = 0;    // of the current instruction
    u64 next = 0;  // pc + 4

    // True when a terminator was emitted.
    [[nodiscard]] bool ended() const { return ended_; }
    // Called by the block loop for each instruction.
    void begin_instruction(u32 instruction, u64 at);

    // --- Fields of the word
    [[nodiscard]] u32 field(unsigned high, unsigned low) const { return static_cast<u32>(bits(word, high, low)); }
    [[nodiscard]] i64 sfield(unsigned high, unsigned low) const { return sign_extend(field(high, low), high - low + 1); }
    [[nodiscard]] bool is(unsigned index) const { return bit(word, index); }
    [[nodiscard]] unsigned rd() const { return field(4, 0); }
    [[nodiscard]] unsigned rt() const { return field(4, 0); }
    [[nodiscard]] unsigned rn() const { return field(9, 5); }
    [[nodiscard]] unsigned rm() const { return field(20, 16); }
    [[nodiscard]] unsigned rs() const { return field(20, 16); }
    [[nodiscard]] unsigned ra() const { return field(14, 10); }
    [[nodiscard]] unsigned rt2() const { return field(14, 10); }
    // Bit 31: 64-bit form.
    [[nodiscard]] bool sf() const { return is(31); }
    [[nodiscard]] Type int_type() const { return sf() ? Type::I64 : Type::I32; }
    [[nodiscard]] unsigned width() const { return sf() ? 64 : 32; }

    // --- Registers. Register 31 is the zero register in x() and set_x(), the stack pointer in the _sp forms.
    Value x(unsigned reg, Type t = Type::I64);
    Value x_sp(unsigned reg, Type t = Type::I64);
    // `v` of any integer type, zero-extended.
    void set_x(unsigned reg, Value v);
    void set_x_sp(unsigned reg, Value v);
    Value v(unsigned reg) { return b.get(Type::V128, v_slot(reg)); }
    void set_v(unsigned reg, Value value) { b.set(v_slot(reg), value); }
    static constexpr u32 x_slot(unsigned reg) { return static_cast<u32>(offsetof(State, x) + 8 * reg); }
    static constexpr u32 v_slot(unsigned reg) { return static_cast<u32>(offsetof(State, v) + 16 * reg); }
    [[nodiscard]] u32 sp_slot() const { return static_cast<u32>(offsetof(State, sp) + 8 * mode.sp_index()); }

    // --- Any state slot.
    Value get(Type t, u32 slot) { return b.get(t, slot); }
    void set(u32 slot, Value value) { b.set(slot, value); }
    Value scratch(unsigned i) { return b.get(Type::I64, static_cast<u32>(offsetof(TranslateState, scratch) + 8 * i)); }
    Value imm(Type t, u64 value) { return b.konst(t, value); }
    Value imm32(u64 value) { return b.konst(Type::I32, value); }
    Value imm64(u64 value) { return b.konst(Type::I64, value); }
    Value zext64(Value value) { return b.zext(Type::I64, value); }

    // --- Memory
    // MMU index and alignment checking of an ordinary access of `bytes`.
    [[nodiscard]] u32 mem_flags(unsigned bytes) const {
        return mode.data_mmu() | (mode.has(ModeBits::kAlign) && bytes > 1 ? MemFlags::kAligned : 0);
    }
    Value load(Type t, const Address& a) { return load(t, a, mem_flags(jit::ir::size_of(t))); }
    Value load(Type t, const Address& a, u32 flags);
    void store(const Address& a, Value value) { store(a, value, mem_flags(jit::ir::size_of(b.type_of(value)))); }
    void store(const Address& a, Value value, u32 flags);
    Value flat(const Address& a) { return b.addi(a.base, a.disp); }
    // The base register of an access: SP is checked for alignment (CheckSPAlignment).
    Value base_register(unsigned reg);
    // The addressing forms of the loads and stores, general and SIMD&FP alike. `log2_bytes` scales offsets.
    Addressing unsigned_offset(unsigned log2_bytes);  // imm12
    Addressing unscaled_offset();                     // imm9
    Addressing post_index();                          // imm9
    Addressing pre_index();                           // imm9
    Addressing register_offset(unsigned log2_bytes);  // Rm, extend in option and S
    Addressing pair(unsigned log2_bytes);             // imm7, its index mode in bits 24:23
    // Rn becomes what the addressing form says; after the access.
    void write_back(const Addressing& a);

    // --- Flags. Operands of one type, I32 or I64.
    void flags_add(Value a, Value rhs);
    void flags_sub(Value a, Value rhs);
    void flags_logic(Value result);
    // N, Z, C and V as I8 0 or 1.
    void flags_of(Value n, Value z, Value c, Value v);
    // NZCV in bits 31:28 of an I64, other bits zero.
    void set_nzcv(Value nzcv);
    Value nzcv();
    Value flag_n();
    Value flag_z();
    Value flag_c();
    Value flag_v();
    // ConditionHolds as I8 0 or 1.
    Value condition(unsigned cond);
    Value not1(Value value) { return b.xor_(value, b.konst(Type::I8, 1)); }

    // --- Helpers and exceptions
    Value call(HelperId helper, std::initializer_list<Value> args = {});
    void call_if(Value cond, HelperId helper, std::initializer_list<Value> args = {}) {
        b.call_if(cond, static_cast<u32>(helper), args);
    }
    // Of an enabled pointer authentication instruction: HCR_EL2.API may trap it.
    void check_pauth_trap();
    // The instruction is UNDEFINED; ends the block.
    void undefined();
    // An exception of class `ec` with `iss`, by the default routing; ends the block.
    void raise(u32 ec, u32 iss);

    // --- Ends of the block
    void jump(u64 target);
    void branch(Value cond, u64 target);                       // else: next
    void jump_indirect(Value target, jit::ir::JumpHint hint);  // BranchTo with AArch64.BranchAddr
    // The instruction is complete and translation inputs may have changed: go on at the next one through the dispatcher.
    void leave_next();
    // The same, but the block goes on when mode and interrupts turn out to be as before.
    void continue_in_mode();
    // The helper has set pc.
    void leave(LeaveReason why = LeaveReason::Lookup);
    // Straight on into a block at `at` (block limits).
    void fall_through(u64 at);
    // The instruction is complete as far as the performance monitors count; before what may leave the block.
    void retire();
    // One more of these, where they are counted.
    void count(Counted what, unsigned many = 1);
    // Where other PEs share memory: another one may know from now on of what this one has loaded (lift/atomics.cpp), or
    // knows nothing of what comes behind.
    void tells_others();
    void tells_nothing_yet();
    // PSTATE.BTYPE after an indirect branch, where it is kept (ModeBits::kBti).
    void set_btype(Value type);
    // AArch64.BranchAddr: drops the tag of an instruction address where the regime ignores it.
    Value branch_address(Value target);

private:
    // Watchpoints of an access that is about to be made.
    void watch(const Address& a, unsigned bytes, u32 access, u32 flags);

    struct KnownFlags {
        enum class Kind : u8 { Unknown, Add, Sub, Logic, Split } kind = Kind::Unknown;
        Value a = kNone, b = kNone;                        // operands; Logic: the result
        Value n = kNone, z = kNone, c = kNone, v = kNone;  // Split
    };
    void store_flags(CcOp op, Value a, Value rhs);
    Value known_result();
    Value compare_condition(unsigned test);
    void complete();
    void clear_btype();

    bool ended_ = false;
    bool told_ = false;        // tells_others() has said so
    bool retired_ = true;      // the current instruction has been counted
    bool btype_open_ = false;  // PSTATE.BTYPE may be set, and the current instruction is to clear it
    KnownFlags flags_;
    bool cc_op_known_ = false;
    u32 cc_op_ = 0;
    Value result_ = kNone;  // of the known operation
};

}  // namespace tandem::cpu::arm64
