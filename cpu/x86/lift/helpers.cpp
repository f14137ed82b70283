#include "cpu/x86/lift/helpers.h"

#include "cpu/x86/mode.h"
#include "jit/guest/frame.h"

namespace tandem::cpu::x86 {
namespace {

bool holds(u32 cc, u64 flags) {
    const bool cf = (flags & eflags::CF) != 0;
    const bool zf = (flags & eflags::ZF) != 0;
    const bool less = ((flags & eflags::SF) != 0) != ((flags & eflags::OF) != 0);
    switch (cc >> 1) {
        case 0: return (flags & eflags::OF) != 0;
        case 1: return cf;
        case 2: return zf;
        case 3: return cf || zf;
        case 4: return (flags & eflags::SF) != 0;
        case 5: return (flags & eflags::PF) != 0;
        case 6: return less;
        default: return zf || less;
    }
}

// Whether the dispatcher would find an event to deliver now.
bool event_waits(const TranslateState& t) {
    const State& s = t.s;
    return (s.nmi_pending && !s.nmi_blocked) || ((s.rflags & eflags::IF) != 0 && t.platform->interrupt_pending());
}

LeaveReason leave_at(TranslateState& t, u64 rip) {
    t.s.rip = rip;
    return LeaveReason::Lookup;
}

}  // namespace

u32 lazy_flags(TranslateState*, u32 cc_op, u64 dst, u64 src, u64 src2) { return compute_flags(cc_op, dst, src, src2); }

u8 lazy_condition(TranslateState*, u32 selector, u64 dst, u64 src, u64 src2) {
    const u32 cc = selector >> kConditionShift;
    const u32 flags = compute_flags(selector & mask(kConditionShift), dst, src, src2);
    return holds(cc, flags) != ((cc & 1) != 0) ? 1 : 0;
}

LeaveReason continue_at(TranslateState* t, u64 next) {
    const jit::FrameHeader& header = jit::header_of(t);
    const ModeBits mode = ModeBits::of(*t);
    const u64 base = mode.is64() ? 0 : t->s.seg[CS].base;
    const bool same = mode.value() == header.mode && base == header.base;
    return same && !mode.single() && !event_waits(*t) ? LeaveReason::None : leave_at(*t, next);
}

LeaveReason enable_interrupts(TranslateState* t, u64 next) {
    State& s = t->s;
    if ((s.rflags & eflags::IF) != 0) return LeaveReason::None;
    s.rflags |= eflags::IF;
    if (!event_waits(*t)) return LeaveReason::None;
    s.sti_shadow = true;
    return leave_at(*t, next);
}

}  // namespace tandem::cpu::x86
