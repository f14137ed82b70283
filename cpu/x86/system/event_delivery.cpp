// One event through the interrupt vector table or the interrupt descriptor table: SDM volume 3, 6.11 to 6.14
// and 20.1.4, 20.3.
#include <utility>

#include "cpu/x86/system/exceptions.h"

namespace tandem::cpu::x86 {

namespace {

u64 flags_image(const State& s, const Event& e) {
    if (e.set_rf) return s.rflags | eflags::RF;
    const bool software =
        e.source == EventSource::IntN || e.source == EventSource::Int3OrInto || e.source == EventSource::Int1;
    return software ? s.rflags & ~eflags::RF : s.rflags;
}

void clear_flags(State& s, bool interrupt_gate) {
    s.rflags &= ~(eflags::TF | eflags::NT | eflags::RF | eflags::VM);
    if (interrupt_gate) s.rflags &= ~eflags::IF;
}

bool deliver_real(TranslateState& t, const Event& e) {
    State& s = t.s;
    u32 entry = 0;
    if (u32{e.vector} * 4 + 3 > s.idtr.limit) return fault(t, kGP, e.vector * 8u + 2 + e.ext());
    if (!read_system(t, s.idtr.base + u64{e.vector} * 4, entry)) return false;
    Stack stack(t);
    if (!stack.push(flags_image(s, e) & 0xffff, 2) || !stack.push(s.seg[CS].selector, 2) ||
        !stack.push(e.return_rip & 0xffff, 2)) {
        return false;
    }
    stack.commit();
    set_real_segment(s.seg[CS], static_cast<u16>(entry >> 16));
    s.rip = entry & 0xffff;
    clear_flags(s, true);
    s.rflags &= ~eflags::AC;
    return true;
}

u32 gate_error(const Event& e) { return e.vector * 8u + 2 + e.ext(); }

bool read_gate(TranslateState& t, const Event& e, Descriptor& gate) {
    const State& s = t.s;
    const u32 size = long_mode(s) ? 16 : 8;
    if (u32{e.vector} * size + size - 1 > s.idtr.limit) return fault(t, kGP, gate_error(e));
    const u64 va = s.idtr.base + u64{e.vector} * size;
    if (!read_system(t, va, gate.low) || (size == 16 && !read_system(t, va + 8, gate.high))) return false;
    const unsigned type = gate.type();
    const bool wide = type == kIntGate32 || type == kTrapGate32;
    const bool narrow = type == kIntGate16 || type == kTrapGate16 || type == kTaskGate;
    if (!gate.system() || !(wide || (narrow && !long_mode(s)))) return fault(t, kGP, gate_error(e));
    const bool software = e.source == EventSource::IntN || e.source == EventSource::Int3OrInto;
    if (software && gate.dpl() < cpl(s)) return fault(t, kGP, gate_error(e));
    return gate.present() || fault(t, kNP, gate_error(e));
}

// The handler's code segment and the privilege level it runs at.
struct Handler {
    Segment cs;
    unsigned level = 0;
    bool inner = false;
    bool wide_gate = false;  // 32-bit gate
    bool interrupt_gate = false;
    u64 offset = 0;
};

bool load_handler(TranslateState& t, const Event& e, const Descriptor& gate, Handler& h) {
    const State& s = t.s;
    const u16 selector = gate.gate_selector();
    const u32 error = index_of(selector) | e.ext();
    if (null(selector)) return fault(t, kGP, e.ext());
    Descriptor d;
    if (!require_descriptor(t, selector, d, kGP, e.ext())) return false;
    if (!d.code() || d.dpl() > cpl(s)) return fault(t, kGP, error);
    if (long_mode(s) && (!d.long_code() || d.db())) return fault(t, kGP, error);
    if (!d.present()) return fault(t, kNP, error);
    h.inner = !d.conforming() && d.dpl() < cpl(s);
    h.level = h.inner ? d.dpl() : cpl(s);
    if (vm86(s) && (!h.inner || h.level != 0)) return fault(t, kGP, error);
    if (!mark_accessed(t, selector, d)) return false;
    h.cs = to_segment(selector, d);
    h.wide_gate = gate.type() == kIntGate32 || gate.type() == kTrapGate32;
    h.interrupt_gate = gate.type() == kIntGate32 || gate.type() == kIntGate16;
    h.offset =
        h.wide_gate ? (long_mode(s) ? gate.gate_offset() : gate.gate_offset() & 0xffffffff) : gate.gate_offset() & 0xffff;
    return true;
}

void enter_handler(State& s, const Handler& h) {
    set_code(s, h.cs, h.level, h.offset);
    clear_flags(s, h.interrupt_gate);
}

bool deliver_long(TranslateState& t, const Event& e, const Descriptor& gate, const Handler& h) {
    State& s = t.s;
    const unsigned ist = static_cast<unsigned>(bits(gate.low, 34, 32));
    u64 sp = s.gpr[RSP];
    if ((h.inner || ist != 0) && !read_tss64_stack(t, h.level, ist, e.ext(), sp)) return false;
    const unsigned mmu = h.inner ? unsigned{kMmuSupervisor} : data_mmu(s);
    Stack stack(t, s.seg[SS], align_down(sp, 16), true, mmu, e.ext());
    const u64 flags = flags_image(s, e);
    const bool pushed = stack.push(s.seg[SS].selector, 8) && stack.push(s.gpr[RSP], 8) && stack.push(flags, 8) &&
                        stack.push(s.seg[CS].selector, 8) && stack.push(e.return_rip, 8) &&
                        (!e.has_error || stack.push(e.error, 8));
    if (!pushed || !check_target(t, h.cs, h.offset, e.ext())) return false;
    stack.commit();
    if (h.inner) s.seg[SS] = null_segment(static_cast<u16>(h.level), h.level);
    enter_handler(s, h);
    return true;
}

bool push_vm86_segments(Stack& stack, const State& s, unsigned size) {
    return stack.push(s.seg[GS].selector, size) && stack.push(s.seg[FS].selector, size) &&
           stack.push(s.seg[DS].selector, size) && stack.push(s.seg[ES].selector, size);
}

bool deliver_inner(TranslateState& t, const Event& e, const Handler& h) {
    State& s = t.s;
    const bool from_vm86 = vm86(s);
    const unsigned size = h.wide_gate ? 4 : 2;
    u16 ss_selector = 0;
    u64 sp = 0;
    Segment ss;
    if (!read_tss_stack(t, h.level, e.ext(), ss_selector, sp)) return false;
    if (!load_inner_stack(t, ss_selector, h.level, e.ext(), ss)) return false;
    Stack stack(t, ss, sp, false, kMmuSupervisor, index_of(ss_selector) | e.ext());
    const u64 flags = flags_image(s, e);
    const bool pushed = (!from_vm86 || push_vm86_segments(stack, s, size)) && stack.push(s.seg[SS].selector, size) &&
                        stack.push(s.gpr[RSP], size) && stack.push(flags, size) && stack.push(s.seg[CS].selector, size) &&
                        stack.push(e.return_rip, size) && (!e.has_error || stack.push(e.error, size));
    if (!pushed || !check_target(t, h.cs, h.offset, e.ext())) return false;
    s.seg[SS] = ss;
    stack.commit();
    if (from_vm86) {
        for (const SegReg r : {ES, DS, FS, GS}) s.seg[r] = null_segment(0);
    }
    enter_handler(s, h);
    return true;
}

bool deliver_same_level(TranslateState& t, const Event& e, const Handler& h) {
    State& s = t.s;
    const unsigned size = h.wide_gate ? 4 : 2;
    Stack stack(t, e.ext());
    const bool pushed = stack.push(flags_image(s, e), size) && stack.push(s.seg[CS].selector, size) &&
                        stack.push(e.return_rip, size) && (!e.has_error || stack.push(e.error, size));
    if (!pushed || !check_target(t, h.cs, h.offset, e.ext())) return false;
    stack.commit();
    enter_handler(s, h);
    return true;
}

}  // namespace

bool deliver_event(TranslateState& t, const Event& e) {
    State& s = t.s;
    if (!protected_mode(s)) return deliver_real(t, e);
    Descriptor gate;
    if (!read_gate(t, e, gate)) return false;
    if (gate.type() == kTaskGate) {
        // The outgoing task's image gets the flags that a handler's stack would.
        const u16 task = s.tr.selector;
        const u64 flags = std::exchange(s.rflags, flags_image(s, e));
        if (switch_task(t, gate.gate_selector(), TaskSwitch::Event, e.return_rip, e.ext(), e.has_error, e.error))
            return true;
        if (s.tr.selector == task) s.rflags = flags;  // not switched yet
        return false;
    }
    Handler h;
    if (!load_handler(t, e, gate, h)) return false;
    if (long_mode(s)) return deliver_long(t, e, gate, h);
    return h.inner ? deliver_inner(t, e, h) : deliver_same_level(t, e, h);
}

}  // namespace tandem::cpu::x86
