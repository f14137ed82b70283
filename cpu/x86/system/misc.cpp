// Flag, port, time and other privileged instructions: SDM volume 2; volume 1, 19.5 (I/O protection).
#include <utility>

#include "cpu/x86/system/svm.h"

namespace tandem::cpu::x86 {

u64 read_flags(TranslateState& t) {
    export_flags(t);
    return t.s.rflags;
}

void write_flags(TranslateState& t, u64 image, u64 changed) {
    State& s = t.s;
    export_flags(t);
    s.rflags = (s.rflags & ~changed) | (image & changed) | eflags::One;
    import_flags(t);
}

namespace {

bool check_interrupt_flag_access(TranslateState& t) {
    const State& s = t.s;
    if (!protected_mode(s)) return true;
    return cpl(s) <= iopl(s) || fault(t, kGP);
}

// The I/O permission bit map (SDM volume 1, 19.5.2).
bool check_io_map(TranslateState& t, u16 port, unsigned size) {
    constexpr u32 kMapBaseOffset = 0x66;
    const Segment& tr = t.s.tr;
    const bool tss32 = usable(tr) && (tr.access & 0xf) == kTss32Busy;
    if (!tss32 || tr.limit < kMapBaseOffset + 1) return fault(t, kGP);
    u16 map_base = 0, map = 0;
    if (!read_system(t, tr.base + kMapBaseOffset, map_base)) return false;
    const u32 offset = u32{map_base} + port / 8;
    if (offset + 1 > tr.limit) return fault(t, kGP);
    if (!read_system(t, tr.base + offset, map)) return false;
    return bits(map, port % 8 + size - 1, port % 8) == 0 || fault(t, kGP);
}

bool check_port(TranslateState& t, u16 port, unsigned size) {
    const State& s = t.s;
    if (!protected_mode(s)) return true;
    if (!vm86(s) && cpl(s) <= iopl(s)) return true;
    return check_io_map(t, port, size);
}

// CLAC and STAC.
LeaveReason set_ac(TranslateState& t, bool value) {
    State& s = t.s;
    if (!t.model->has(Feature::SMAP) || cpl(s) != 0) return raise(t, kUD);
    s.rflags = value ? s.rflags | eflags::AC : s.rflags & ~eflags::AC;
    return LeaveReason::None;
}

bool check_tsc_access(TranslateState& t) {
    const State& s = t.s;
    return (s.cr4 & cr4::TSD) == 0 || !protected_mode(s) || cpl(s) == 0 || fault(t, kGP);
}

void set_edx_eax(State& s, u64 value) {
    s.gpr[RAX] = value & 0xffffffff;
    s.gpr[RDX] = value >> 32;
}

}  // namespace

LeaveReason cli(TranslateState* t) {
    if (virtual_interrupt_flag(t->s)) return done(*t, set_virtual_interrupts(*t, false));
    if (!check_interrupt_flag_access(*t)) return failed(*t);
    t->s.rflags &= ~eflags::IF;
    return LeaveReason::None;
}

LeaveReason sti(TranslateState* t) {
    State& s = t->s;
    if (virtual_interrupt_flag(s)) return done(*t, set_virtual_interrupts(*t, true));
    if (!check_interrupt_flag_access(*t)) return failed(*t);
    if ((s.rflags & eflags::IF) == 0) s.sti_shadow = true;
    s.rflags |= eflags::IF;
    return LeaveReason::None;
}

LeaveReason clac(TranslateState* t) { return set_ac(*t, false); }
LeaveReason stac(TranslateState* t) { return set_ac(*t, true); }

LeaveReason check_io(TranslateState* t, u32 port, u32 size) {
    return done(*t, check_port(*t, static_cast<u16>(port), size));
}

LeaveReason port_in(TranslateState* t, u32 port, u32 spec) {
    const u32 size = spec & ~kPortImmediate;
    if (!check_port(*t, static_cast<u16>(port), size)) return failed(*t);
    if (held_before(t, Hold::Reason::Access)) return LeaveReason::Interpret;
    t->scratch[0] = port_read_unchecked(t, port, size, {.immediate = spec != size});
    return LeaveReason::None;
}

LeaveReason port_out(TranslateState* t, u32 port, u32 spec, u32 value) {
    const u32 size = spec & ~kPortImmediate;
    if (!check_port(*t, static_cast<u16>(port), size)) return failed(*t);
    if (held_before(t, Hold::Reason::Access)) return LeaveReason::Interpret;
    port_write_unchecked(t, port, size, value, {.immediate = spec != size});
    return LeaveReason::None;
}

u32 port_read_unchecked(TranslateState* t, u32 port, u32 size, PortForm form) {
    debug_port(*t, static_cast<u16>(port), size);
    return t->platform->port_in(static_cast<u16>(port), size, form) & static_cast<u32>(mask(size * 8));
}

void port_write_unchecked(TranslateState* t, u32 port, u32 size, u32 value, PortForm form) {
    debug_port(*t, static_cast<u16>(port), size);
    t->platform->port_out(static_cast<u16>(port), value & static_cast<u32>(mask(size * 8)), size, form);
}

LeaveReason hlt(TranslateState* t, u64 next) {
    State& s = t->s;
    if (!require_cpl0(*t)) return failed(*t);
    s.rip = next;
    // A single-step trap ends the halt at once.
    if (t->s.debug_trap != 0) return LeaveReason::Lookup;
    s.activity = Activity::Halted;
    return LeaveReason::Halt;
}

LeaveReason privileged(TranslateState* t) { return done(*t, require_cpl0(*t)); }

LeaveReason hypercall(TranslateState* t) {
    constexpr u64 kEperm = 1;  // KVM_EPERM (contract H2)
    State& s = t->s;
    // To its own hypervisor a guest calls by the intercept, which was not there (APM volume 2, 15.5.3).
    if (s.svm.guest) return raise(*t, kUD);
    const u64 width = code64(s) ? ~u64{0} : 0xffffffff;
    u64 result = ~kEperm + 1;
    if (cpl(s) == 0) {
        if (held_before(t, Hold::Reason::Access)) return LeaveReason::Interpret;
        result = t->platform->hypercall(s.gpr[RAX] & width, s.gpr[RBX] & width, s.gpr[RCX] & width, s.gpr[RDX] & width,
                                        s.gpr[RSI] & width);
    }
    s.gpr[RAX] = result & width;
    return LeaveReason::None;
}

LeaveReason rdtsc(TranslateState* t) {
    if (!check_tsc_access(*t)) return failed(*t);
    if (held_before(t, Hold::Reason::Value)) return LeaveReason::Interpret;
    set_edx_eax(t->s, visible_tsc(*t));
    return LeaveReason::None;
}

LeaveReason rdtscp(TranslateState* t) {
    if (!t->model->has(Feature::RDTSCP)) return raise(*t, kUD);
    if (!check_tsc_access(*t)) return failed(*t);
    if (held_before(t, Hold::Reason::Value)) return LeaveReason::Interpret;
    set_edx_eax(t->s, visible_tsc(*t));
    t->s.gpr[RCX] = t->s.msr.tsc_aux & 0xffffffff;
    return LeaveReason::None;
}

// Counters are not modelled and read as zero (contract R5).
LeaveReason rdpmc(TranslateState* t) {
    if (!check_rdpmc(*t)) return failed(*t);
    set_edx_eax(t->s, 0);
    return LeaveReason::None;
}

bool check_rdpmc(TranslateState& t) {
    constexpr u32 kFixed = 1u << 30, kGeneralCounters = 8, kFixedCounters = 3;
    const State& s = t.s;
    if (protected_mode(s) && cpl(s) != 0 && (s.cr4 & cr4::PCE) == 0) return fault(t, kGP);
    const auto index = static_cast<u32>(s.gpr[RCX]);
    return index < kGeneralCounters || (index >= kFixed && index < kFixed + kFixedCounters) || fault(t, kGP);
}

LeaveReason swapgs(TranslateState* t) {
    State& s = t->s;
    if (!code64(s)) return raise(*t, kUD);
    if (!require_cpl0(*t)) return failed(*t);
    std::swap(s.seg[GS].base, s.msr.kernel_gs_base);
    return LeaveReason::None;
}

LeaveReason read_segment_base(TranslateState* t, u32 seg) {
    const State& s = t->s;
    if (!code64(s) || (s.cr4 & cr4::FSGSBASE) == 0) return raise(*t, kUD);
    t->scratch[0] = s.seg[seg].base;
    return LeaveReason::None;
}

LeaveReason write_segment_base(TranslateState* t, u32 seg, u64 value) {
    State& s = t->s;
    if (!code64(s) || (s.cr4 & cr4::FSGSBASE) == 0) return raise(*t, kUD);
    if (!canonical(value, t->model->linear_bits())) return raise(*t, kGP);
    s.seg[seg].base = value;
    return LeaveReason::None;
}

LeaveReason cpuid(TranslateState* t) {
    if (held_before(t, Hold::Reason::Value)) return LeaveReason::Interpret;
    State& s = t->s;
    CpuModel::Dynamic d;
    d.apic_id = t->platform->apic_id();
    d.cpu_count = t->platform->cpu_count();
    d.tsc_khz = t->platform->tsc_khz();
    d.cr4 = s.cr4;
    d.xcr0 = s.xcr0;
    d.xss = s.msr.xss;
    d.apic_enabled = bit(s.msr.apic_base, 11);
    const auto leaf = static_cast<u32>(s.gpr[RAX]);
    const auto subleaf = static_cast<u32>(s.gpr[RCX]);
    const CpuidResult r = t->model->cpuid(leaf, subleaf, d);
    s.gpr[RAX] = r.eax;
    s.gpr[RBX] = r.ebx;
    s.gpr[RCX] = r.ecx;
    s.gpr[RDX] = r.edx;
    t->platform->cpuid_answered(leaf, subleaf, r);
    return LeaveReason::None;
}

}  // namespace tandem::cpu::x86
