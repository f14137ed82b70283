// Branches, exception generation and returns: decode/branch_system.inc.
#include "cpu/arm64/lift/helpers.h"
#include "cpu/arm64/lift/lifter.h"

namespace tandem::cpu::arm64 {
namespace {

using jit::ir::JumpHint;

constexpr unsigned kLinkRegister = 30;

// Rn of an authenticating branch (BRAA and its like; RETAA uses the link register with SP as the modifier).
Value authenticated(Lifter& l, unsigned reg, Value modifier) {
    const bool key_b = l.is(10);
    const Value pointer = l.x(reg);
    if (!l.mode.has(key_b ? ModeBits::kPauthIb : ModeBits::kPauthIa)) return pointer;
    l.check_pauth_trap();
    const auto key = static_cast<u32>(key_b ? PauthKey::Ib : PauthKey::Ia);
    return l.call(HelperId::pointer_authenticate, {pointer, modifier, l.imm32(key)});
}

}  // namespace

void lift_udf(Lifter& l) { l.undefined(); }

void lift_b(Lifter& l) {
    const u64 target = l.pc + (static_cast<u64>(l.sfield(25, 0)) << 2);
    if (l.is(31)) l.set_x(kLinkRegister, l.imm64(l.next));
    l.count(Counted::Branch);
    l.jump(target);
}

void lift_b_cond(Lifter& l) {
    const u64 target = l.pc + (static_cast<u64>(l.sfield(23, 5)) << 2);
    const unsigned cond = l.field(3, 0);
    if (cond >= 14) {
        l.count(Counted::Branch);
        return l.jump(target);
    }
    l.branch(l.condition(cond), target);
}

void lift_cbz(Lifter& l) {
    const u64 target = l.pc + (static_cast<u64>(l.sfield(23, 5)) << 2);
    l.branch(l.b.icmpi(l.is(24) ? Cond::Ne : Cond::Eq, l.x(l.rt(), l.int_type()), 0), target);
}

void lift_tbz(Lifter& l) {
    const u64 target = l.pc + (static_cast<u64>(l.sfield(18, 5)) << 2);
    const unsigned n = l.field(31, 31) << 5 | l.field(23, 19);
    const Value tested = l.b.andi(l.x(l.rt()), u64{1} << n);
    l.branch(l.b.icmpi(l.is(24) ? Cond::Ne : Cond::Eq, tested, 0), target);
}

// BR, BLR, RET and their authenticating forms; opc in bits 24:21.
void lift_br(Lifter& l) {
    const unsigned opc = l.field(24, 21);
    const bool pauth = l.is(11);
    const bool ret = (opc & 3) == 2;
    const bool link = (opc & 3) == 1;
    Value target = kNone;
    if (!pauth) {
        target = l.x(l.rn());
    } else if (ret) {
        target = authenticated(l, kLinkRegister, l.x_sp(31));
    } else {
        target = authenticated(l, l.rn(), (opc & 8) != 0 ? l.x_sp(l.field(4, 0)) : l.imm64(0));
    }
    if (link) l.set_x(kLinkRegister, l.imm64(l.next));
    // BTypeNext: 2 for calls; 1 for BR through X16 and X17, and through any register on pages that are not guarded; else 3.
    if (!ret && l.mode.has(ModeBits::kBti)) {
        const bool known = link || l.rn() == 16 || l.rn() == 17;
        l.set_btype(known ? l.imm64(link ? 2 : 1) : l.zext64(l.call(HelperId::jump_type)));
    }
    l.jump_indirect(target, ret ? JumpHint::Return : link ? JumpHint::Call : JumpHint::None);
}

void lift_eret(Lifter& l) {
    const bool pauth = l.is(11);
    Value target = l.imm64(0);
    const bool enabled = pauth && l.mode.has(l.is(10) ? ModeBits::kPauthIb : ModeBits::kPauthIa) && l.mode.el() != 0;
    if (enabled) {
        l.check_pauth_trap();
        const std::size_t slot = l.mode.el() == 2 ? offsetof(Sysregs, elr_el2) : offsetof(Sysregs, elr_el1);
        const Value address = l.get(Type::I64, static_cast<u32>(offsetof(State, sys) + slot));
        const auto key = static_cast<u32>(l.is(10) ? PauthKey::Ib : PauthKey::Ia);
        target = l.call(HelperId::pointer_authenticate, {address, l.x_sp(31), l.imm32(key)});
    }
    if (l.mode.el() != 0) l.retire();
    l.call(HelperId::exception_return, {l.imm32(enabled ? 1 : 0), target});
    l.leave();
}

void lift_svc(Lifter& l) {
    l.retire();
    l.call(HelperId::supervisor_call, {l.imm32(l.field(20, 5))});
    l.leave();
}

void lift_hvc(Lifter& l) {
    l.call(HelperId::hypervisor_call, {l.imm32(l.field(20, 5))});
    l.leave();
}

void lift_smc(Lifter& l) {
    l.call(HelperId::secure_monitor_call, {l.imm32(l.field(20, 5))});
    l.leave();
}

void lift_brk(Lifter& l) {
    l.call(HelperId::breakpoint_instruction, {l.imm32(l.field(20, 5))});
    l.leave();
}

}  // namespace tandem::cpu::arm64
