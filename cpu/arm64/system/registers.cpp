// What reading and writing a system register does: the functions that registers.inc names, and the table.
#include "cpu/arm64/system/registers.h"

#include <algorithm>
#include <vector>

#include "base/bits.h"
#include "cpu/arm64/fpu/status.h"
#include "cpu/arm64/system/limits.h"
#include "cpu/arm64/system/mmu.h"
#include "cpu/arm64/system/pmu.h"

namespace tandem::cpu::arm64 {
namespace {

using Row = RegisterRow;
using T = TranslateState;

u64 read_plain(const T& t, const Row& r) { return r.value(t.s.sys) | r.res1; }
void write_plain(T& t, const Row& r, u64 v) {
    u64& stored = r.value(t.s.sys);
    stored = (stored & ~r.writable) | (v & r.writable);
}
u64 read_zero(const T&, const Row&) { return 0; }
void write_ignored(T&, const Row&, u64) {}

// --- Identification

// At EL1 a hypervisor's values are seen.
bool virtualized(const T& t) { return el2_enabled(t) && t.s.el() == 1; }
u64 read_midr(const T& t, const Row&) { return virtualized(t) ? t.s.sys.vpidr_el2 : t.model->id().midr_el1; }
u64 read_mpidr(const T& t, const Row&) {
    return virtualized(t) ? t.s.sys.vmpidr_el2 : u64{1} << 31 | t.platform->affinity();
}
u64 read_revidr(const T& t, const Row&) { return t.model->id().revidr_el1; }
u64 read_aidr(const T& t, const Row&) { return t.model->id().aidr_el1; }
u64 read_ctr(const T& t, const Row&) { return t.model->id().ctr_el0; }
u64 read_dczid(const T& t, const Row&) {
    constexpr u64 kProhibited = 16;
    const bool el0 = t.s.el() == 0 && (current_sctlr(t) & sctlr::DZE) == 0;
    const bool trapped = t.s.el() < 2 && (effective_hcr(t) & hcr::TDZ) != 0;
    return t.model->id().dczid_el0 | (el0 || trapped ? kProhibited : 0);
}
u64 read_ccsidr(const T& t, const Row&) {
    const u64 n = t.s.sys.csselr_el1 & 15;
    return n < t.model->id().ccsidr_el1.size() ? t.model->id().ccsidr_el1[n] : 0;
}
u64 read_clidr(const T& t, const Row&) { return t.model->id().clidr_el1; }
u64 read_pfr0(const T& t, const Row&) { return t.model->id().id_aa64pfr0_el1; }
u64 read_pfr1(const T& t, const Row&) { return t.model->id().id_aa64pfr1_el1; }
u64 read_dfr0(const T& t, const Row&) { return t.model->id().id_aa64dfr0_el1; }
u64 read_dfr1(const T& t, const Row&) { return t.model->id().id_aa64dfr1_el1; }
u64 read_isar0(const T& t, const Row&) { return t.model->id().id_aa64isar0_el1; }
u64 read_isar1(const T& t, const Row&) { return t.model->id().id_aa64isar1_el1; }
u64 read_isar2(const T& t, const Row&) { return t.model->id().id_aa64isar2_el1; }
u64 read_mmfr0(const T& t, const Row&) { return t.model->id().id_aa64mmfr0_el1; }
u64 read_mmfr1(const T& t, const Row&) { return t.model->id().id_aa64mmfr1_el1; }
u64 read_mmfr2(const T& t, const Row&) { return t.model->id().id_aa64mmfr2_el1; }

// --- Control

void set_translation_control(T& t, u64& stored, u64 v) {
    constexpr u64 kCached = sctlr::M | sctlr::WXN | 1u << 12;
    const bool changed = ((stored ^ v) & kCached) != 0;
    stored = v;
    if (changed) invalidate_all(t, false);
}

void write_sctlr_el1(T& t, const Row&, u64 v) {
    const u64 res1 = kSctlrRes1 | (t.model->has(Feature::PAN) ? 0 : sctlr::SPAN);
    set_translation_control(t, t.s.sys.sctlr_el1, (v & sctlr_writable(*t.model)) | res1);
}

void write_sctlr_el2(T& t, const Row&, u64 v) {
    const bool e2h = (t.s.sys.hcr_el2 & hcr::E2H) != 0;
    u64 writable = sctlr_writable(*t.model);
    u64 res1 = e2h ? kSctlrRes1 : kSctlrEl2Res1;
    if (!e2h) {
        writable &= ~(sctlr::SA0 | sctlr::UMA | sctlr::DZE | sctlr::UCT | sctlr::nTWI | sctlr::nTWE | sctlr::UCI |
                      sctlr::SPAN | sctlr::BT0);
    } else if (!t.model->has(Feature::PAN)) {
        res1 |= sctlr::SPAN;
    }
    set_translation_control(t, t.s.sys.sctlr_el2, (v & writable) | res1);
}

// A change of TCR drops what is not global: ASIDs are read by it. Global entries stay, as they do on hardware until a TLBI.
void write_translation(T& t, const Row& r, u64 v) {
    u64& stored = r.value(t.s.sys);
    if (stored == v) return;
    stored = v;
    if (r.name.op1() == 4) {
        invalidate_all(t, false);
    } else {
        invalidate_non_global(t, false);
    }
    switch_address_space(t);
}

void write_table_base(T& t, const Row& r, u64 v) {
    if (r.name.op1() == 4 && !host_mode(t)) return write_translation(t, r, v);
    u64& stored = r.value(t.s.sys);
    if (stored == v) return;
    stored = v;
    switch_address_space(t);
}

void write_stage2(T& t, const Row& r, u64 v) {
    u64& stored = r.value(t.s.sys);
    const u64 next = v & r.writable;
    if (stored == next) return;
    stored = next;
    invalidate_all(t, false);
}

void write_hcr(T& t, const Row&, u64 v) {
    const u64 next = (v & hcr_writable(*t.model)) | hcr::RW;  // EL1 is AArch64 only
    constexpr u64 kTranslation = hcr::VM | hcr::DC | hcr::TGE | hcr::E2H | hcr::PTW;
    const bool changed = ((t.s.sys.hcr_el2 ^ next) & kTranslation) != 0;
    t.s.sys.hcr_el2 = next;
    if (!changed) return;
    invalidate_all(t, false);
    switch_address_space(t);
}

void write_cptr_el2(T& t, const Row&, u64 v) {
    const bool e2h = (t.s.sys.hcr_el2 & hcr::E2H) != 0;
    t.s.sys.cptr_el2 = e2h ? v & kCptrHostBits : (v & kCptrBits) | kCptrRes1;
}

u64 read_isr(const T& t, const Row&) {
    const u32 lines = t.platform->interrupt_lines();
    const u64 h = effective_hcr(t);
    const bool el1 = t.s.el() == 1;
    const auto pending = [&](u64 route, u64 virtual_bit, u32 physical, u32 line) {
        if (el1 && (h & route) != 0) return (h & virtual_bit) != 0 || (lines & line) != 0;
        return (lines & physical) != 0;
    };
    return (pending(hcr::IMO, hcr::VI, kIrq, kVirtualIrq) ? 0x80u : 0) |
           (pending(hcr::FMO, hcr::VF, kFiq, kVirtualFiq) ? 0x40u : 0) |
           (pending(hcr::AMO, hcr::VSE, kSError, 0) || t.s.serror_pending ? 0x100u : 0);
}

// At EL1 a hypervisor that takes SErrors gives the deferred one (DDI 0487, D19.2 "DISR_EL1").
bool virtual_serror(const T& t) { return t.s.el() == 1 && (effective_hcr(t) & hcr::AMO) != 0; }
u64 read_disr(const T& t, const Row& r) { return virtual_serror(t) ? t.s.sys.vdisr_el2 : read_plain(t, r); }
void write_disr(T& t, const Row& r, u64 v) {
    if (!virtual_serror(t)) return write_plain(t, r, v);
    t.s.sys.vdisr_el2 = v & r.writable;
}

// --- PSTATE and special registers

u64 read_sp_el0(const T& t, const Row&) { return t.s.sp[0]; }
void write_sp_el0(T& t, const Row&, u64 v) { t.s.sp[0] = v; }
u64 read_sp_el1(const T& t, const Row&) { return t.s.sp[1]; }
void write_sp_el1(T& t, const Row&, u64 v) { t.s.sp[1] = v; }
u64 read_spsel(const T& t, const Row&) { return t.s.pstate & pstate::kSp; }
void set_pstate(T& t, u64 which, u64 v) { t.s.pstate = (t.s.pstate & ~which) | (v & which); }
void write_spsel(T& t, const Row&, u64 v) { set_pstate(t, pstate::kSp, v); }
u64 read_current_el(const T& t, const Row&) { return t.s.pstate & pstate::kEl; }
u64 read_pan(const T& t, const Row&) { return t.s.pstate & pstate::kPan; }
void write_pan(T& t, const Row&, u64 v) { set_pstate(t, pstate::kPan, v); }
u64 read_uao(const T& t, const Row&) { return t.s.pstate & pstate::kUao; }
void write_uao(T& t, const Row&, u64 v) { set_pstate(t, pstate::kUao, v); }
u64 read_nzcv(const T& t, const Row&) { return compute_nzcv(t.cc_op, t.cc_a, t.cc_b); }
void write_nzcv(T& t, const Row&, u64 v) {
    set_pstate(t, pstate::kNzcv, v);
    import_flags(t);
}
u64 read_daif(const T& t, const Row&) { return t.s.pstate & pstate::kDaif; }
void write_daif(T& t, const Row&, u64 v) { set_pstate(t, pstate::kDaif, v); }
u64 read_dit(const T& t, const Row&) { return t.s.pstate & pstate::kDit; }
void write_dit(T& t, const Row&, u64 v) { set_pstate(t, pstate::kDit, v); }
u64 read_ssbs(const T& t, const Row&) { return t.s.pstate & pstate::kSsbs; }
void write_ssbs(T& t, const Row&, u64 v) { set_pstate(t, pstate::kSsbs, v); }
u64 read_fpcr_register(const T& t, const Row&) { return t.s.fpcr; }
void write_fpcr_register(T& t, const Row&, u64 v) { fpu::write_fpcr(t, static_cast<u32>(v)); }
u64 read_fpsr_register(const T& t, const Row&) { return fpu::read_fpsr(t); }
void write_fpsr_register(T& t, const Row&, u64 v) { fpu::write_fpsr(t, static_cast<u32>(v)); }

// --- Generic timers (DDI 0487, D11)

struct TimerRegisters {
    Timer timer;
    u64 Sysregs::* control;
    u64 Sysregs::* compare;
};
constexpr TimerRegisters kTimers[] = {
    {Timer::Physical, &Sysregs::cntp_ctl_el0, &Sysregs::cntp_cval_el0},
    {Timer::Virtual, &Sysregs::cntv_ctl_el0, &Sysregs::cntv_cval_el0},
    {Timer::Hypervisor, &Sysregs::cnthp_ctl_el2, &Sysregs::cnthp_cval_el2},
    {Timer::HypervisorVirtual, &Sysregs::cnthv_ctl_el2, &Sysregs::cnthv_cval_el2},
};

u64 offset_of(const T& t, Timer timer) { return timer == Timer::Virtual && el2_enabled(t) ? t.s.sys.cntvoff_el2 : 0; }

void announce(T& t, const TimerRegisters& r) {
    const u64 control = t.s.sys.*r.control;
    t.platform->timer_changed(r.timer, (control & 3) == 1, t.s.sys.*r.compare, offset_of(t, r.timer));
}

// CRm 2 and 3 with op1 3 (EL0) or 4 (EL2).
const TimerRegisters& timer_of(const Row& r) {
    const bool second = r.name.crm() == 3;
    return kTimers[(r.name.op1() == 4 ? 2 : 0) + (second ? 1 : 0)];
}

u64 read_cntfrq(const T& t, const Row& r) {
    const u64 stored = r.value(t.s.sys);
    return stored != 0 ? stored : t.platform->counter_hz();
}
u64 read_cntpct(const T& t, const Row&) { return t.platform->counter(); }
u64 read_cntvct(const T& t, const Row&) {
    const bool host = host_mode(t) || (t.s.el() == 2 && (effective_hcr(t) & hcr::E2H) != 0);
    return t.platform->counter() - (host || !el2_enabled(t) ? 0 : t.s.sys.cntvoff_el2);
}
u64 read_tval(const T& t, const Row& r) {
    const TimerRegisters& timer = timer_of(r);
    return (t.s.sys.*timer.compare - (t.platform->counter() - offset_of(t, timer.timer))) & mask(32);
}
void write_tval(T& t, const Row& r, u64 v) {
    const TimerRegisters& timer = timer_of(r);
    const u64 now = t.platform->counter() - offset_of(t, timer.timer);
    t.s.sys.*timer.compare = now + static_cast<u64>(sign_extend(v, 32));
    announce(t, timer);
}
u64 read_timer_control(const T& t, const Row& r) {
    const TimerRegisters& timer = timer_of(r);
    const u64 control = t.s.sys.*timer.control & 3;
    const bool met = t.platform->counter() - offset_of(t, timer.timer) >= t.s.sys.*timer.compare;
    return control | ((control & 1) != 0 && met ? 4 : 0);
}
void write_timer(T& t, const Row& r, u64 v) {
    write_plain(t, r, v);
    announce(t, r.name.crm() == 0 ? kTimers[1] : timer_of(r));
}

// --- Debug

void write_oslar(T& t, const Row&, u64 v) {
    u64& status = t.s.sys.oslsr_el1;
    status = (status & ~u64{2}) | (v & 1) << 1;
}
u64 read_claim_set(const T&, const Row&) { return 0xff; }
void write_claim_set(T& t, const Row& r, u64 v) { r.value(t.s.sys) |= v & 0xff; }
void write_claim_clear(T& t, const Row& r, u64 v) { r.value(t.s.sys) &= ~(v & 0xff); }
u64 read_authstatus(const T&, const Row&) { return 0xee; }

// --- Performance monitors (DDI 0487, D12 and D19.5)

constexpr u64 kPmcrP = 2, kPmcrC = 4;

u64 pmu_bits(const T& t) { return mask(pmu_visible_counters(t)) | u64{1} << kCycleCounter; }
u64 read_pmcr(const T& t, const Row&) {
    return kPmcrArm | u64{pmu_visible_counters(t)} << 11 | kPmcrLc | (t.s.sys.pmcr_el0 & kPmcrWritable);
}
void write_pmcr(T& t, const Row&, u64 v) {
    pmu_sync(t);
    Sysregs& sys = t.s.sys;
    if ((v & kPmcrP) != 0) std::fill_n(sys.pmevcntr_el0.begin(), pmu_visible_counters(t), u64{0});
    if ((v & kPmcrC) != 0) sys.pmccntr_el0 = 0;
    sys.pmcr_el0 = v & kPmcrWritable;
    pmu_changed(t);
}
u64 read_pmu_bits(const T& t, const Row& r) { return r.value(t.s.sys) & pmu_bits(t); }
// An overflow that lies in what was counted since the last time.
u64 read_overflow(const T& t, const Row& r) {
    u64 pending = r.value(t.s.sys);
    const bool cycles = pmu_value(t, kCycleCounter) < t.s.sys.pmccntr_el0;
    if (cycles) pending |= u64{1} << kCycleCounter;
    for (unsigned n = 0; n < kEventCounters; ++n) {
        if (pmu_value(t, n) < t.s.sys.pmevcntr_el0[n]) pending |= u64{1} << n;
    }
    return pending & pmu_bits(t);
}
void write_pmu_set(T& t, const Row& r, u64 v) {
    pmu_sync(t);
    r.value(t.s.sys) |= v & pmu_bits(t);
    pmu_changed(t);
}
void write_pmu_clear(T& t, const Row& r, u64 v) {
    pmu_sync(t);
    r.value(t.s.sys) &= ~(v & pmu_bits(t));
    pmu_changed(t);
}
void write_pmswinc(T& t, const Row&, u64 v) {
    pmu_sync(t);
    pmu_software_increment(t, v & pmu_bits(t));
}
u64 read_pmceid(const T&, const Row& r) { return pmu_common_events(r.name.op2() - 6); }
u64 read_pmccntr(const T& t, const Row&) { return pmu_value(t, kCycleCounter); }
void write_pmu(T& t, const Row& r, u64 v) {
    pmu_sync(t);
    write_plain(t, r, v);
    pmu_changed(t);
}
// A change of who counts what counts from here on.
void write_mdcr(T& t, const Row& r, u64 v) { write_pmu(t, r, v); }
void write_context_id(T& t, const Row& r, u64 v) {
    write_plain(t, r, v);
    pmu_event(t, PmuEvent::CidWriteRetired);
}

// The event counter of a PMEVCNTR or PMEVTYPER register, or the one that PMSELR_EL0 selects for PMXEV*.
unsigned event_counter(const T& t, const Row& r) {
    if (r.name.crn() == 9) return static_cast<unsigned>(t.s.sys.pmselr_el0 & 31);
    return (r.name.crm() & 3) << 3 | r.name.op2();
}
u64 read_pmevcntr(const T& t, const Row& r) {
    const unsigned n = event_counter(t, r);
    return n < pmu_visible_counters(t) ? pmu_value(t, n) : 0;
}
void write_pmevcntr(T& t, const Row& r, u64 v) {
    const unsigned n = event_counter(t, r);
    if (n >= pmu_visible_counters(t)) return;
    pmu_sync(t);
    t.s.sys.pmevcntr_el0[n] = v & mask(32);
    pmu_changed(t);
}
u64 read_pmevtyper(const T& t, const Row& r) {
    const unsigned n = event_counter(t, r);
    if (n == kCycleCounter) return t.s.sys.pmccfiltr_el0;
    return n < pmu_visible_counters(t) ? t.s.sys.pmevtyper_el0[n] : 0;
}
void write_pmevtyper(T& t, const Row& r, u64 v) {
    const unsigned n = event_counter(t, r);
    if (n != kCycleCounter && n >= pmu_visible_counters(t)) return;
    pmu_sync(t);
    if (n == kCycleCounter) {
        t.s.sys.pmccfiltr_el0 = v & kCycleTypeWritable;
    } else {
        t.s.sys.pmevtyper_el0[n] = v & kTypeWritable;
    }
    pmu_changed(t);
}

// --- The table

constexpr Row row(SysregName name, std::string_view text, Feature feature, RegisterAccess access, Trap trap,
                  std::size_t offset, u64 writable, u64 res1, u64 (*read)(const T&, const Row&),
                  void (*write)(T&, const Row&, u64)) {
    return {name, text, feature, access, trap, static_cast<u32>(offset), writable, res1, read, write};
}

constexpr Row kRows[] = {
#define TANDEM_SYSREG(op0, op1, crn, crm, op2, name, feature, access, trap, storage, writable, res1, read, write) \
    row(SysregName::of(op0, op1, crn, crm, op2), #name, Feature::feature, RegisterAccess::access, Trap::trap,     \
        offsetof(Sysregs, storage), writable, res1, read, write),
#define TANDEM_SYSREG_ELEMENT(op0, op1, crn, crm, op2, name, feature, access, trap, storage, index, writable, res1, read, \
                              write)                                                                                      \
    row(SysregName::of(op0, op1, crn, crm, op2), #name, Feature::feature, RegisterAccess::access, Trap::trap,             \
        offsetof(Sysregs, storage) + sizeof(u64) * (index), writable, res1, read, write),
#define TANDEM_SYSREG_COMPUTED(op0, op1, crn, crm, op2, name, feature, access, trap, read, write)                      \
    row(SysregName::of(op0, op1, crn, crm, op2), #name, Feature::feature, RegisterAccess::access, Trap::trap, 0, 0, 0, \
        read, write),
#include "cpu/arm64/system/registers.inc"
#undef TANDEM_SYSREG
#undef TANDEM_SYSREG_ELEMENT
#undef TANDEM_SYSREG_COMPUTED
};

}  // namespace

std::span<const RegisterRow> register_rows() { return kRows; }

const RegisterRow* find_register(SysregName name) {
    static const std::vector<const Row*> kIndex = [] {
        std::vector<const Row*> index(1u << 16);
        for (const Row& r : kRows) index[r.name.value] = &r;
        return index;
    }();
    return kIndex[name.value];
}

void announce_timers(T& t) {
    for (const TimerRegisters& r : kTimers) announce(t, r);
    t.page_looked_up = ~u64{0};
    t.counted = {};
    pmu_changed(t);
}

}  // namespace tandem::cpu::arm64
