// MRS, MSR and MSR (immediate): which register a name means here, who may access it, and where a refused access goes
// (DDI 0487, D19.1 and the registers' accessibility pseudocode).
#include "base/bits.h"
#include "base/log.h"
#include "cpu/arm64/mode.h"
#include "cpu/arm64/system/registers.h"

namespace tandem::cpu::arm64 {
namespace {

constexpr SysregName name_of(u32 word) { return {static_cast<u16>(word >> 5)}; }

SysregName with_op1(SysregName name, unsigned op1) {
    return SysregName::of(name.op0(), op1, name.crn(), name.crm(), name.op2());
}

// ISS of a trapped access (EC 0x18).
u32 trap_syndrome(u32 word) {
    const SysregName n = name_of(word);
    const bool read = bit(word, 21);
    return n.op0() << 20 | n.op2() << 17 | n.op1() << 14 | n.crn() << 10 | (word & 31) << 5 | n.crm() << 1 | (read ? 1 : 0);
}

// Registers whose EL1 name means the EL2 one under HCR_EL2.E2H at EL2 (DDI 0487, D8.1.3).
bool redirected(SysregName n) {
    const unsigned key = n.crn() << 8 | n.crm() << 4 | n.op2();
    if (n.op0() != 3 || n.op1() != 0) return false;
    switch (key) {
        case 0x100:  // SCTLR
        case 0x102:  // CPACR
        case 0x200:
        case 0x201:
        case 0x202:  // TTBR0, TTBR1, TCR
        case 0x400:
        case 0x401:  // SPSR, ELR
        case 0x510:
        case 0x511:
        case 0x520:  // AFSR0, AFSR1, ESR
        case 0x600:  // FAR
        case 0xa20:
        case 0xa30:  // MAIR, AMAIR
        case 0xc00:  // VBAR
        case 0xd01:  // CONTEXTIDR
        case 0xe10:  // CNTKCTL
            return true;
        default: return false;
    }
}

bool is_timer(SysregName n) { return n.op0() == 3 && n.crn() == 14 && (n.crm() == 2 || n.crm() == 3); }

// The register that a name means at the current level; false: UNDEFINED.
bool resolve(const TranslateState& t, SysregName& name) {
    const unsigned el = t.s.el();
    const bool e2h = (effective_hcr(t) & hcr::E2H) != 0;
    if (name.op0() == 3 && name.op1() == 5) {  // _EL12 and _EL02
        if (el != 2 || !e2h) return false;
        const bool timer = is_timer(name);
        name = with_op1(name, timer ? 3 : 0);
        return timer || redirected(name);
    }
    if (el == 2 && e2h && redirected(name)) {
        // CPACR_EL1 has another op2 than CPTR_EL2.
        constexpr SysregName kCpacr = SysregName::of(3, 0, 1, 0, 2), kCptr = SysregName::of(3, 4, 1, 1, 2);
        name = name == kCpacr ? kCptr : with_op1(name, 4);
    } else if (is_timer(name) && name.op1() == 3 && (host_mode(t) || (el == 2 && e2h))) {
        name = with_op1(name, 4);
    }
    return true;
}

enum class Verdict : u8 { Allowed, Undefined, TrapToEl1, TrapToEl2 };

// To EL1, or to EL2 where EL0 belongs to it.
Verdict el0_trap(const TranslateState& t) { return default_target(t) == 2 ? Verdict::TrapToEl2 : Verdict::TrapToEl1; }

Verdict counter_access(const TranslateState& t, Trap trap) {
    const unsigned el = t.s.el();
    const u64 h = effective_hcr(t);
    const bool host = host_mode(t);
    const bool counter = trap == Trap::Cntpct || trap == Trap::Cntvct;
    if (el == 0) {
        const u64 control = host ? t.s.sys.cnthctl_el2 : t.s.sys.cntkctl_el1;
        const unsigned which = trap == Trap::Cntpct ? 0 : trap == Trap::Cntvct ? 1 : trap == Trap::Cntv ? 8 : 9;
        const bool allowed = trap == Trap::Cntfrq ? (control & 3) != 0 : bit(control, which);
        if (!allowed) return el0_trap(t);
    }
    if (el == 2 || host || !el2_enabled(t) || trap == Trap::Cntfrq || trap == Trap::Cntvct || trap == Trap::Cntv) {
        return Verdict::Allowed;
    }
    const bool e2h = (h & hcr::E2H) != 0;
    const unsigned which = e2h ? (counter ? 10 : 11) : counter ? 0 : 1;
    return bit(t.s.sys.cnthctl_el2, which) ? Verdict::Allowed : Verdict::TrapToEl2;
}

// HCR_EL2, CPTR_EL2 and MDCR_EL2 traps of EL1 (and EL0).
bool trapped_to_el2(const TranslateState& t, Trap trap, bool write) {
    if (t.s.el() == 2 || !el2_enabled(t)) return false;
    const u64 h = effective_hcr(t);
    const u64 mdcr = t.s.sys.mdcr_el2;
    switch (trap) {
        case Trap::Tvm: return (h & (write ? hcr::TVM : hcr::TRVM)) != 0;
        case Trap::Tid1: return (h & hcr::TID1) != 0;
        case Trap::Ctr:
        case Trap::Tid2: return (h & hcr::TID2) != 0;
        case Trap::Tid3: return (h & hcr::TID3) != 0;
        case Trap::Tacr: return (h & hcr::TACR) != 0;
        case Trap::Tlor: return (h & hcr::TLOR) != 0;
        case Trap::Terr: return (h & hcr::TERR) != 0;
        case Trap::Apk: return (h & hcr::APK) == 0;
        case Trap::Cpacr: return bit(t.s.sys.cptr_el2, 31);
        case Trap::TdaEl0:
        case Trap::Tda: return bit(mdcr, 9) || bit(mdcr, 8) || (h & hcr::TGE) != 0;
        case Trap::PmControl: return bit(mdcr, 5) || bit(mdcr, 6);
        case Trap::PmEl0:
        case Trap::PmSoftware:
        case Trap::PmCycles:
        case Trap::PmEvents:
        case Trap::PmSelect:
        case Trap::PmUser:
        case Trap::Pm: return bit(mdcr, 6);
        case Trap::Tdosa: return bit(mdcr, 10) || bit(mdcr, 8) || (h & hcr::TGE) != 0;
        case Trap::Tdra: return bit(mdcr, 11) || bit(mdcr, 8) || (h & hcr::TGE) != 0;
        default: return false;
    }
}

// PMUSERENR_EL0: EN, or the one bit that allows this kind.
bool pmu_allowed_at_el0(const TranslateState& t, Trap trap, bool write) {
    constexpr u64 kAll = 1, kSoftware = 2, kCycles = 4, kEvents = 8;
    const u64 own = trap == Trap::PmSoftware           ? kSoftware
                    : trap == Trap::PmCycles && !write ? kCycles
                    : trap == Trap::PmEvents && !write ? kEvents
                    : trap == Trap::PmSelect           ? kEvents
                                                       : 0;
    return (t.s.sys.pmuserenr_el0 & (kAll | own)) != 0;
}

Verdict check_trap(const TranslateState& t, Trap trap, bool write) {
    const bool el0 = t.s.el() == 0;
    switch (trap) {
        case Trap::Ctr:
            if (el0 && (current_sctlr(t) & sctlr::UCT) == 0) return el0_trap(t);
            break;
        case Trap::Uma:
            if (el0 && (current_sctlr(t) & sctlr::UMA) == 0) return el0_trap(t);
            break;
        case Trap::TdaEl0:
            if (el0 && bit(t.s.sys.mdscr_el1, 12)) return el0_trap(t);
            break;
        case Trap::PmEl0:
        case Trap::PmControl:
        case Trap::PmSoftware:
        case Trap::PmCycles:
        case Trap::PmEvents:
        case Trap::PmSelect:
            if (el0 && !pmu_allowed_at_el0(t, trap, write)) return el0_trap(t);
            break;
        case Trap::PmUser:
            if (el0 && write) return Verdict::Undefined;
            break;
        case Trap::ReadOnlyAtEl0: return el0 && write ? Verdict::Undefined : Verdict::Allowed;
        case Trap::HighestEl: return el2_enabled(t) ? Verdict::Undefined : Verdict::Allowed;
        case Trap::SpEl0: return (t.s.pstate & pstate::kSp) == 0 ? Verdict::Undefined : Verdict::Allowed;
        case Trap::Cntfrq:
            if (write && (el0 || (t.s.el() == 1 && el2_enabled(t)))) return Verdict::Undefined;
            return counter_access(t, trap);
        case Trap::Cntpct:
        case Trap::Cntvct:
        case Trap::Cntp:
        case Trap::Cntv: return counter_access(t, trap);
        default: break;
    }
    return trapped_to_el2(t, trap, write) ? Verdict::TrapToEl2 : Verdict::Allowed;
}

LeaveReason refuse(TranslateState& t, u32 word, Verdict why) {
    if (why == Verdict::Undefined) return raise(t, Ec::Unknown, 0);
    return raise(t, Ec::SysregTrap, trap_syndrome(word), why == Verdict::TrapToEl2 ? 2 : 1);
}

// GICv3's CPU interface.
bool is_gic_register(SysregName n) {
    if (n.op0() != 3) return false;
    if (n.op1() == 0 && n.crn() == 4 && n.crm() == 6 && n.op2() == 0) return true;  // ICC_PMR_EL1
    return (n.op1() == 0 || n.op1() == 4) && n.crn() == 12 && n.crm() >= 8;
}

LeaveReason gic_access(TranslateState& t, u32 word, SysregName name, bool write, u64& value) {
    const unsigned el = t.s.el();
    if (el == 0 || (name.op1() == 4 && el != 2)) return raise(t, Ec::Unknown, 0);
    const u64 h = effective_hcr(t);
    const SysregAccess access{name, el, write, (h & (hcr::IMO | hcr::TGE)) != 0, (h & (hcr::FMO | hcr::TGE)) != 0};
    switch (t.platform->gic_register(access, value)) {
        case SysregResult::Ok: return LeaveReason::None;
        case SysregResult::TrapToEl2: return refuse(t, word, Verdict::TrapToEl2);
        default: return raise(t, Ec::Unknown, 0);
    }
}

// Identification registers that are reserved read as zero (D19.2, "ID_* registers").
bool reserved_id(SysregName n) { return n.op0() == 3 && n.op1() == 0 && n.crn() == 0 && n.crm() >= 1 && n.crm() <= 7; }

LeaveReason access(TranslateState& t, u32 word, bool write, u64& value) {
    SysregName name = name_of(word);
    if (!resolve(t, name)) return raise(t, Ec::Unknown, 0);
    if (is_gic_register(name)) return gic_access(t, word, name, write, value);
    const unsigned el = t.s.el();
    const RegisterRow* row = find_register(name);
    if (row == nullptr || !t.model->has(row->feature)) {
        const bool implementation_defined = name.op0() == 3 && (name.crn() == 11 || name.crn() == 15);
        if (implementation_defined && el == 1 && (effective_hcr(t) & hcr::TIDCP) != 0) {
            return refuse(t, word, Verdict::TrapToEl2);
        }
        if (!reserved_id(name) || write || el == 0) {
            log::trace(log::Int, "int: {} of unknown system register S{}_{}_C{}_C{}_{} at {:#x}", write ? "write" : "read",
                       name.op0(), name.op1(), name.crn(), name.crm(), name.op2(), t.s.pc);
            return raise(t, Ec::Unknown, 0);
        }
        if (trapped_to_el2(t, Trap::Tid3, false)) return refuse(t, word, Verdict::TrapToEl2);
        value = 0;
        return LeaveReason::None;
    }
    const bool direction = row->access == RegisterAccess::RW || (row->access == RegisterAccess::WO) == write;
    if (el < row->lowest_el() || !direction || (row->lowest_el() == 2 && !el2_enabled(t))) return raise(t, Ec::Unknown, 0);
    if (row->trap == Trap::Fp && ModeBits::of(t).fp_trapped()) return raise_fp_trap(&t);
    const Verdict verdict = check_trap(t, row->trap, write);
    if (verdict != Verdict::Allowed) return refuse(t, word, verdict);
    if (write) {
        row->write(t, *row, value);
    } else {
        value = row->read(t, *row);
    }
    return LeaveReason::None;
}

}  // namespace

LeaveReason read_sysreg(TranslateState* t, u32 word) {
    u64 value = 0;
    const LeaveReason why = access(*t, word, false, value);
    t->scratch[0] = value;
    return why;
}

LeaveReason write_sysreg(TranslateState* t, u32 word, u64 value) { return access(*t, word, true, value); }

LeaveReason write_pstate_field(TranslateState* t, u32 word) {
    const unsigned op1 = word >> 16 & 7, op2 = word >> 5 & 7, value = word >> 8 & 15;
    const unsigned el = t->s.el();
    u64& p = t->s.pstate;
    const auto put = [&p](u64 which, bool set) { p = set ? p | which : p & ~which; };
    if (op1 == 3 && op2 >= 6) {
        if (el == 0 && (current_sctlr(*t) & sctlr::UMA) == 0) return refuse(*t, word, el0_trap(*t));
        put(u64{value} << 6, op2 == 6);
        return LeaveReason::None;
    }
    if (op1 == 3) {
        put(op2 == 1 ? pstate::kSsbs : pstate::kDit, (value & 1) != 0);
        return LeaveReason::None;
    }
    if (el == 0) return raise(*t, Ec::Unknown, 0);
    put(op2 == 3 ? pstate::kUao : op2 == 4 ? pstate::kPan : pstate::kSp, (value & 1) != 0);
    return LeaveReason::None;
}

}  // namespace tandem::cpu::arm64
