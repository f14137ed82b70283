// Branches, calls, interrupts and far transfers (Intel SDM volume 2).
#include <array>

#include "cpu/x86/lift/lifter.h"

namespace tandem::cpu::x86 {
namespace {

using jit::ir::int_type;
using jit::ir::JumpHint;

u64 relative_target(const Lifter& l) { return l.wrap_target(l.next + static_cast<u64>(l.op(0).imm)); }

void lift_jmp(Lifter& l) {
    if (l.op(0).kind == OperandKind::Rel) {
        const u64 target = relative_target(l);
        l.check_target(l.imm64(target));
        return l.jump(target);
    }
    const Value target = l.read(0);
    l.check_target(target);
    l.jump_indirect(target, JumpHint::None);
}

// The return address is stored before the target's check fails, with rSP as it was: Intel processors do.
void call(Lifter& l, Value target) {
    const unsigned bytes = l.insn.operand_size;
    const Value top = l.b.addi(l.sp(), ~u64{bytes} + 1);
    l.store(l.stack(top, bytes, true), l.konst(int_type(bytes), l.next));
    l.check_target(target);
    l.set_sp(top);
}

void lift_call(Lifter& l) {
    if (l.op(0).kind == OperandKind::Rel) {
        const u64 target = relative_target(l);
        call(l, l.imm64(target));
        return l.jump(target);
    }
    const Value target = l.read(0);
    call(l, target);
    l.jump_indirect(target, JumpHint::Call);
}

void lift_ret(Lifter& l) {
    const unsigned bytes = l.insn.operand_size;
    const u64 released = l.insn.operand_count != 0 ? static_cast<u64>(l.op(0).imm) & 0xffff : 0;
    const Value target = l.pop(int_type(bytes));
    l.check_target(target);
    l.set_sp(l.b.addi(l.sp(), bytes + released));
    l.jump_indirect(target, JumpHint::Return);
}

void conditional(Lifter& l, Value cond) {
    const u64 target = relative_target(l);
    l.check_target(l.imm64(target), cond);
    l.branch(cond, target);
}

void lift_jcc(Lifter& l) { conditional(l, l.condition(l.insn.condition())); }

void lift_jcxz(Lifter& l) { conditional(l, l.b.icmpi(Cond::Eq, l.gpr(RCX, l.insn.address_size), 0)); }

// LOOP, LOOPE, LOOPNE: the count's width is the address size. arg: condition code, or kAlways.
constexpr u32 kAlways = 16;
void lift_loop(Lifter& l) {
    const Value count = l.b.addi(l.gpr(RCX, l.insn.address_size), ~u64{0});
    Value taken = l.b.icmpi(Cond::Ne, count, 0);
    if (l.arg != kAlways) taken = l.b.and_(taken, l.condition(l.arg));
    const u64 target = relative_target(l);
    l.check_target(l.imm64(target), taken);
    l.set_gpr(RCX, count);
    l.branch(taken, target);
}

void software(Lifter& l, Value vector, SoftwareInterrupt kind) {
    l.call(HelperId::software_interrupt, {vector, l.imm32(static_cast<u32>(kind)), l.imm64(l.next)});
    l.leave();
}

void lift_int(Lifter& l) { software(l, l.imm32(static_cast<u64>(l.op(0).imm) & 0xff), SoftwareInterrupt::IntN); }
void lift_int3(Lifter& l) { software(l, l.imm32(kBP), SoftwareInterrupt::Int3); }
void lift_int1(Lifter& l) { software(l, l.imm32(kDB), SoftwareInterrupt::Int1); }

void lift_into(Lifter& l) {
    constexpr auto kKind = static_cast<u32>(SoftwareInterrupt::Into);
    l.b.call_if(l.flag(eflags::OF), static_cast<u32>(HelperId::software_interrupt),
                {l.imm32(kOF), l.imm32(kKind), l.imm64(l.next)});
}

void lift_bound(Lifter& l) {
    const unsigned bytes = l.insn.operand_size;
    const Address a = l.address(1, 2 * bytes);
    const Value lower = l.load(int_type(bytes), a);
    const Value upper = l.load(int_type(bytes), {a.base, a.disp + bytes});
    const Value index = l.read(0);
    const Value below = l.b.icmp(Cond::Slt, index, lower);
    const Value above = l.b.icmp(Cond::Sgt, index, upper);
    l.raise_if(l.b.or_(below, above), kBR);
}

void lift_ud(Lifter& l) { l.raise(kUD); }

struct FarPointer {
    Value selector, offset;  // I32, I64
};

FarPointer far_operand(Lifter& l) {
    if (l.op(0).kind == OperandKind::Far) return {l.imm32(l.insn.selector), l.imm64(static_cast<u64>(l.op(0).imm))};
    const unsigned bytes = l.insn.operand_size;
    const Address a = l.address(0, bytes + 2);
    const Value offset = l.load(int_type(bytes), a);
    const Value selector = l.load(Type::I16, {a.base, a.disp + bytes});
    return {l.b.zext(Type::I32, selector), l.zext64(offset)};
}

// JMP_FAR, CALL_FAR. arg: HelperId.
void lift_far(Lifter& l) {
    const FarPointer target = far_operand(l);
    l.note_branch(l.konst(Type::I8, 1));
    l.call(static_cast<HelperId>(l.arg), {target.selector, target.offset, l.imm32(l.insn.operand_size), l.imm64(l.next)});
    l.leave();
}

void lift_ret_far(Lifter& l) {
    const u64 released = l.insn.operand_count != 0 ? static_cast<u64>(l.op(0).imm) & 0xffff : 0;
    l.note_branch(l.konst(Type::I8, 1));
    l.call(HelperId::far_return, {l.imm32(l.insn.operand_size), l.imm32(released)});
    l.leave();
}

void lift_iret(Lifter& l) {
    l.note_branch(l.konst(Type::I8, 1));
    l.call(HelperId::iret, {l.imm32(l.insn.operand_size), l.imm64(l.next)});
    l.leave();
}

void lift_syscall(Lifter& l) {
    l.note_last_branch(l.konst(Type::I8, 1));
    l.call(HelperId::syscall, {l.imm64(l.next)});
    l.leave();
}
void lift_sysenter(Lifter& l) {
    l.note_last_branch(l.konst(Type::I8, 1));
    l.call(HelperId::sysenter);
    l.leave();
}
// SYSRET, SYSEXIT. arg: HelperId.
void lift_sysret(Lifter& l) {
    l.note_last_branch(l.konst(Type::I8, 1));
    l.call(static_cast<HelperId>(l.arg), {l.imm32(l.insn.operand_size)});
    l.leave();
}

void lift_hlt(Lifter& l) {
    l.call(HelperId::hlt, {l.imm64(l.next)});
    l.leave(LeaveReason::Halt);
}

constexpr u32 helper_id(HelperId id) { return static_cast<u32>(id); }

constexpr auto kRows = std::to_array<LiftRow>({
    {Opcode::JMP, lift_jmp},
    {Opcode::CALL, lift_call},
    {Opcode::RET, lift_ret},
    {Opcode::JCC, lift_jcc},
    {Opcode::JCXZ, lift_jcxz},
    {Opcode::LOOP, lift_loop, kAlways},
    {Opcode::LOOPE, lift_loop, 4},
    {Opcode::LOOPNE, lift_loop, 5},
    {Opcode::INT, lift_int},
    {Opcode::INT3, lift_int3},
    {Opcode::INT1, lift_int1},
    {Opcode::INTO, lift_into},
    {Opcode::BOUND, lift_bound},
    {Opcode::UD0, lift_ud},
    {Opcode::UD1, lift_ud},
    {Opcode::UD2, lift_ud},
    {Opcode::RSM, lift_ud},  // outside system management mode
    {Opcode::JMP_FAR, lift_far, helper_id(HelperId::far_jump)},
    {Opcode::CALL_FAR, lift_far, helper_id(HelperId::far_call)},
    {Opcode::RET_FAR, lift_ret_far},
    {Opcode::IRET, lift_iret},
    {Opcode::SYSCALL, lift_syscall},
    {Opcode::SYSENTER, lift_sysenter},
    {Opcode::SYSRET, lift_sysret, helper_id(HelperId::sysret)},
    {Opcode::SYSEXIT, lift_sysret, helper_id(HelperId::sysexit)},
    {Opcode::HLT, lift_hlt},
});

}  // namespace

std::span<const LiftRow> control_rows() { return kRows; }

}  // namespace tandem::cpu::x86
