// What every lift function works with: the builder, the decoded instruction, the mode, and x86's operands, memory, stack,
// flags and block ends expressed in IR. One Lifter lifts one block.
//
// Precise exceptions: a lift function reads and checks everything that can fault first, and sets registers and flags last.
#pragma once

#include <optional>
#include <span>

#include "cpu/x86/decode/instruction.h"
#include "cpu/x86/helpers.h"
#include "cpu/x86/lift/helpers.h"
#include "cpu/x86/mode.h"
#include "cpu/x86/system/system.h"
#include "cpu/x86/translate_state.h"
#include "jit/ir/builder.h"

namespace tandem::cpu::x86 {

using jit::ir::Cond;
using jit::ir::Op;
using jit::ir::Type;
using jit::ir::Value;

constexpr Value kNone = jit::ir::kNoValue;

// An address of guest memory: base + disp, the displacement free of charge in memory operations.
struct Address {
    Value base = kNone;
    u64 disp = 0;
};

class Lifter {
public:
    Lifter(jit::ir::Block& block, const CpuModel& cpu_model, ModeBits mode_bits)
        : b(block), mode(mode_bits), model(cpu_model) {}

    jit::ir::Builder b;
    const ModeBits mode;
    const CpuModel& model;
    Instruction insn;
    u64 pc = 0;               // of the current instruction
    u64 next = 0;             // pc of the next one
    u32 arg = 0;              // LiftRow::arg of the current instruction
    u64 sought_pc = ~u64{0};  // the instruction before which execution may be left (jit::Hold)
    bool in_shadow = false;   // the current instruction stands in an interrupt shadow
    u64 sp_bias = 0;          // added to rSP where it is an address's base: POP computes its destination after the increment

    // True when a terminator was emitted.
    [[nodiscard]] bool ended() const { return ended_; }
    // Called by the block loop for each instruction.
    void begin_instruction(const Instruction& i, u64 at);

    // --- Operands. `i` indexes insn.op.
    [[nodiscard]] const Operand& op(unsigned i) const { return insn.op[i]; }
    [[nodiscard]] bool is_mem(unsigned i) const;
    [[nodiscard]] Type type(unsigned i) const { return jit::ir::int_type(op(i).size); }
    [[nodiscard]] unsigned width(unsigned i) const { return op(i).size * 8u; }
    // Register, immediate (of operand 0's type unless `t` is given) or memory operand. A memory operand that is written
    // too (op().access) is loaded for writing. Its address is computed once per instruction.
    Value read(unsigned i);
    Value read_imm(unsigned i, Type t) { return b.konst(t, static_cast<u64>(op(i).imm)); }
    // Register or memory operand; `v` has the operand's type. May fault when memory that was not read before.
    void write(unsigned i, Value v);
    // Register operand `i` becomes `v` when `cond` (I8) is 1, else it keeps all its 64 bits.
    void write_when(Value cond, unsigned i, Value v);
    // The checked linear address of memory operand `i`. size: bytes accessed; 0 takes the operand's.
    Address address(unsigned i, unsigned size = 0);
    // Its operand displaced by `extra` (of the address size) more, instead; becomes the instruction's address.
    Address address_beyond(unsigned i, Value extra);
    // The same as one value.
    Value linear(unsigned i, unsigned size = 0) { return flat(address(i, size)); }
    Value flat(const Address& a) { return b.addi(a.base, a.disp); }

    // --- General-purpose registers. bytes: 1, 2, 4, 8. Writing 4 bytes clears the upper half.
    Value gpr(unsigned reg, unsigned bytes);
    void set_gpr(unsigned reg, Value v);
    Value gpr_high(unsigned reg);
    void set_gpr_high(unsigned reg, Value v);
    static constexpr u32 gpr_slot(unsigned reg) { return static_cast<u32>(offsetof(State, gpr) + 8 * reg); }

    // --- Any state slot.
    Value get(Type t, u32 slot) { return b.get(t, slot); }
    void set(u32 slot, Value v) { b.set(slot, v); }
    void set_rip(Value v) { b.set(offsetof(State, rip), v); }
    Value scratch(unsigned i) { return b.get(Type::I64, static_cast<u32>(offsetof(TranslateState, scratch) + 8 * i)); }
    Value konst(Type t, u64 v) { return b.konst(t, v); }
    // Zero-extended to 64 bits; reuses an extension made a moment ago.
    Value zext64(Value v);

    // --- Memory. MMU index and alignment checking follow the mode; `flags` adds ir::MemFlags.
    Value load(Type t, const Address& a, u32 flags = 0);
    void store(const Address& a, Value v, u32 flags = 0);
    [[nodiscard]] u32 mem_flags(unsigned bytes) const;
    // Atomic read-modify-write of memory operand `i`; the old value.
    Value atomic(Op op, unsigned i, Value v) { return b.atomic(op, linear(i), v, mem_flags(this->op(i).size)); }
    // Offset (2, 4 or 8 bytes wide) in a segment to a checked linear address.
    Address segmented(unsigned seg, Value offset, unsigned size, bool write, u64 disp = 0);
    // Effective address of a memory operand at the address size, without segment (LEA).
    Value effective(const MemoryOperand& m, unsigned address_size);

    // --- Stack. Offsets wrap at the stack's width; nothing but set_sp() writes rSP.
    Value sp();            // stack_bytes() wide
    void set_sp(Value v);  // of that width
    Address stack(Value offset, unsigned size, bool write) { return segmented(SS, offset, size, write); }
    void push(Value v);  // stores, then sets rSP
    Value pop(Type t);   // loads; the caller then calls drop()
    void drop(unsigned bytes) { set_sp(b.addi(sp(), bytes)); }

    // --- Arithmetic flags (see translate_state.h). Operands have the result's type; first and second are needed where the
    // kind uses them. `src2` is the I8 carry in.
    void flags_add(Value result, Value first, Value second);
    void flags_sub(Value result, Value first, Value second);
    void flags_adc(Value result, Value first, Value second, Value carry);
    void flags_sbb(Value result, Value first, Value second, Value borrow);
    void flags_logic(Value result);
    // Inc, Dec (src: I8 carry kept), Shl, Shr, Mul, Blsi ...: dst and src as translate_state.h says.
    void flags_of(CcKind kind, Value dst, Value src);
    // flags_of() when `cond` (I8) is 1, else unchanged.
    void flags_when(Value cond, CcKind kind, Value dst, Value src);
    // Explicit flags in their EFLAGS positions, I64, other bits zero.
    void set_flags(Value flags);
    // The six flags in their EFLAGS positions, I64.
    Value flags();
    // Replaces the flags of `mask` by those of `value` (I64, EFLAGS positions, only bits of mask set).
    void merge_flags(u64 mask, Value value);
    // Replaces CF, OF or both (0 or 1, any width; kNone leaves it) and leaves the other flags.
    void override_flags(Value cf, Value of);
    // The same when `cond` (I8) is 1.
    void override_flags_when(Value cond, Value cf, Value of);
    void set_carry(Value cf) { override_flags(cf, kNone); }
    Value flag(u64 eflags_bit);  // one of CF PF AF ZF SF OF as I8 0 or 1
    Value carry() { return flag(eflags::CF); }
    Value condition(unsigned cc);  // Jcc's condition code 0..15 as I8 0 or 1
    // 0/1 value at the position of one flag, I64.
    Value at_flag(u64 eflags_bit, Value zero_or_one);

    // --- Helpers and exceptions.
    Value call(HelperId helper, std::initializer_list<Value> args = {});
    Value imm32(u64 v) { return b.konst(Type::I32, v); }
    Value imm64(u64 v) { return b.konst(Type::I64, v); }
    // #vector(error) when `cond` (I8) is 1: a check, before the instruction changes state.
    void raise_if(Value cond, Vector vector, u32 error = 0);
    // Ends the block.
    void raise(Vector vector, u32 error = 0);

    // --- Ends of the block. Targets are checked against the code segment where the mode asks for it and wrap at the
    // operand size (near branches).
    [[nodiscard]] u64 wrap_target(u64 target) const;
    void jump(u64 target);
    void branch(Value cond, u64 target);  // else: next
    // Single-stepping on branches (DEBUGCTL.BTF); jump(), branch() and jump_indirect() do it themselves. `taken`: I8.
    void note_branch(Value taken);
    // What DEBUGCTL.LBR records, which note_branch() does too.
    void note_last_branch(Value taken);
    void jump_indirect(Value target, jit::ir::JumpHint hint);  // any width, zero-extended
    // #GP(0) at the branch when its target lies outside the code segment or is not canonical (and, where `taken` is given,
    // that is 1). Before state changes.
    void check_target(Value target, Value taken = kNone);
    // The instruction is complete and translation inputs may have changed: continue at the next one through the dispatcher.
    void leave_next();
    // The same, but the block goes on when the mode turns out to be the old one.
    void continue_in_mode();
    // STI: the next instruction runs before any interrupt is taken, in this block or under the shadow.
    void open_shadow() { shadow_open_ = true; }
    // The helper has set rip (far transfers).
    void leave(LeaveReason why = LeaveReason::Lookup);
    // Straight on into a block at `at` (block limits).
    void fall_through(u64 at);

private:
    // What is known about the flags at this point of the block.
    struct KnownFlags {
        bool known = false;
        CcKind kind = CcKind::Explicit;
        u8 bytes = 1;
        Value first = kNone, second = kNone;  // operands of Add, Adc, Sub, Sbb
        Value dst = kNone;                    // result, of its own type
        Value src = kNone;                    // other kinds; Explicit: the I64 flags
        Value carry_in = kNone;
        Value carry = kNone;  // CF as I8 when it is at hand
        // CF and OF as I8 when they do not follow from the rest, even if that is unknown.
        Value new_carry = kNone, new_overflow = kNone;
    };
    void store_flags(CcKind kind, unsigned bytes, Value dst, Value src, Value src2);
    Value known_carry();
    Value known_overflow();
    Value known_zero();
    Value known_sign();
    Value known_parity();
    Value is_negative(Value v) { return b.icmpi(Cond::Slt, v, 0); }
    Value not1(Value v) { return b.xor_(v, b.konst(Type::I8, 1)); }
    std::optional<Value> direct_condition(unsigned cc);
    Value composed_condition(unsigned cc);
    Value override_bits(Value cf, Value of, u64& replaced);
    Value unknown_condition(unsigned cc);
    Value outside_code(Value target64);
    Value limited(unsigned seg, Value offset64, unsigned size);
    void finish(Value rip);

    bool ended_ = false;
    bool falling_through_ = false;
    bool shadow_open_ = false;  // the instruction before was an STI that left its shadow to this block
    Address address_;           // of the current instruction's memory operand
    KnownFlags flags_;
    std::optional<u32> cc_op_;  // what the cc_op slot holds, where known
};

// One opcode's lift function. Tables of rows are listed in tables.inc; each is `std::span<const LiftRow> NAME_rows()`.
struct LiftRow {
    Opcode opcode;
    void (*lift)(Lifter&);
    u32 arg = 0;  // Lifter::arg, for functions that serve several opcodes
};
// In guest mode, before the instruction: its intercepts (svm.cpp).
void lift_intercepts(Lifter& l);

#define TANDEM_X86_LIFT_TABLE(name) std::span<const LiftRow> name##_rows();
#include "cpu/x86/lift/tables.inc"
#undef TANDEM_X86_LIFT_TABLE

}  // namespace tandem::cpu::x86
