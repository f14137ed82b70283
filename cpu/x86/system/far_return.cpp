// Far RET and IRET: SDM volume 2 "RET", "IRET/IRETD/IRETQ".
#include "cpu/x86/debugger.h"
#include "cpu/x86/system/internal.h"

namespace tandem::cpu::x86 {

namespace {

// Reads and checks the code segment to return to: same or outer level.
bool load_return_code(TranslateState& t, u16 selector, Segment& cs) {
    const u32 error = index_of(selector);
    if (null(selector)) return fault(t, kGP);
    Descriptor d;
    if (!require_descriptor(t, selector, d, kGP)) return false;
    const unsigned rpl = rpl_of(selector);
    if (!d.code() || rpl < cpl(t.s)) return fault(t, kGP, error);
    if (d.conforming() ? d.dpl() > rpl : d.dpl() != rpl) return fault(t, kGP, error);
    if (long_mode(t.s) && d.long_code() && d.db()) return fault(t, kGP, error);
    if (!d.present()) return fault(t, kNP, error);
    if (!mark_accessed(t, selector, d)) return false;
    cs = to_segment(selector, d);
    return true;
}

// The stack segment of an outer level, or of the same level for IRET in 64-bit mode.
bool load_return_stack(TranslateState& t, u16 selector, const Segment& cs, Segment& ss) {
    const unsigned level = rpl_of(cs.selector);
    const bool to64 = long_mode(t.s) && (cs.access & access::L) != 0;
    if (null(selector)) {
        if (!to64 || level == 3 || rpl_of(selector) != level) return fault(t, kGP);
        ss = null_segment(selector, level);
        return true;
    }
    const u32 error = index_of(selector);
    Descriptor d;
    if (!require_descriptor(t, selector, d, kGP)) return false;
    if (rpl_of(selector) != level || !d.writable() || d.dpl() != level) return fault(t, kGP, error);
    if (!d.present()) return fault(t, kSS, error);
    if (!mark_accessed(t, selector, d)) return false;
    ss = to_segment(selector, d);
    return true;
}

void set_stack_pointer(State& s, u64 sp) {
    u64& rsp = s.gpr[RSP];
    if (code64(s)) {
        rsp = sp;
    } else {
        rsp = (s.seg[SS].access & access::DB) != 0 ? sp & 0xffffffff : (rsp & ~u64{0xffff}) | (sp & 0xffff);
    }
}

// The flags that IRET and POPF may change at this privilege level (SDM volume 2 "POPF", table 4-16).
u64 writable_flags(unsigned level, unsigned io_level, u32 opsize) {
    u64 m = eflags::Arithmetic | eflags::TF | eflags::DF | eflags::NT;
    if (opsize > 2) m |= eflags::RF | eflags::AC | eflags::ID;
    if (level <= io_level) m |= eflags::IF;
    if (level == 0) m |= eflags::IOPL | (opsize > 2 ? eflags::VIF | eflags::VIP : 0);
    return m;
}

LeaveReason return_real(TranslateState& t, u32 opsize, u32 pop_bytes) {
    State& s = t.s;
    Stack stack(t);
    u64 ip = 0, cs = 0;
    if (!stack.pop(ip, opsize) || !stack.pop(cs, opsize)) return failed(t);
    if (ip > s.seg[CS].limit) return raise(t, kGP);
    stack.skip(pop_bytes);
    stack.commit();
    set_real_segment(s.seg[CS], static_cast<u16>(cs));
    s.rip = ip;
    return LeaveReason::Lookup;
}

LeaveReason iret_real(TranslateState& t, u32 opsize) {
    State& s = t.s;
    const bool virtualised = virtual_flags(s, opsize);
    if (vm86(s) && iopl(s) < 3 && !virtualised) return raise(t, kGP);
    Stack stack(t);
    u64 ip = 0, cs = 0, flags = 0;
    if (!stack.pop(ip, opsize) || !stack.pop(cs, opsize) || !stack.pop(flags, opsize)) return failed(t);
    if (ip > s.seg[CS].limit) return raise(t, kGP);
    if (virtualised && !check_virtual_flags(t, flags)) return failed(t);
    stack.commit();
    const u64 changeable =
        vm86(s) ? writable_flags(3, 3, opsize) : writable_flags(0, 3, opsize) & ~(eflags::VIF | eflags::VIP);
    set_real_segment(s.seg[CS], static_cast<u16>(cs));
    s.rip = ip;
    virtualised ? write_virtual_flags(t, flags) : write_flags(t, flags, changeable);
    return LeaveReason::Lookup;
}

// Back to virtual-8086 mode; EIP, CS and EFLAGS have been popped.
bool iret_to_vm86(TranslateState& t, Stack& stack, u64 ip, u16 cs, u64 flags) {
    State& s = t.s;
    u64 esp = 0;
    std::array<u64, 5> selector{};  // SS, ES, DS, FS, GS as popped
    if (!stack.pop(esp, 4)) return false;
    for (u64& v : selector) {
        if (!stack.pop(v, 4)) return false;
    }
    if (ip > 0xffff) return fault(t, kGP);
    constexpr std::array<SegReg, 5> kOrder{SS, ES, DS, FS, GS};
    for (unsigned i = 0; i < kOrder.size(); ++i) s.seg[kOrder[i]] = vm86_segment(static_cast<u16>(selector[i]));
    s.seg[CS] = vm86_segment(cs);
    s.gpr[RSP] = esp & 0xffffffff;
    s.rip = ip & 0xffff;
    write_flags(t, flags, writable_flags(0, 3, 4) | eflags::VM);
    return true;
}

bool iret_protected(TranslateState& t, u32 opsize) {
    State& s = t.s;
    Stack stack(t);
    u64 ip = 0, cs_selector = 0, flags = 0;
    if (!stack.pop(ip, opsize) || !stack.pop(cs_selector, opsize) || !stack.pop(flags, opsize)) return false;
    const unsigned old_level = cpl(s);
    const auto selector = static_cast<u16>(cs_selector);
    if ((flags & eflags::VM) != 0 && old_level == 0 && opsize == 4 && !long_mode(s)) {
        return iret_to_vm86(t, stack, ip, selector, flags);
    }
    Segment cs;
    if (!load_return_code(t, selector, cs)) return false;
    const unsigned level = rpl_of(selector);
    const bool outer = level > old_level;
    const u64 changeable = writable_flags(old_level, iopl(s), opsize);
    if (!outer && !code64(s)) {
        if (!check_target(t, cs, ip)) return false;
        stack.commit();
        set_code(s, cs, level, ip);
    } else {
        u64 sp = 0, ss_selector = 0;
        Segment ss;
        if (!stack.pop(sp, opsize) || !stack.pop(ss_selector, opsize)) return false;
        if (!load_return_stack(t, static_cast<u16>(ss_selector), cs, ss) || !check_target(t, cs, ip)) return false;
        set_code(s, cs, level, ip);
        s.seg[SS] = ss;
        set_stack_pointer(s, sp);
        if (outer) drop_privileged_segments(s);
    }
    write_flags(t, flags, changeable);
    return true;
}

// NT: back to the task whose selector is the back link.
bool iret_task(TranslateState& t, u64 next) {
    if (long_mode(t.s)) return fault(t, kGP);
    u16 link = 0;
    if (!read_system(t, t.s.tr.base, link)) return false;
    return switch_task(t, link, TaskSwitch::Iret, next);
}

}  // namespace

LeaveReason far_return(TranslateState* t, u32 opsize, u32 pop_bytes) {
    State& s = t->s;
    if (!protected_mode(s) || vm86(s)) return return_real(*t, opsize, pop_bytes);
    Stack stack(*t);
    u64 ip = 0, cs_selector = 0;
    if (!stack.pop(ip, opsize) || !stack.pop(cs_selector, opsize)) return failed(*t);
    const auto selector = static_cast<u16>(cs_selector);
    Segment cs;
    if (!load_return_code(*t, selector, cs)) return failed(*t);
    stack.skip(pop_bytes);
    const unsigned level = rpl_of(selector);
    if (level == cpl(s)) {
        if (!check_target(*t, cs, ip)) return failed(*t);
        stack.commit();
        set_code(s, cs, level, ip);
        return LeaveReason::Lookup;
    }
    u64 sp = 0, ss_selector = 0;
    Segment ss;
    if (!stack.pop(sp, opsize) || !stack.pop(ss_selector, opsize)) return failed(*t);
    if (!load_return_stack(*t, static_cast<u16>(ss_selector), cs, ss) || !check_target(*t, cs, ip)) return failed(*t);
    set_code(s, cs, level, ip);
    s.seg[SS] = ss;
    set_stack_pointer(s, sp + pop_bytes);
    drop_privileged_segments(s);
    return LeaveReason::Lookup;
}

LeaveReason iret(TranslateState* t, u32 opsize, u64 next) {
    State& s = t->s;
    export_flags(*t);
    LeaveReason result;
    if (!protected_mode(s) || vm86(s)) {
        result = iret_real(*t, opsize);
    } else if ((s.rflags & eflags::NT) != 0) {
        result = done(*t, iret_task(*t, next), LeaveReason::Lookup);
    } else {
        result = done(*t, iret_protected(*t, opsize), LeaveReason::Lookup);
    }
    // Even an IRET that faults lets NMIs in (SDM volume 3, 6.7.1 and 25.3).
    s.nmi_blocked = false;
    if (result != LeaveReason::Lookup) return result;
    // Without an instruction breakpoint RF has no effect, and generated code does not spend time on clearing it.
    if ((s.dr7 & dr7::Enables) == 0 && debugger_of(*t) == nullptr) s.rflags &= ~eflags::RF;
    return result;
}

LeaveReason pushf(TranslateState* t, u32 opsize) {
    State& s = t->s;
    if (virtual_flags(s, opsize)) {
        t->scratch[0] = virtual_flags_image(*t) & 0xffff;
        return LeaveReason::None;
    }
    if (vm86(s) && iopl(s) < 3) return raise(*t, kGP);
    t->scratch[0] = read_flags(*t) & ~(eflags::VM | eflags::RF) & mask(opsize * 8);
    return LeaveReason::None;
}

LeaveReason popf(TranslateState* t, u64 image, u32 opsize) {
    State& s = t->s;
    if (virtual_flags(s, opsize)) {
        if (!check_virtual_flags(*t, image)) return failed(*t);
        write_virtual_flags(*t, image);
        return LeaveReason::None;
    }
    if (vm86(s) && iopl(s) < 3) return raise(*t, kGP);
    const unsigned level = protected_mode(s) ? cpl(s) : 0;
    u64 changeable = writable_flags(level, iopl(s), opsize) & ~(eflags::RF | eflags::VIF | eflags::VIP);
    if (vm86(s)) changeable &= ~eflags::IOPL;
    s.rflags &= ~eflags::RF;
    write_flags(*t, image, changeable);
    return LeaveReason::None;
}

}  // namespace tandem::cpu::x86
