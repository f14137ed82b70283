#include "cpu/x86/lift/helpers.h"

#include <optional>

#include "cpu/x86/mode.h"
#include "cpu/x86/system/svm_events.h"
#include "jit/guest/frame.h"
#include "jit/guest/spin.h"

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

// A condition code without its lowest (negating) bit, after `result` = first - second. All are shifted to the top of the
// word, so that one comparison serves every width.
bool holds_after_difference(u32 test, u64 first, u64 second, u64 result) {
    switch (test) {
        case 0: return bit((first ^ second) & (first ^ result), 63);
        case 1: return first < second;
        case 2: return result == 0;
        case 3: return first <= second;
        case 4: return bit(result, 63);
        case 6: return static_cast<i64>(first) < static_cast<i64>(second);
        default: return static_cast<i64>(first) <= static_cast<i64>(second);
    }
}

// The frequent cases of a condition on a lazy description: comparisons, logical operations (which are differences from
// zero as far as conditions go) and the tests of a result.
std::optional<bool> frequent_condition(u32 description, u32 test, u64 dst, u64 src) {
    constexpr u32 kParity = 5, kZero = 2, kSign = 4;
    if (test == kParity || description >= kCcCarry) return std::nullopt;
    const auto kind = static_cast<CcKind>(description >> 2);
    const unsigned shift = 64 - (8u << (description & 3));
    const u64 result = dst << shift;
    if (kind == CcKind::Sub) return holds_after_difference(test, result + (src << shift), src << shift, result);
    if (kind == CcKind::Logic) return holds_after_difference(test, result, 0, result);
    if (kind == CcKind::Explicit || kind == CcKind::Mul) return std::nullopt;
    if (test == kZero) return result == 0;
    if (test == kSign) return bit(result, 63);
    return std::nullopt;
}

// Whether the dispatcher would find an event to deliver now.
bool event_waits(const TranslateState& t) {
    const State& s = t.s;
    if (s.svm.guest && virtual_interrupt_due(s)) return true;
    if (s.svm.gif && (s.svm.init_pending || (s.nmi_pending && !s.nmi_blocked))) return true;
    return physical_interrupts_enabled(s) && t.platform->interrupt_pending();
}

LeaveReason leave_at(TranslateState& t, u64 rip) {
    t.s.rip = rip;
    return LeaveReason::Lookup;
}

}  // namespace

u32 lazy_flags(TranslateState*, u32 cc_op, u64 dst, u64 src, u64 src2) { return compute_flags(cc_op, dst, src, src2); }

u8 lazy_condition(TranslateState*, u32 selector, u64 dst, u64 src, u64 src2) {
    const u32 cc = selector >> kConditionShift;
    const u32 description = selector & static_cast<u32>(mask(kConditionShift));
    if (const auto frequent = frequent_condition(description, cc >> 1, dst, src))
        return *frequent != ((cc & 1) != 0) ? 1 : 0;
    const u32 flags = compute_flags(description, dst, src, src2);
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

void spin_wait(TranslateState* t) { jit::spin_wait(t->platform != nullptr ? t->platform->cpu_count() : 1); }

}  // namespace tandem::cpu::x86
