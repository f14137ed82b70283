// Exceptions and interrupts up to the gate: SDM volume 3, chapter 6.
#include "cpu/x86/system/exceptions.h"

#include "cpu/x86/system/svm.h"
#include "cpu/x86/system/svm_events.h"

#include <array>

#include "base/log.h"
#include "cpu/x86/debugger.h"

namespace tandem::cpu::x86 {

namespace {

using K = ExceptionKind;
using C = ExceptionClass;

constexpr std::array<ExceptionInfo, 32> kExceptions{{
    {"#DE", K::Fault, C::Contributory, false}, {"#DB", K::FaultOrTrap, C::Benign, false},
    {"NMI", K::Interrupt, C::Benign, false},   {"#BP", K::Trap, C::Benign, false},
    {"#OF", K::Trap, C::Benign, false},        {"#BR", K::Fault, C::Benign, false},
    {"#UD", K::Fault, C::Benign, false},       {"#NM", K::Fault, C::Benign, false},
    {"#DF", K::Abort, C::DoubleFault, true},   {"-", K::Fault, C::Benign, false},
    {"#TS", K::Fault, C::Contributory, true},  {"#NP", K::Fault, C::Contributory, true},
    {"#SS", K::Fault, C::Contributory, true},  {"#GP", K::Fault, C::Contributory, true},
    {"#PF", K::Fault, C::PageFault, true},     {"-", K::Fault, C::Benign, false},
    {"#MF", K::Fault, C::Benign, false},       {"#AC", K::Fault, C::Benign, true},
    {"#MC", K::Abort, C::Benign, false},       {"#XM", K::Fault, C::Benign, false},
    {"#VE", K::Fault, C::PageFault, false},    {"#CP", K::Fault, C::Contributory, true},
    {"-", K::Fault, C::Benign, false},         {"-", K::Fault, C::Benign, false},
    {"-", K::Fault, C::Benign, false},         {"-", K::Fault, C::Benign, false},
    {"-", K::Fault, C::Benign, false},         {"-", K::Fault, C::Benign, false},
    {"-", K::Fault, C::Benign, false},         {"-", K::Fault, C::Benign, false},
    {"#SX", K::Fault, C::Contributory, true},
}};
constexpr ExceptionInfo kInterrupt{"INT", K::Interrupt, C::Benign, false};

constexpr u64 kDr6Events = 0xf | dr6::BD | dr6::BS | dr6::BT;

// "On interrupts and exceptions" the last branch is the way to the handler, and the one before it is kept (AMD APM volume 2,
// 13.1.1.6).
void record_event(State& s, const Event& e, u64 from) {
    Msrs& m = s.msr;
    if ((m.debugctl & debugctl::LBR) == 0) return;
    const bool exception = e.source == EventSource::Exception;
    const bool kept = e.source == EventSource::Int1 || (exception && (e.vector == kDB || e.vector == kMC));
    if (!kept) {
        m.last_exception_from = m.last_branch_from;
        m.last_exception_to = m.last_branch_to;
    }
    m.last_branch_from = from;
    m.last_branch_to = s.rip;
}

enum class Combined : u8 { Serial, DoubleFault, Shutdown };

// SDM volume 3, table 6-5.
Combined combine(u8 first, u8 second) {
    const C a = exception_info(first).severity;
    const C b = exception_info(second).severity;
    if (b == C::Benign) return Combined::Serial;
    switch (a) {
        case C::Benign: return Combined::Serial;
        case C::Contributory: return b == C::Contributory ? Combined::DoubleFault : Combined::Serial;
        case C::PageFault: return Combined::DoubleFault;
        case C::DoubleFault: return Combined::Shutdown;
    }
    return Combined::Serial;
}

// What an exception does before its handler is looked up.
void apply_payload(State& s, const PendingEvent& e) {
    if (e.vector == kPF) s.cr2 = e.payload;
    if (e.vector == kDB) {
        s.dr6 = (s.dr6 & ~u64{0xf}) | (e.payload & kDr6Events);
        s.dr7 &= ~dr7::GD;
        s.msr.debugctl &= ~(debugctl::LBR | debugctl::BTF);
    }
}

Event to_event(const State& s, const PendingEvent& e) {
    Event event;
    event.source = e.software ? EventSource::IntN : EventSource::Exception;
    event.vector = e.vector;
    event.has_error = e.has_error;
    event.error = e.error;
    event.return_rip = s.rip;
    event.set_rf = !e.software && is_fault(e.vector);
    return event;
}

LeaveReason shut_down(TranslateState& t) {
    State& s = t.s;
    if (intercepts(s, exit_code::Shutdown)) {
        leave_guest(t, {exit_code::Shutdown, 0, 0, 0, false});
        return LeaveReason::Lookup;
    }
    log::trace(log::Int, "int: triple fault at {:04x}:{:#x}, processor shuts down", s.seg[CS].selector, s.rip);
    s.activity = Activity::Shutdown;
    // An interrupt's delivery has no result that would end the run.
    jit::header_of(&t).attention.store(1, std::memory_order_relaxed);
    t.platform->shutdown(s.rip);
    return LeaveReason::Exit;
}

void trace(const TranslateState& t, const Event& e) {
    if (!log::enabled(log::Int)) return;
    const State& s = t.s;
    const std::string_view name = e.source == EventSource::Exception || e.source == EventSource::Nmi
                                      ? exception_info(e.vector).mnemonic
                                  : e.source == EventSource::External ? "IRQ"
                                                                      : "INT";
    log::trace(log::Int, "int: {} vector {:#04x} error {:#06x} at {:04x}:{:#x} cpl {} sp {:04x}:{:#x} cr2 {:#x}", name,
               e.vector, e.has_error ? e.error : 0, s.seg[CS].selector, e.return_rip, cpl(s), s.seg[SS].selector, s.gpr[RSP],
               s.cr2);
}

}  // namespace

const ExceptionInfo& exception_info(u8 vector) { return vector < kExceptions.size() ? kExceptions[vector] : kInterrupt; }
bool is_fault(u8 vector) { return vector < 32 && exception_info(vector).kind == K::Fault; }

LeaveReason raise(TranslateState& t, Vector vector, u32 error, u64 payload) {
    PendingEvent& e = t.s.pending;
    e = {};
    e.valid = true;
    e.vector = vector;
    e.has_error = exception_info(vector).has_error;
    e.error = e.has_error ? error : 0;
    e.payload = payload;
    // The instruction did not complete: neither its single-step trap nor its data breakpoints are due.
    if (is_fault(vector)) t.s.debug_trap = 0;
    return LeaveReason::Exception;
}

LeaveReason raise_exception(TranslateState* t, u32 vector, u32 error) {
    return raise(*t, static_cast<Vector>(vector & 0xff), error);
}

LeaveReason deliver_with_nesting(TranslateState& t, Event event) {
    State& s = t.s;
    settle_branch(t);
    for (;;) {
        trace(t, event);
        t.s.debug_trap = 0;
        const u64 from = s.rip;
        if (deliver_event(t, event)) {
            record_event(s, event, from);
            s.sti_shadow = s.mov_ss_shadow = false;
            s.activity = Activity::Running;
            return LeaveReason::Lookup;
        }
        if (!s.pending.valid) return failed(t);
        PendingEvent nested = s.pending;
        s.pending = {};
        if (nested.kind == PendingKind::Exit) {
            leave_guest(t, s.svm.exit, &event);
            return LeaveReason::Lookup;
        }
        if (s.svm.guest && exception_exits(t, nested, &event)) return LeaveReason::Lookup;
        const bool exception = event.source == EventSource::Exception;
        const Combined result = exception ? combine(event.vector, nested.vector) : Combined::Serial;
        if (result == Combined::Shutdown) return shut_down(t);
        apply_payload(s, nested);
        if (result == Combined::DoubleFault) {
            nested = {};
            nested.vector = kDF;
            nested.has_error = true;
            if (s.svm.guest && exception_exits(t, nested, &event)) return LeaveReason::Lookup;
        }
        event = to_event(s, nested);
    }
}

LeaveReason deliver_exception(TranslateState& t) {
    State& s = t.s;
    if (!s.pending.valid) {  // a debugger's breakpoint comes before the fault of a fetch
        const Debugger* const d = debugger_of(t);
        return d != nullptr && d->stop ? LeaveReason::Exit : LeaveReason::Lookup;
    }
    const PendingEvent e = s.pending;
    s.pending = {};
    export_flags(t);
    switch (e.kind) {
        case PendingKind::Exit:
            debug_undo(t);
            leave_guest(t, s.svm.exit);
            return LeaveReason::Lookup;
        case PendingKind::Injection: return deliver_with_nesting(t, injected_event(s));
        case PendingKind::Exception: break;
    }
    if (s.svm.guest && exception_exits(t, e)) return LeaveReason::Lookup;
    apply_payload(s, e);
    return deliver_with_nesting(t, to_event(s, e));
}

LeaveReason software_interrupt(TranslateState* t, u32 vector, u32 kind, u64 next) {
    State& s = t->s;
    export_flags(*t);
    const auto which = static_cast<SoftwareInterrupt>(kind);
    if (s.svm.guest && software_interrupt_exits(*t, static_cast<u8>(vector), which, next)) return failed(*t);
    if (vm86(s) && which == SoftwareInterrupt::IntN) {
        const VirtualInterrupt result = virtual_interrupt(*t, static_cast<u8>(vector), next);
        if (result == VirtualInterrupt::Fault) return failed(*t);
        if (result == VirtualInterrupt::Done) {
            s.debug_trap = 0;
            return LeaveReason::Lookup;
        }
    }
    Event event;
    event.source = which == SoftwareInterrupt::IntN   ? EventSource::IntN
                   : which == SoftwareInterrupt::Int1 ? EventSource::Int1
                                                      : EventSource::Int3OrInto;
    event.vector = static_cast<u8>(vector);
    event.return_rip = next;
    // EXITINTINFO names it if its delivery leaves the guest (APM volume 2, 15.7.2).
    if (s.svm.guest) return deliver_with_nesting(*t, event);
    trace(*t, event);
    t->s.debug_trap = 0;  // INT clears TF, and no single-step trap follows it
    const u64 from = s.rip;
    if (deliver_event(*t, event)) {
        record_event(s, event, from);
        s.sti_shadow = s.mov_ss_shadow = false;
        return LeaveReason::Lookup;
    }
    return failed(*t);
}

namespace {

bool deliver_asynchronous(TranslateState& t, EventSource source, u8 vector) {
    Event event;
    event.source = source;
    event.vector = vector;
    event.return_rip = t.s.rip;
    export_flags(t);
    deliver_with_nesting(t, event);
    return true;
}

// The event stays pending; the host takes it when it sets GIF (APM volume 2, 15.13).
bool exits_instead(TranslateState& t, u64 code) {
    if (!intercepts(t.s, code)) return false;
    leave_guest(t, {code, 0, 0, 0, false});
    return true;
}

// An INIT that GIF, its intercept or VM_CR.R_INIT keeps from being taken as such (APM volume 2, 15.13.3, 15.17, 15.28).
bool deliver_init(TranslateState& t) {
    constexpr u32 kRedirectedInit = 1;
    State& s = t.s;
    if (!s.svm.init_pending) return false;
    if (exits_instead(t, exit_code::Init)) return true;
    s.svm.init_pending = false;
    if ((s.svm.vm_cr & vm_cr::RInit) == 0) {
        t.platform->repeat_init();
        return false;
    }
    raise(t, kSX, kRedirectedInit);
    (void)deliver_exception(t);
    return true;
}

// The guest's own (APM volume 2, 15.21.4).
bool deliver_virtual(TranslateState& t) {
    State& s = t.s;
    if (!virtual_interrupt_due(s)) return false;
    if (exits_instead(t, exit_code::Vintr)) return true;
    const u64 v = s.svm.v_intr;
    s.svm.v_intr &= ~v_intr::Irq;
    return deliver_asynchronous(t, EventSource::External, static_cast<u8>(v >> v_intr::kVector));
}

// NMI before external interrupts (SDM volume 3, 6.9).
bool deliver_next(TranslateState& t) {
    State& s = t.s;
    if (t.platform->take_nmi()) s.nmi_pending = true;
    if (!s.svm.gif) return false;
    // Both last for one instruction, whose block ends in the dispatcher, which polls again. A waiting #DB trap is reported
    // first, by debug_begin().
    if (deliver_init(t)) return true;
    if (shadow_active(s) || (t.s.debug_trap != 0 && s.activity == Activity::Running)) return false;
    if (s.nmi_pending && !s.nmi_blocked) {
        if (exits_instead(t, exit_code::Nmi)) return true;
        s.nmi_pending = false;
        s.nmi_blocked = true;
        return deliver_asynchronous(t, EventSource::Nmi, kNMI);
    }
    if (!physical_interrupts_enabled(s) || !t.platform->interrupt_pending()) return deliver_virtual(t);
    if (exits_instead(t, exit_code::Intr)) return true;
    const int vector = t.platform->acknowledge_interrupt();
    return vector >= 0 && deliver_asynchronous(t, EventSource::External, static_cast<u8>(vector));
}

}  // namespace

bool poll_interrupts(TranslateState& t) {
    State& s = t.s;
    if (s.activity == Activity::WaitForSipi || s.activity == Activity::Shutdown) return false;
    if (s.pending.valid) {  // only a state from outside comes with an event that is not delivered yet
        (void)deliver_exception(t);
        return true;
    }
    if (deliver_next(t)) return true;
    // Who polls is about to execute. A halt whose wake-up event has gone away again ends all the same; it must not be taken
    // for asleep while it runs.
    if (s.activity == Activity::Halted) s.activity = Activity::Running;
    return false;
}

}  // namespace tandem::cpu::x86
