// Far JMP, CALL and RET: SDM volume 2 "JMP", "CALL", "RET"; volume 3, 5.8.
#include "cpu/x86/system/internal.h"

namespace tandem::cpu::x86 {

bool check_target(TranslateState& t, const Segment& cs, u64 offset, u32 ext) {
    const bool wide = long_mode(t.s) && (cs.access & access::L) != 0;
    const bool ok = wide ? canonical(t.s, offset) : offset <= cs.limit;
    return ok || fault(t, kGP, ext);
}

void set_code(State& s, Segment cs, unsigned level, u64 rip) {
    cs.selector = static_cast<u16>(index_of(cs.selector) | level);
    s.seg[CS] = cs;
    s.rip = rip;
}

void drop_privileged_segments(State& s) {
    for (const SegReg r : {ES, DS, FS, GS}) {
        Segment& seg = s.seg[r];
        const bool conforming = (seg.access & (access::Code | access::Conforming)) == (access::Code | access::Conforming);
        if (usable(seg) && !conforming && dpl(seg) < cpl(s)) seg = null_segment(0);
    }
}

namespace {

u64 truncate(u64 value, u32 opsize) { return value & mask(opsize * 8); }

LeaveReason jump_real(TranslateState& t, u16 selector, u64 offset) {
    if (offset > t.s.seg[CS].limit) return raise(t, kGP);
    set_real_segment(t.s.seg[CS], selector);
    t.s.rip = offset;
    return LeaveReason::Lookup;
}

// Checks common to a target code segment named directly by JMP or CALL.
bool check_direct_code(TranslateState& t, u16 selector, const Descriptor& d) {
    const unsigned level = cpl(t.s);
    const u32 error = index_of(selector);
    if (d.conforming() ? d.dpl() > level : rpl_of(selector) > level || d.dpl() != level) return fault(t, kGP, error);
    if (long_mode(t.s) && d.long_code() && d.db()) return fault(t, kGP, error);
    return d.present() || fault(t, kNP, error);
}

bool is_task(const Descriptor& d) { return d.type() == kTss16 || d.type() == kTss32 || d.type() == kTaskGate; }

LeaveReason transfer_to_task(TranslateState& t, u16 selector, const Descriptor& d, TaskSwitch reason, u64 next) {
    const u32 error = index_of(selector);
    if (long_mode(t.s) || d.dpl() < cpl(t.s) || d.dpl() < rpl_of(selector)) return raise(t, kGP, error);
    if (!d.present()) return raise(t, kNP, error);
    const u16 tss = d.type() == kTaskGate ? d.gate_selector() : selector;
    return done(t, switch_task(t, tss, reason, next), LeaveReason::Lookup);
}

// A call gate and the code segment behind it.
struct CallGate {
    Segment cs;
    unsigned level = 0;  // DPL of the code segment, or CPL when conforming
    u64 offset = 0;
    unsigned size = 4;  // of what is pushed
    unsigned parameters = 0;
};

bool is_call_gate(const State& s, const Descriptor& d) {
    return d.type() == kCallGate32 || (d.type() == kCallGate16 && !long_mode(s));
}

bool load_call_gate(TranslateState& t, u16 selector, const Descriptor& gate, bool jump, CallGate& out) {
    const State& s = t.s;
    const u32 error = index_of(selector);
    const bool wide = long_mode(s);
    if (gate.dpl() < cpl(s) || gate.dpl() < rpl_of(selector)) return fault(t, kGP, error);
    if (wide && bits(gate.high, 44, 40) != 0) return fault(t, kGP, error);
    if (!gate.present()) return fault(t, kNP, error);
    const u16 target = gate.gate_selector();
    const u32 target_error = index_of(target);
    if (null(target)) return fault(t, kGP);
    Descriptor d;
    if (!require_descriptor(t, target, d, kGP)) return false;
    const bool bad_level = d.dpl() > cpl(s) || (jump && !d.conforming() && d.dpl() != cpl(s));
    if (!d.code() || bad_level || (wide && (!d.long_code() || d.db()))) return fault(t, kGP, target_error);
    if (!d.present()) return fault(t, kNP, target_error);
    if (!mark_accessed(t, target, d)) return false;
    out.cs = to_segment(target, d);
    out.level = d.conforming() ? cpl(s) : d.dpl();
    out.size = wide ? 8 : gate.type() == kCallGate16 ? 2 : 4;
    out.offset = truncate(gate.gate_offset(), out.size);
    out.parameters = static_cast<unsigned>(bits(gate.low, 36, 32));
    return true;
}

bool push_return(Stack& stack, const State& s, u64 next, unsigned size) {
    return stack.push(s.seg[CS].selector, size) && stack.push(next, size);
}

bool call_gate_same(TranslateState& t, const CallGate& g, u64 next) {
    const bool wide = long_mode(t.s);
    Stack stack(t, t.s.seg[SS], t.s.gpr[RSP], wide, data_mmu(t.s), 0);
    if (!push_return(stack, t.s, next, g.size) || !check_target(t, g.cs, g.offset)) return false;
    stack.commit();
    set_code(t.s, g.cs, g.level, g.offset);
    return true;
}

bool call_gate_inner64(TranslateState& t, const CallGate& g, u64 next) {
    State& s = t.s;
    u64 sp = 0;
    if (!read_tss64_stack(t, g.level, 0, 0, sp)) return false;
    Stack stack(t, s.seg[SS], sp, true, kMmuSupervisor, 0);
    if (!stack.push(s.seg[SS].selector, 8) || !stack.push(s.gpr[RSP], 8) || !push_return(stack, s, next, 8)) return false;
    if (!check_target(t, g.cs, g.offset)) return false;
    stack.commit();
    s.seg[SS] = null_segment(static_cast<u16>(g.level), g.level);
    set_code(s, g.cs, g.level, g.offset);
    return true;
}

bool call_gate_inner(TranslateState& t, const CallGate& g, u64 next) {
    State& s = t.s;
    u16 ss_selector = 0;
    u64 sp = 0;
    Segment ss;
    if (!read_tss_stack(t, g.level, 0, ss_selector, sp) || !load_inner_stack(t, ss_selector, g.level, 0, ss)) return false;
    std::array<u64, 32> parameters{};
    Stack old_stack(t);
    for (unsigned i = 0; i < g.parameters; ++i) {
        if (!old_stack.pop(parameters[i], g.size)) return false;
    }
    Stack stack(t, ss, sp, false, kMmuSupervisor, index_of(ss_selector));
    if (!stack.push(s.seg[SS].selector, g.size) || !stack.push(s.gpr[RSP], g.size)) return false;
    for (unsigned i = g.parameters; i-- > 0;) {
        if (!stack.push(parameters[i], g.size)) return false;
    }
    if (!push_return(stack, s, next, g.size) || !check_target(t, g.cs, g.offset)) return false;
    s.seg[SS] = ss;
    stack.commit();
    set_code(s, g.cs, g.level, g.offset);
    return true;
}

LeaveReason call_through_gate(TranslateState& t, u16 selector, const Descriptor& gate, u64 next) {
    CallGate g;
    if (!load_call_gate(t, selector, gate, false, g)) return failed(t);
    bool ok;
    if (g.level == cpl(t.s)) {
        ok = call_gate_same(t, g, next);
    } else {
        ok = long_mode(t.s) ? call_gate_inner64(t, g, next) : call_gate_inner(t, g, next);
    }
    return done(t, ok, LeaveReason::Lookup);
}

}  // namespace

LeaveReason far_jump(TranslateState* t, u32 selector32, u64 offset, u32 opsize, u64 next) {
    State& s = t->s;
    const auto selector = static_cast<u16>(selector32);
    offset = truncate(offset, opsize);
    if (!protected_mode(s) || vm86(s)) return jump_real(*t, selector, offset);
    if (null(selector)) return raise(*t, kGP);
    Descriptor d;
    if (!require_descriptor(*t, selector, d, kGP)) return failed(*t);
    if (d.code()) {
        if (!check_direct_code(*t, selector, d)) return failed(*t);
        const Segment cs = to_segment(selector, d);
        if (!check_target(*t, cs, offset) || !mark_accessed(*t, selector, d)) return failed(*t);
        set_code(s, to_segment(selector, d), cpl(s), offset);
        return LeaveReason::Lookup;
    }
    if (d.system() && is_task(d)) return transfer_to_task(*t, selector, d, TaskSwitch::Jump, next);
    if (!d.system() || !is_call_gate(s, d)) return raise(*t, kGP, index_of(selector));
    CallGate g;
    if (!load_call_gate(*t, selector, d, true, g) || !check_target(*t, g.cs, g.offset)) return failed(*t);
    set_code(s, g.cs, cpl(s), g.offset);
    return LeaveReason::Lookup;
}

LeaveReason far_call(TranslateState* t, u32 selector32, u64 offset, u32 opsize, u64 next) {
    State& s = t->s;
    const auto selector = static_cast<u16>(selector32);
    offset = truncate(offset, opsize);
    if (!protected_mode(s) || vm86(s)) {
        Stack stack(*t);
        if (!push_return(stack, s, next, opsize)) return failed(*t);
        const LeaveReason result = jump_real(*t, selector, offset);
        if (result == LeaveReason::Lookup) stack.commit();
        return result;
    }
    if (null(selector)) return raise(*t, kGP);
    Descriptor d;
    if (!require_descriptor(*t, selector, d, kGP)) return failed(*t);
    if (d.code()) {
        if (!check_direct_code(*t, selector, d)) return failed(*t);
        Stack stack(*t);
        if (!push_return(stack, s, next, opsize)) return failed(*t);
        if (!check_target(*t, to_segment(selector, d), offset) || !mark_accessed(*t, selector, d)) return failed(*t);
        stack.commit();
        set_code(s, to_segment(selector, d), cpl(s), offset);
        return LeaveReason::Lookup;
    }
    if (d.system() && is_task(d)) return transfer_to_task(*t, selector, d, TaskSwitch::Call, next);
    if (!d.system() || !is_call_gate(s, d)) return raise(*t, kGP, index_of(selector));
    return call_through_gate(*t, selector, d, next);
}

}  // namespace tandem::cpu::x86
