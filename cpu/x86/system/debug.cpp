// Debug registers and debug exceptions: SDM volume 3, 17.2 and 17.3 (contract R6).
#include <algorithm>
#include <utility>

#include "cpu/x86/debugger.h"
#include "cpu/x86/system/internal.h"
#include "cpu/x86/system/limits.h"

namespace tandem::cpu::x86 {

namespace {

enum class Condition : u8 { Execute, Write, Io, ReadWrite };

struct Breakpoint {
    bool enabled;
    Condition condition;
    unsigned length;
    u64 address;
};

Breakpoint breakpoint(const State& s, unsigned index) {
    constexpr u8 kLength[] = {1, 2, 8, 4};
    const unsigned length = kLength[bits(s.dr7, 19 + index * 4, 18 + index * 4)];
    return {bits(s.dr7, index * 2 + 1, index * 2) != 0, static_cast<Condition>(bits(s.dr7, 17 + index * 4, 16 + index * 4)),
            length, align_down(s.dr[index], length)};
}

// DR6 bits of the enabled breakpoints that `matches` says yes to.
template <class F>
u64 hits(const State& s, F matches) {
    u64 result = 0;
    if (!s.svm.gif) return 0;  // "ignored and discarded" (AMD APM volume 2, 15.17)
    for (unsigned i = 0; i < 4; ++i) {
        const Breakpoint b = breakpoint(s, i);
        if (b.enabled && matches(b)) result |= u64{1} << i;
    }
    return result;
}

bool overlaps(const Breakpoint& b, u64 va, u64 size) { return va < b.address + b.length && b.address < va + size; }

// CPL, then aliases, then general detect.
bool check_dr_access(TranslateState& t, u32& index) {
    State& s = t.s;
    if (!require_cpl0(t)) return false;
    if (index == 4 || index == 5) {
        if ((s.cr4 & cr4::DE) != 0) return fault(t, kUD);
        index += 2;
    }
    if ((s.dr7 & dr7::GD) != 0) return fault(t, kDB, 0, dr6::BD);
    return true;
}

}  // namespace

bool check_debug_read(TranslateState& t, u32 index) { return check_dr_access(t, index); }

bool check_debug_write(TranslateState& t, u32 index, u64 value) {
    if (!check_dr_access(t, index)) return false;
    return index < 6 || !code64(t.s) || (value >> 32) == 0 || fault(t, kGP);
}

LeaveReason mov_to_dr(TranslateState* t, u32 index, u64 value) {
    State& s = t->s;
    if (!check_dr_access(*t, index)) return failed(*t);
    if (!code64(s)) value &= 0xffffffff;
    if (index >= 6 && (value >> 32) != 0) return raise(*t, kGP);
    if (index < 4) {
        s.dr[index] = value;
    } else if (index == 6) {
        s.dr6 = (value & kDr6Writable) | kDr6Ones;
    } else {
        s.dr7 = (value & kDr7Writable) | kDr7Ones;
    }
    return LeaveReason::None;
}

LeaveReason mov_from_dr(TranslateState* t, u32 index) {
    const State& s = t->s;
    if (!check_dr_access(*t, index)) return failed(*t);
    t->scratch[0] = index < 4 ? s.dr[index] : index == 6 ? s.dr6 : s.dr7;
    return LeaveReason::None;
}

bool debug_active(const TranslateState& t) {
    return (t.s.rflags & eflags::TF) != 0 || (t.s.dr7 & dr7::Enables) != 0 || t.s.debug_trap != 0 ||
           debugger_of(t) != nullptr;
}

namespace {

// The trap that waits, without what MOV SS holds off: a single step is lost, breakpoints wait (SDM volume 3, 6.8.3).
u64 take_trap(State& s) {
    const u64 trap = s.debug_trap;
    s.debug_trap = s.mov_ss_shadow ? trap & (0xf | kDebuggerTrap) : 0;
    return s.mov_ss_shadow ? 0 : trap;
}

u64 code_address(const State& s) { return linear(s, s.rip + (code64(s) ? 0 : s.seg[CS].base)); }

u64 execution_hits(const State& s) {
    if ((s.rflags & eflags::RF) != 0 || s.mov_ss_shadow) return 0;
    const u64 va = code_address(s);
    return hits(s, [va](const Breakpoint& b) { return b.condition == Condition::Execute && b.address == va; });
}

// Whether the debugger stops at this boundary: behind an instruction that has met a data breakpoint, or before one that has
// a breakpoint of its own, unless it was told of it. MOV SS holds both off as it does the guest's.
bool stop_for_debugger(State& s, Debugger& d) {
    if (s.mov_ss_shadow) return false;
    if ((s.debug_trap & kDebuggerTrap) != 0) {
        s.debug_trap &= ~kDebuggerTrap;
        d.stop = {true, d.data};
        return true;
    }
    const u64 va = code_address(s);
    const bool told = d.passed == va;
    if (told) d.passed.reset();
    if ((s.rflags & eflags::RF) != 0) return false;
    const auto here = [va](const Debugger::Breakpoint& b) {
        return b.kind == Debugger::Breakpoint::Kind::Execute && b.address == va;
    };
    if (told || d.stepping || s.debug_trap != 0 || std::ranges::none_of(d.breakpoints, here)) return false;
    d.passed = va;
    d.stop = {false, va};
    return true;
}

}  // namespace

bool debug_before_fetch(TranslateState& t) {
    if (!debug_active(t)) return false;
    if (Debugger* const d = debugger_of(t); d != nullptr && stop_for_debugger(t.s, *d)) return true;
    const u64 trap = take_trap(t.s);
    const u64 hit = trap != 0 ? trap : execution_hits(t.s);
    return hit != 0 && !fault(t, kDB, 0, hit);
}

LeaveReason debug_begin(TranslateState* t) {
    if (debug_before_fetch(*t)) return t->s.pending.valid ? LeaveReason::Exception : LeaveReason::Exit;
    State& s = t->s;
    t->resumed_at = (s.rflags & eflags::RF) != 0 ? s.rip : ~u64{0};
    s.rflags &= ~eflags::RF;
    const bool branches_only = (s.msr.debugctl & debugctl::BTF) != 0;
    if ((s.rflags & eflags::TF) != 0 && !branches_only) s.debug_trap |= dr6::BS;
    return LeaveReason::None;
}

void debug_undo(TranslateState& t) {
    if (debug_active(t) && t.resumed_at == t.s.rip) t.s.rflags |= eflags::RF;
}

void debug_branch(TranslateState* t, u8 taken) {
    State& s = t->s;
    const bool step = (s.rflags & eflags::TF) != 0 && (s.msr.debugctl & debugctl::BTF) != 0;
    if (step && taken != 0) s.debug_trap |= dr6::BS;
}

void settle_branch(TranslateState& t) {
    if (t.branch_taken && t.s.rip != t.branch_from) branch_arrived(&t, t.s.rip);
    t.branch_taken = false;
}

void branch_noted(TranslateState* t, u64 from, u8 taken) {
    t->branch_taken = taken != 0;
    t->branch_from = from;
}

void branch_arrived(TranslateState* t, u64 at) {
    if (!t->branch_taken) return;
    t->branch_taken = false;
    t->s.msr.last_branch_from = t->branch_from;
    t->s.msr.last_branch_to = at;
}

void debug_data(TranslateState* t, u64 va, u32 size, u32 write) {
    t->s.debug_trap |= hits(t->s, [=](const Breakpoint& b) {
        const bool kind = b.condition == Condition::ReadWrite || (b.condition == Condition::Write && write != 0);
        return kind && overlaps(b, va, size);
    });
    Debugger* const d = debugger_of(*t);
    if (d == nullptr) return;
    for (const Debugger::Breakpoint& b : d->breakpoints) {
        const bool kind =
            b.kind == Debugger::Breakpoint::Kind::Access || (b.kind == Debugger::Breakpoint::Kind::Write && write != 0);
        if (!kind || va >= b.address + b.size || b.address >= va + size) continue;
        d->data = b.address;
        t->s.debug_trap |= kDebuggerTrap;
        return;
    }
}

void debug_port(TranslateState& t, u16 port, unsigned size) {
    if ((t.s.dr7 & dr7::Enables) == 0 || (t.s.cr4 & cr4::DE) == 0) return;
    t.s.debug_trap |=
        hits(t.s, [=](const Breakpoint& b) { return b.condition == Condition::Io && overlaps(b, port, size); });
}

}  // namespace tandem::cpu::x86
