// Stack instructions and segment register loads (Intel SDM volume 2).
#include <array>

#include "cpu/x86/lift/lifter.h"

namespace tandem::cpu::x86 {
namespace {

using jit::ir::int_type;
using jit::ir::MemFlags;

constexpr u32 selector_slot(unsigned seg) {
    return static_cast<u32>(offsetof(State, seg) + seg * sizeof(Segment) + offsetof(Segment, selector));
}

// Loads a segment register; what it holds changes the translation of what follows, except for the data segments of 64-bit
// mode.
void load_segment_register(Lifter& l, unsigned seg, Value selector) {
    l.call(HelperId::load_segment, {l.imm32(seg), l.b.zext_or_trunc(Type::I32, selector), l.imm32(seg == SS ? 1 : 0)});
}
void end_after_segment(Lifter& l, unsigned seg) {
    if (seg == SS) return l.leave_next();
    if (!l.mode.is64()) l.continue_in_mode();
}

// A pushed selector is zero-extended to 64 bits, but a 16-bit store into a slot of 32 bits, as on current processors.
void push_segment(Lifter& l, unsigned seg) {
    const unsigned bytes = l.insn.operand_size;
    const Value top = l.b.addi(l.sp(), ~u64{bytes} + 1);
    const Value selector = l.get(Type::I16, selector_slot(seg));
    l.store(l.stack(top, bytes, true), bytes == 8 ? l.zext64(selector) : selector);
    l.set_sp(top);
}

void lift_push(Lifter& l) {
    if (l.op(0).kind == OperandKind::Seg) return push_segment(l, l.op(0).reg);
    l.push(l.read(0));
}

void lift_pop(Lifter& l) {
    const unsigned bytes = l.insn.operand_size;
    const Value v = l.pop(int_type(bytes));
    if (l.op(0).kind == OperandKind::Seg) {
        load_segment_register(l, l.op(0).reg, v);
        l.drop(bytes);
        return end_after_segment(l, l.op(0).reg);
    }
    if (l.is_mem(0)) {
        l.sp_bias = bytes;
        l.write(0, v);
        return l.drop(bytes);
    }
    l.drop(bytes);
    l.write(0, v);
}

void lift_pusha(Lifter& l) {
    const unsigned bytes = l.insn.operand_size;
    const Value old = l.sp();
    Value top = old;
    for (unsigned reg = RAX; reg <= RDI; ++reg) {
        top = l.b.addi(top, ~u64{bytes} + 1);
        l.store(l.stack(top, bytes, true), l.gpr(reg, bytes));
    }
    l.set_sp(top);
}

void lift_popa(Lifter& l) {
    const unsigned bytes = l.insn.operand_size;
    const Type t = int_type(bytes);
    const Value bottom = l.sp();
    std::array<Value, 8> values{};
    for (unsigned i = 0; i < 8; ++i) {
        values[7 - i] = l.load(t, l.stack(l.b.addi(bottom, u64{i} * bytes), bytes, false));
    }
    l.set_sp(l.b.addi(bottom, 8 * u64{bytes}));
    for (unsigned reg = RAX; reg <= RDI; ++reg) {
        if (reg != RSP) l.set_gpr(reg, values[reg]);
    }
}

void lift_pushf(Lifter& l) {
    l.call(HelperId::pushf, {l.imm32(l.insn.operand_size)});
    l.push(l.b.trunc(int_type(l.insn.operand_size), l.scratch(0)));
}

void lift_popf(Lifter& l) {
    const unsigned bytes = l.insn.operand_size;
    const Value image = l.pop(int_type(bytes));
    l.call(HelperId::popf, {l.zext64(image), l.imm32(bytes)});
    l.drop(bytes);
    l.continue_in_mode();
}

// The frame's own pushes go to memory first; rBP and rSP change when nothing can fault any more.
void lift_enter(Lifter& l) {
    const unsigned bytes = l.insn.operand_size;
    const unsigned stack_bytes = l.mode.stack_bytes();
    const u64 allocated = static_cast<u64>(l.op(0).imm) & 0xffff;
    const unsigned level = static_cast<unsigned>(l.op(1).imm) & 31;
    const u64 down = ~u64{bytes} + 1;
    Value top = l.b.addi(l.sp(), down);
    l.store(l.stack(top, bytes, true), l.gpr(RBP, bytes));
    const Value frame = top;
    Value outer = l.gpr(RBP, stack_bytes);
    for (unsigned i = 1; i < level; ++i) {
        outer = l.b.addi(outer, down);
        top = l.b.addi(top, down);
        const Value link = l.load(int_type(bytes), l.stack(outer, bytes, false));
        l.store(l.stack(top, bytes, true), link);
    }
    if (level != 0) {
        top = l.b.addi(top, down);
        l.store(l.stack(top, bytes, true), l.b.zext_or_trunc(int_type(bytes), frame));
    }
    const Value bottom = l.b.addi(top, ~allocated + 1);
    // The new top of the stack must be writable.
    l.load(int_type(bytes), l.stack(bottom, bytes, true), MemFlags::kForWrite);
    l.set_gpr(RBP, l.b.zext_or_trunc(int_type(bytes), frame));
    l.set_sp(bottom);
}

void lift_leave(Lifter& l) {
    const unsigned bytes = l.insn.operand_size;
    const Value frame = l.gpr(RBP, l.mode.stack_bytes());
    const Value saved = l.load(int_type(bytes), l.stack(frame, bytes, false));
    l.set_sp(l.b.addi(frame, bytes));
    l.set_gpr(RBP, saved);
}

void lift_mov_seg(Lifter& l) {
    if (l.op(0).kind == OperandKind::Seg) {
        const unsigned seg = l.op(0).reg;
        if (seg == CS || seg > GS) return l.raise(kUD);
        load_segment_register(l, seg, l.read(1));
        return end_after_segment(l, seg);
    }
    if (l.op(1).reg > GS) return l.raise(kUD);
    l.write(0, l.b.zext(l.type(0), l.get(Type::I16, selector_slot(l.op(1).reg))));
}

// LDS, LES, LSS, LFS, LGS. arg: the segment register.
void lift_load_far(Lifter& l) {
    const unsigned bytes = l.insn.operand_size;
    const Address a = l.address(1, bytes + 2);
    const Value offset = l.load(int_type(bytes), a);
    const Value selector = l.load(Type::I16, {a.base, a.disp + bytes});
    load_segment_register(l, l.arg, selector);
    l.write(0, offset);
    end_after_segment(l, l.arg);
}

constexpr auto kRows = std::to_array<LiftRow>({
    {Opcode::PUSH, lift_push},
    {Opcode::POP, lift_pop},
    {Opcode::PUSHA, lift_pusha},
    {Opcode::POPA, lift_popa},
    {Opcode::PUSHF, lift_pushf},
    {Opcode::POPF, lift_popf},
    {Opcode::ENTER, lift_enter},
    {Opcode::LEAVE, lift_leave},
    {Opcode::MOV_SEG, lift_mov_seg},
    {Opcode::LDS, lift_load_far, DS},
    {Opcode::LES, lift_load_far, ES},
    {Opcode::LSS, lift_load_far, SS},
    {Opcode::LFS, lift_load_far, FS},
    {Opcode::LGS, lift_load_far, GS},
});

}  // namespace

std::span<const LiftRow> stack_rows() { return kRows; }

}  // namespace tandem::cpu::x86
