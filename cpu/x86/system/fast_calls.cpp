// SYSCALL, SYSRET, SYSENTER, SYSEXIT: SDM volume 2; AMD APM volume 3 for SYSCALL.
#include "cpu/x86/system/internal.h"

namespace tandem::cpu::x86 {

namespace {

// Flat segments with fixed attributes.
Segment flat_code(u16 selector, unsigned level, bool wide) {
    const u16 mode = wide ? access::L : access::DB;
    return {0, 0xffffffff, selector, static_cast<u16>(0x809b | mode | level << 5)};
}
Segment flat_data(u16 selector, unsigned level) { return {0, 0xffffffff, selector, static_cast<u16>(0xc093 | level << 5)}; }

void enter(State& s, u16 cs, u16 ss, unsigned level, bool wide, u64 rip) {
    s.seg[CS] = flat_code(cs, level, wide);
    s.seg[SS] = flat_data(ss, level);
    s.rip = rip;
}

// SYSCALL and SYSRET are stepped by the TF that they load, not by the one that they began with.
void step_by_new_flags(TranslateState& t) {
    t.s.debug_trap = (t.s.debug_trap & ~dr6::BS) | ((t.s.rflags & eflags::TF) != 0 ? dr6::BS : 0);
}

}  // namespace

namespace {

// Outside IA-32e mode, AMD processors: EIP from STAR, no flags saved (APM volume 3 "SYSCALL").
LeaveReason syscall_legacy(TranslateState& t, u64 next) {
    State& s = t.s;
    s.gpr[RCX] = next & 0xffffffff;
    const auto cs = static_cast<u16>(bits(s.msr.star, 47, 32) & 0xfffc);
    enter(s, cs, static_cast<u16>(cs + 8), 0, false, s.msr.star & 0xffffffff);
    write_flags(t, 0, eflags::IF | eflags::RF | eflags::VM);
    step_by_new_flags(t);
    return LeaveReason::Lookup;
}

}  // namespace

// Intel processors offer it in 64-bit mode only.
LeaveReason syscall(TranslateState* t, u64 next) {
    State& s = t->s;
    if ((s.msr.efer & efer::SCE) == 0 || !protected_mode(s)) return raise(*t, kUD);
    if (!code64(s) && !t->model->amd()) return raise(*t, kUD);
    if (!long_mode(s)) return syscall_legacy(*t, next);
    export_flags(*t);
    s.gpr[RCX] = next;
    s.gpr[R11] = s.rflags & ~eflags::RF;
    const auto cs = static_cast<u16>(bits(s.msr.star, 47, 32) & 0xfffc);
    enter(s, cs, static_cast<u16>(cs + 8), 0, true, code64(s) ? s.msr.lstar : s.msr.cstar);
    write_flags(*t, 0, (s.msr.fmask | eflags::RF) & eflags::Defined);
    step_by_new_flags(*t);
    return LeaveReason::Lookup;
}

LeaveReason sysret(TranslateState* t, u32 opsize) {
    State& s = t->s;
    if ((s.msr.efer & efer::SCE) == 0 || !code64(s)) return raise(*t, kUD);
    if (cpl(s) != 0) return raise(*t, kGP);
    const bool wide = opsize == 8;
    const u64 rip = s.gpr[RCX];
    // AMD processors fault at the target instead.
    if (wide && !t->model->amd() && !canonical(s, rip)) return raise(*t, kGP);
    const u64 base = bits(s.msr.star, 63, 48);
    const u64 flags = s.gpr[R11];
    const auto cs = static_cast<u16>((base + (wide ? 16 : 0)) | 3);
    enter(s, cs, static_cast<u16>((base + 8) | 3), 3, wide, wide ? rip : rip & 0xffffffff);
    export_flags(*t);
    write_flags(*t, flags, eflags::Defined & ~(eflags::RF | eflags::VM));
    s.rflags &= ~eflags::RF;
    step_by_new_flags(*t);
    return LeaveReason::Lookup;
}

LeaveReason sysenter(TranslateState* t) {
    State& s = t->s;
    const auto cs = static_cast<u16>(s.msr.sysenter_cs & 0xfffc);
    // AMD processors have it in legacy mode only (APM volume 3).
    if (long_mode(s) && t->model->amd()) return raise(*t, kUD);
    if (!protected_mode(s) || cs == 0) return raise(*t, kGP);
    const bool wide = long_mode(s);
    s.rflags &= ~(eflags::VM | eflags::IF | eflags::RF);
    s.gpr[RSP] = wide ? s.msr.sysenter_esp : s.msr.sysenter_esp & 0xffffffff;
    enter(s, cs, static_cast<u16>(cs + 8), 0, wide, wide ? s.msr.sysenter_eip : s.msr.sysenter_eip & 0xffffffff);
    return LeaveReason::Lookup;
}

LeaveReason sysexit(TranslateState* t, u32 opsize) {
    State& s = t->s;
    const auto base = static_cast<u16>(s.msr.sysenter_cs & 0xfffc);
    if (long_mode(s) && t->model->amd()) return raise(*t, kUD);
    if (!protected_mode(s) || base == 0 || cpl(s) != 0) return raise(*t, kGP);
    const bool wide = opsize == 8;
    const u64 rip = s.gpr[RDX], rsp = s.gpr[RCX];
    if (wide && (!canonical(s, rip) || !canonical(s, rsp))) return raise(*t, kGP);
    const auto cs = static_cast<u16>((base + (wide ? 32 : 16)) | 3);
    s.gpr[RSP] = wide ? rsp : rsp & 0xffffffff;
    enter(s, cs, static_cast<u16>(cs + 8), 3, wide, wide ? rip : rip & 0xffffffff);
    return LeaveReason::Lookup;
}

}  // namespace tandem::cpu::x86
