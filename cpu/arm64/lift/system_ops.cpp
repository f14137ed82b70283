// Hints, barriers, flag manipulation, PSTATE and system registers: decode/branch_system.inc.
#include <optional>

#include "cpu/arm64/lift/helpers.h"
#include "cpu/arm64/lift/lifter.h"

namespace tandem::cpu::arm64 {
namespace {

constexpr u32 kPstateSlot = offsetof(State, pstate);

constexpr SysregName name_of(u32 word) { return {static_cast<u16>(word >> 5)}; }

// A register that is read and written as a plain slot wherever its exception level allows it at all: the ones on hot paths.
struct DirectRegister {
    SysregName name;
    u32 slot;
    u8 read_el;
    u8 write_el;
    bool redirected;  // names another register under the EL2&0 regime
};
constexpr u32 sys_slot(std::size_t field) { return static_cast<u32>(offsetof(State, sys) + field); }
constexpr DirectRegister kDirect[] = {
    {SysregName::of(3, 3, 13, 0, 2), sys_slot(offsetof(Sysregs, tpidr_el0)), 0, 0, false},
    {SysregName::of(3, 3, 13, 0, 3), sys_slot(offsetof(Sysregs, tpidrro_el0)), 0, 1, false},
    {SysregName::of(3, 0, 13, 0, 4), sys_slot(offsetof(Sysregs, tpidr_el1)), 1, 1, false},
    {SysregName::of(3, 4, 13, 0, 2), sys_slot(offsetof(Sysregs, tpidr_el2)), 2, 2, false},
    {SysregName::of(3, 0, 4, 0, 1), sys_slot(offsetof(Sysregs, elr_el1)), 1, 1, true},
    {SysregName::of(3, 0, 4, 0, 0), sys_slot(offsetof(Sysregs, spsr_el1)), 1, 1, true},
};

std::optional<u32> direct_slot(const Lifter& l, SysregName name, bool write) {
    const ModeBits mode = l.mode;
    if (name == SysregName::of(3, 0, 4, 1, 0)) {  // SP_EL0, UNDEFINED while it is the current stack pointer
        if (mode.el() == 0 || !mode.has(ModeBits::kSpSel)) return std::nullopt;
        return static_cast<u32>(offsetof(State, sp));
    }
    for (const DirectRegister& r : kDirect) {
        if (r.name != name || mode.el() < (write ? r.write_el : r.read_el)) continue;
        if (r.redirected && mode.has(ModeBits::kHost)) return std::nullopt;
        return r.slot;
    }
    return std::nullopt;
}

constexpr SysregName kDaif = SysregName::of(3, 3, 4, 2, 1);
constexpr SysregName kNzcv = SysregName::of(3, 3, 4, 2, 0);
constexpr SysregName kCurrentEl = SysregName::of(3, 0, 4, 2, 2);

// PACIASP and its like on register 30 or 17.
void pauth_hint(Lifter& l, unsigned reg, Value modifier, bool key_b, bool authenticate) {
    if (!l.model.has(Feature::PAuth) || !l.mode.has(key_b ? ModeBits::kPauthIb : ModeBits::kPauthIa)) return;
    l.check_pauth_trap();
    const auto key = static_cast<u32>(key_b ? PauthKey::Ib : PauthKey::Ia);
    const HelperId id = authenticate ? HelperId::pointer_authenticate : HelperId::pointer_sign;
    l.set_x(reg, l.call(id, {l.x(reg), modifier, l.imm32(key)}));
}

}  // namespace

void lift_hint(Lifter& l) {
    constexpr unsigned kWfe = 2, kWfi = 3, kSev = 4, kSevl = 5, kYield = 1, kXpaclri = 7, kEsb = 16;
    const unsigned number = l.field(11, 5);
    switch (number) {
        case kYield: l.call(HelperId::spin_wait); return;
        case kWfe: l.call(HelperId::wait_for_event, {l.imm64(l.next)}); return;
        case kWfi: l.call(HelperId::wait_for_interrupt, {l.imm64(l.next)}); return l.leave_next();
        case kSev:
        case kSevl:
            l.tells_others();
            l.call(HelperId::send_event, {l.imm32(number == kSevl ? 1 : 0)});
            return;
        case kXpaclri:
            if (l.model.has(Feature::PAuth)) l.set_x(30, l.call(HelperId::pointer_strip, {l.x(30), l.imm32(0)}));
            return;
        case kEsb:
            if (l.model.has(Feature::RAS)) l.call(HelperId::error_barrier);
            return;
        case 8: return pauth_hint(l, 17, l.x(16), false, false);
        case 10: return pauth_hint(l, 17, l.x(16), true, false);
        case 12: return pauth_hint(l, 17, l.x(16), false, true);
        case 14: return pauth_hint(l, 17, l.x(16), true, true);
        case 24: return pauth_hint(l, 30, l.imm64(0), false, false);
        case 25: return pauth_hint(l, 30, l.x_sp(31), false, false);
        case 26: return pauth_hint(l, 30, l.imm64(0), true, false);
        case 27: return pauth_hint(l, 30, l.x_sp(31), true, false);
        case 28: return pauth_hint(l, 30, l.imm64(0), false, true);
        case 29: return pauth_hint(l, 30, l.x_sp(31), false, true);
        case 30: return pauth_hint(l, 30, l.imm64(0), true, true);
        case 31: return pauth_hint(l, 30, l.x_sp(31), true, true);
        default: return;  // NOP
    }
}

void lift_dmb(Lifter& l) {
    // Loads are in order on the host, and so are stores.
    if ((l.field(9, 8) & 3) == 3) l.b.fence();
}

void lift_dsb(Lifter& l) {
    l.b.fence();
    l.call(HelperId::synchronize);
}

void lift_isb(Lifter& l) { l.continue_in_mode(); }

void lift_cfinv(Lifter& l) { l.set_nzcv(l.b.xor_(l.nzcv(), l.imm64(pstate::kC))); }

// DDI 0487, C6.2 XAFlag and AXFlag: between the external and Arm's form of a floating-point comparison.
void lift_xaflag(Lifter& l) {
    auto& b = l.b;
    const Value c = l.flag_c();
    const Value z = l.flag_z();
    const Value not_c = l.not1(c);
    const Value not_z = l.not1(z);
    l.flags_of(b.and_(not_c, not_z), b.and_(z, c), b.or_(c, z), b.and_(not_c, z));
}

void lift_axflag(Lifter& l) {
    auto& b = l.b;
    const Value c = l.flag_c();
    const Value z = l.flag_z();
    const Value v = l.flag_v();
    const Value no = l.imm(Type::I8, 0);
    l.flags_of(no, b.or_(z, v), b.and_(c, l.not1(v)), no);
}

void lift_msr_immediate(Lifter& l) {
    const unsigned op1 = l.field(18, 16);
    const unsigned op2 = l.field(7, 5);
    const bool daif_set = op1 == 3 && op2 == 6;
    const bool daif_clear = op1 == 3 && op2 == 7;
    if (l.mode.el() != 0 && (daif_set || daif_clear)) {
        const u64 bits = u64{l.field(11, 8)} << 6;
        const Value old = l.get(Type::I64, kPstateSlot);
        l.set(kPstateSlot, daif_set ? l.b.or_(old, l.imm64(bits)) : l.b.andi(old, ~bits));
        l.retire();
        if (daif_clear || (bits & pstate::kD) != 0) l.call(HelperId::take_interrupts, {l.imm64(l.next)});
        return;
    }
    l.call(HelperId::write_pstate_field, {l.imm32(l.word)});
    l.continue_in_mode();
}

void lift_sys(Lifter& l) {
    constexpr SysregName kDcZva = SysregName::of(1, 3, 7, 4, 1);
    if (name_of(l.word) == kDcZva) {
        l.tells_others();
        l.call(HelperId::zero_block, {l.imm32(l.word), l.x(l.rt())});
        return;
    }
    l.call(HelperId::system_instruction, {l.imm32(l.word), l.x(l.rt())});
    if (l.mode.single()) l.leave_next();
}

void lift_msr(Lifter& l) {
    const SysregName name = name_of(l.word);
    if (const auto slot = direct_slot(l, name, true)) return l.set(*slot, l.x(l.rt()));
    l.tells_others();  // some generate interrupts
    if (name == kNzcv) return l.set_nzcv(l.b.andi(l.x(l.rt()), pstate::kNzcv));
    if (name == kDaif && l.mode.el() != 0) {
        const Value rest = l.b.andi(l.get(Type::I64, kPstateSlot), ~pstate::kDaif);
        l.set(kPstateSlot, l.b.or_(rest, l.b.andi(l.x(l.rt()), pstate::kDaif)));
        l.retire();
        l.call(HelperId::take_interrupts, {l.imm64(l.next)});
        return;
    }
    l.call(HelperId::write_sysreg, {l.imm32(l.word), l.x(l.rt())});
    l.continue_in_mode();
}

void lift_mrs(Lifter& l) {
    const SysregName name = name_of(l.word);
    if (const auto slot = direct_slot(l, name, false)) return l.set_x(l.rt(), l.get(Type::I64, *slot));
    if (name == kNzcv) return l.set_x(l.rt(), l.nzcv());
    if (name == kDaif && l.mode.el() != 0) {
        return l.set_x(l.rt(), l.b.andi(l.get(Type::I64, kPstateSlot), pstate::kDaif));
    }
    if (name == kCurrentEl && l.mode.el() != 0) return l.set_x(l.rt(), l.imm64(u64{l.mode.el()} << pstate::kElShift));
    l.call(HelperId::read_sysreg, {l.imm32(l.word)});
    l.set_x(l.rt(), l.scratch(0));
}

}  // namespace tandem::cpu::arm64
