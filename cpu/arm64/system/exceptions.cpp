// Exceptions: recording, routing, entry and return (DDI 0487, D1.3 "Exceptions" and the pseudocode named below).
#include "base/bits.h"
#include "base/log.h"
#include "cpu/arm64/lift/helpers.h"
#include "cpu/arm64/mode.h"
#include "cpu/arm64/system/mmu.h"
#include "cpu/arm64/system/pmu.h"
#include "cpu/arm64/system/system.h"

namespace tandem::cpu::arm64 {
namespace {

constexpr u64 kEsrIl = u64{1} << 25;

enum VectorOffset : u64 { kSync = 0, kIrqVector = 0x80, kFiqVector = 0x100, kSErrorVector = 0x180 };

u64 esr_of(Ec ec, u32 iss) { return u64{static_cast<u32>(ec)} << 26 | kEsrIl | iss; }

// Between EL1&0 and EL2&0, which share the translator's MMU indexes.
void regime_changed(TranslateState& t) {
    jit::tlb_flush(&t, false);
    switch_address_space(t);
}

// AArch64.TakeException.
void enter(TranslateState& t, unsigned target, u64 vector, u64 return_address) {
    State& s = t.s;
    Sysregs& sys = s.sys;
    export_flags(t);
    pmu_sync(t);
    pmu_event(t, PmuEvent::ExcTaken);
    t.stepped = 0;
    const bool lower = target > s.el();
    const u64 offset = vector + (lower ? 0x400 : (s.pstate & pstate::kSp) != 0 ? 0x200 : 0);
    const u64 spsr = s.pstate;
    const u64 control = target == 2 ? sys.sctlr_el2 : sys.sctlr_el1;
    u64 next = (spsr & (pstate::kNzcv | pstate::kDit | pstate::kPan)) | pstate::kDaif | u64{target} << pstate::kElShift |
               pstate::kSp;
    constexpr u64 kHost = hcr::E2H | hcr::TGE;
    const bool span = target == 1 || (effective_hcr(t) & kHost) == kHost;
    if (t.model->has(Feature::PAN) && span && (control & sctlr::SPAN) == 0) next |= pstate::kPan;
    if (t.model->has(Feature::SSBS2) && (control & sctlr::DSSBS) != 0) next |= pstate::kSsbs;
    if (target == 2) {
        sys.spsr_el2 = spsr;
        sys.elr_el2 = return_address;
    } else {
        sys.spsr_el1 = spsr;
        sys.elr_el1 = return_address;
    }
    const bool host = host_mode(t);
    s.pstate = next;
    if (host_mode(t) != host) regime_changed(t);
    s.pc = (target == 2 ? sys.vbar_el2 : sys.vbar_el1) + offset;
    s.activity = Activity::Running;
    import_flags(t);
    pmu_changed(t);
}

void trace_sync(const TranslateState& t, const PendingException& e) {
    log::trace(log::Int, "int: exception class {:#x} iss {:#x} at {:#x} EL{} -> EL{} far {:#x}", e.esr >> 26,
               e.esr & mask(25), e.return_address, t.s.el(), e.target, e.far);
}

void take_interrupt(TranslateState& t, unsigned target, u64 vector) {
    log::trace(log::Int, "int: {} at {:#x} EL{} -> EL{}",
               vector == kIrqVector   ? "IRQ"
               : vector == kFiqVector ? "FIQ"
                                      : "SError",
               t.s.pc, t.s.el(), target);
    enter(t, target, vector, t.s.pc);
}

// One kind of physical or virtual interrupt: what masks it and what routes it to EL2.
struct Kind {
    u32 physical;
    u32 line;         // virtual
    u64 virtual_bit;  // HCR_EL2.VI and its like
    u64 route;        // HCR_EL2.IMO and its like
    u64 mask;         // in PSTATE
    u64 vector;
};
constexpr Kind kKinds[] = {
    {kSError, 0, hcr::VSE, hcr::AMO, pstate::kA, kSErrorVector},
    {kFiq, kVirtualFiq, hcr::VF, hcr::FMO, pstate::kF, kFiqVector},
    {kIrq, kVirtualIrq, hcr::VI, hcr::IMO, pstate::kI, kIrqVector},
};

struct Due {
    const Kind* kind = nullptr;
    unsigned target = 1;
    bool is_virtual = false;
};

// The interrupt to take now (DDI 0487, D1.3.6 "Asynchronous exception routing, masking and priorities").
Due find_due(const TranslateState& t, u32 lines) {
    const State& s = t.s;
    const unsigned el = s.el();
    const u64 h = effective_hcr(t);
    for (const Kind& k : kKinds) {
        const bool masked = (s.pstate & k.mask) != 0;
        const bool physical = (lines & k.physical) != 0 || (k.physical == kSError && s.serror_pending);
        const bool to_el2 = el2_enabled(t) && (h & (k.route | hcr::TGE)) != 0;
        const bool mask_counts = el == 2 || host_mode(t);
        if (physical && to_el2 && !(masked && mask_counts)) return {&k, 2, false};
        if (physical && !to_el2 && el < 2 && !masked) return {&k, 1, false};
        const bool offered = (h & k.virtual_bit) != 0 || (lines & k.line) != 0;
        const bool enabled = el < 2 && (h & k.route) != 0 && (h & hcr::TGE) == 0;
        if (offered && enabled && !masked) return {&k, 1, true};
    }
    return {};
}

}  // namespace

unsigned default_target(const TranslateState& t) {
    const unsigned el = t.s.el();
    if (el != 0) return el;
    return (effective_hcr(t) & hcr::TGE) != 0 ? 2 : 1;
}

LeaveReason raise(TranslateState& t, Ec ec, u32 iss, unsigned target) {
    PendingException& e = t.s.pending;
    e = {};
    e.valid = true;
    e.target = static_cast<u8>(target);
    e.esr = esr_of(ec, iss);
    e.return_address = t.s.pc;
    return LeaveReason::Exception;
}

LeaveReason raise(TranslateState& t, Ec ec, u32 iss) { return raise(t, ec, iss, default_target(t)); }

LeaveReason raise_at(TranslateState& t, Ec ec, u32 iss, unsigned target, u64 far) {
    raise(t, ec, iss, target);
    t.s.pending.has_far = true;
    t.s.pending.far = far;
    return LeaveReason::Exception;
}

LeaveReason deliver_exception(TranslateState& t) {
    State& s = t.s;
    if (!s.pending.valid) return LeaveReason::Lookup;
    const PendingException e = s.pending;
    s.pending = {};
    trace_sync(t, e);
    if (e.target == 2) {
        s.sys.esr_el2 = e.esr;
        if (e.has_far) s.sys.far_el2 = e.far;
        if (e.has_hpfar) s.sys.hpfar_el2 = e.hpfar;
    } else {
        s.sys.esr_el1 = e.esr;
        if (e.has_far) s.sys.far_el1 = e.far;
    }
    enter(t, e.target, kSync, e.return_address);
    return LeaveReason::Lookup;
}

bool interrupt_due(const TranslateState& t) { return find_due(t, t.platform->interrupt_lines()).kind != nullptr; }

bool wakes_up(const TranslateState& t) {
    const u32 lines = t.platform->interrupt_lines();
    const u64 h = effective_hcr(t);
    if ((lines & (kIrq | kFiq | kSError)) != 0 || t.s.serror_pending) return true;
    if ((h & hcr::TGE) != 0 || t.s.el() == 2) return false;
    for (const Kind& k : kKinds) {
        if (((h & k.virtual_bit) != 0 || (lines & k.line) != 0) && (h & k.route) != 0) return true;
    }
    return false;
}

bool poll_interrupts(TranslateState& t) {
    State& s = t.s;
    apply_tlb_demand(t, t.platform->take_tlb_invalidates());
    if (s.activity == Activity::PoweredOff || s.pending.valid) return false;
    const Due due = find_due(t, t.platform->interrupt_lines());
    if (due.kind == nullptr) {
        // Who polls is about to execute.
        if (s.activity == Activity::Halted) s.activity = Activity::Running;
        return false;
    }
    if (due.kind->physical == kSError) {
        u64& esr = due.target == 2 ? s.sys.esr_el2 : s.sys.esr_el1;
        const u64 syndrome = due.is_virtual ? s.sys.vsesr_el2 & mask(25) : 0;
        esr = esr_of(Ec::SError, static_cast<u32>(syndrome));
        if (due.is_virtual) {
            s.sys.hcr_el2 &= ~hcr::VSE;
        } else {
            s.serror_pending = false;
        }
    }
    take_interrupt(t, due.target, due.kind->vector);
    return true;
}

// --- What IR calls

LeaveReason raise_exception(TranslateState* t, u32 ec, u32 iss) { return raise(*t, static_cast<Ec>(ec), iss); }

LeaveReason raise_fp_trap(TranslateState* t) {
    const ModeBits mode = ModeBits::of(*t);
    if (mode.has(ModeBits::kFpToEl2)) return raise(*t, Ec::FpTrap, kConditionAlways, 2);
    if (default_target(*t) == 2) return raise(*t, Ec::Unknown, 0, 2);
    return raise(*t, Ec::FpTrap, kConditionAlways, 1);
}

LeaveReason raise_pauth_trap(TranslateState* t) { return raise(*t, Ec::PauthTrap, 0, 2); }

LeaveReason raise_sp_alignment(TranslateState* t) { return raise(*t, Ec::SpAlignment, 0); }

LeaveReason raise_pc_alignment(TranslateState* t) { return raise_at(*t, Ec::PcAlignment, 0, default_target(*t), t->s.pc); }

namespace {

// SSAdvance, for instructions that complete by taking an exception.
void advance_step(TranslateState& t) {
    if (step_enabled(t)) t.s.pstate &= ~pstate::kSs;
}

LeaveReason call_exception(TranslateState& t, Ec ec, u32 imm16, unsigned target) {
    advance_step(t);
    raise(t, ec, imm16, target);
    t.s.pending.return_address = t.s.pc + 4;
    return LeaveReason::Exception;
}

// The machine answers on this conduit: SMCCC registers in and out.
bool answered_by_machine(TranslateState& t, Conduit conduit, u32 imm16) {
    std::array<u64, 18> registers;
    for (unsigned i = 0; i < registers.size(); ++i) registers[i] = t.s.x[i];
    if (!t.platform->hypercall(conduit, static_cast<u16>(imm16), registers)) return false;
    for (unsigned i = 0; i < 4; ++i) t.s.x[i] = registers[i];
    return true;
}

// PSCI may have powered this PE off or suspended it.
LeaveReason after_machine_call(TranslateState& t) {
    advance_step(t);
    t.s.pc += 4;
    if (t.s.activity == Activity::PoweredOff) return LeaveReason::Halt;
    return t.s.activity == Activity::Halted && !wakes_up(t) ? LeaveReason::Halt : LeaveReason::Lookup;
}

}  // namespace

LeaveReason supervisor_call(TranslateState* t, u32 imm16) { return call_exception(*t, Ec::Svc, imm16, default_target(*t)); }

LeaveReason hypervisor_call(TranslateState* t, u32 imm16) {
    const unsigned el = t->s.el();
    if (el == 0) return raise(*t, Ec::Unknown, 0);
    if (!el2_enabled(*t)) {
        return answered_by_machine(*t, Conduit::Hvc, imm16) ? after_machine_call(*t) : raise(*t, Ec::Unknown, 0);
    }
    if ((effective_hcr(*t) & hcr::HCD) != 0) return raise(*t, Ec::Unknown, 0);
    return call_exception(*t, Ec::Hvc, imm16, 2);
}

LeaveReason secure_monitor_call(TranslateState* t, u32 imm16) {
    const unsigned el = t->s.el();
    if (el == 0) return raise(*t, Ec::Unknown, 0);
    if (el == 1 && (effective_hcr(*t) & hcr::TSC) != 0) return raise(*t, Ec::Smc, imm16, 2);
    return answered_by_machine(*t, Conduit::Smc, imm16) ? after_machine_call(*t) : raise(*t, Ec::Unknown, 0);
}

LeaveReason breakpoint_instruction(TranslateState* t, u32 imm16) {
    constexpr u64 kTde = 1u << 8;
    const bool to_el2 = el2_enabled(*t) && ((effective_hcr(*t) & hcr::TGE) != 0 || (t->s.sys.mdcr_el2 & kTde) != 0);
    return raise(*t, Ec::Brk, imm16, to_el2 || t->s.el() == 2 ? 2 : 1);
}

namespace {

// IllegalExceptionReturn.
bool illegal_return(const TranslateState& t, u64 spsr) {
    const u64 el = bits(spsr, 3, 2);
    if ((spsr & pstate::kNrw) != 0 || bit(spsr, 1) || el > t.s.el()) return true;
    if (el == 0) return bit(spsr, 0);
    return el == 1 && (effective_hcr(t) & hcr::TGE) != 0;
}

constexpr u64 kOsLock = 2;

// AArch64.GenerateDebugExceptionsFrom.
bool debug_enabled_from(const TranslateState& t, unsigned from, bool masked) {
    const Sysregs& sys = t.s.sys;
    if ((sys.oslsr_el1 & kOsLock) != 0) return false;
    constexpr u64 kTde = 1u << 8, kKde = 1u << 13;
    const bool to_el2 = el2_enabled(t) && ((effective_hcr(t) & hcr::TGE) != 0 || (sys.mdcr_el2 & kTde) != 0);
    const unsigned target = to_el2 ? 2 : 1;
    if (from == target) return (sys.mdscr_el1 & kKde) != 0 && !masked;
    return target > from;
}

// PSTATE bits that an exception return takes from SPSR for this model.
u64 restorable(const CpuModel& model) {
    u64 kept = pstate::kNzcv | pstate::kDaif | pstate::kIl | pstate::kEl | pstate::kSp;
    if (model.has(Feature::PAN)) kept |= pstate::kPan;
    if (model.has(Feature::UAO)) kept |= pstate::kUao;
    if (model.has(Feature::DIT)) kept |= pstate::kDit;
    if (model.has(Feature::SSBS2)) kept |= pstate::kSsbs;
    if (model.has(Feature::BTI)) kept |= pstate::kBtype;
    return kept;
}

// A program counter as BranchTo leaves it at the level that runs now.
u64 untagged_pc(const TranslateState& t, u64 pc) {
    const ModeBits mode = ModeBits::of(t);
    if (!mode.has(ModeBits::kTwoRanges)) return mode.has(ModeBits::kTbi0) ? pc & mask(56) : pc;
    if (!mode.has(bit(pc, 55) ? ModeBits::kTbi1 : ModeBits::kTbi0)) return pc;
    return static_cast<u64>(sign_extend(pc, 56));
}

}  // namespace

bool debug_exceptions_enabled(const TranslateState& t) {
    return debug_enabled_from(t, t.s.el(), (t.s.pstate & pstate::kD) != 0);
}

bool step_enabled(const TranslateState& t) { return (t.s.sys.mdscr_el1 & 1) != 0 && debug_exceptions_enabled(t); }

LeaveReason exception_return(TranslateState* t, u32 authenticated, u64 address) {
    State& s = t->s;
    const unsigned el = s.el();
    if (el == 0) return raise(*t, Ec::Unknown, 0);
    pmu_sync(*t);
    pmu_event(*t, PmuEvent::ExcReturn);
    t->stepped = 0;
    const u64 spsr = el == 2 ? s.sys.spsr_el2 : s.sys.spsr_el1;
    const u64 target = authenticated != 0 ? address : el == 2 ? s.sys.elr_el2 : s.sys.elr_el1;
    const bool illegal = illegal_return(*t, spsr);
    const unsigned to = illegal ? el : static_cast<unsigned>(bits(spsr, 3, 2));
    const bool source_debug = debug_exceptions_enabled(*t);
    const bool step = (s.sys.mdscr_el1 & 1) != 0 && !source_debug && debug_enabled_from(*t, to, bit(spsr, 9));
    u64 next = spsr & restorable(*t->model);
    if (illegal) {
        constexpr u64 kKept = pstate::kEl | pstate::kSp | pstate::kDit | pstate::kSsbs;
        next = (next & ~kKept) | (s.pstate & kKept) | pstate::kIl;
    }
    if (step && (spsr & pstate::kSs) != 0) next |= pstate::kSs;
    const bool host = host_mode(*t);
    s.pstate = next;
    if (host_mode(*t) != host) regime_changed(*t);
    s.pc = target;
    import_flags(*t);
    s.pc = untagged_pc(*t, target);
    pmu_changed(*t);
    s.exclusive.address = ~u64{0};
    s.event_register = true;
    return LeaveReason::Lookup;
}

// AArch64.ESBOperation and AArch64.vESBOperation: an SError that is masked becomes a deferred one.
void error_barrier(TranslateState* t) {
    State& s = t->s;
    constexpr u64 kDeferred = u64{1} << 31, kHost = hcr::E2H | hcr::TGE;
    const unsigned el = s.el();
    const u64 h = effective_hcr(*t);
    const bool to_el2 = el2_enabled(*t) && (h & (hcr::AMO | hcr::TGE)) != 0;
    const bool mask_counts = to_el2 ? el == 2 || (el == 0 && (h & kHost) == kHost) : el < 2;
    if ((s.pstate & pstate::kA) == 0) return;
    if (s.serror_pending && mask_counts) {
        s.sys.disr_el1 = kDeferred;
        s.serror_pending = false;
    }
    if (el < 2 && (h & (hcr::AMO | hcr::VSE | hcr::TGE)) == (hcr::AMO | hcr::VSE)) {
        s.sys.vdisr_el2 = kDeferred | (s.sys.vsesr_el2 & mask(25));
        s.sys.hcr_el2 &= ~hcr::VSE;
    }
}

void synchronize(TranslateState* t) { t->platform->complete_tlb_invalidates(); }

}  // namespace tandem::cpu::arm64
