#include "cpu/x86/lift/helpers.h"

#include "cpu/x86/mode.h"

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

}  // namespace

u32 lazy_flags(TranslateState*, u32 cc_op, u64 dst, u64 src, u64 src2) { return compute_flags(cc_op, dst, src, src2); }

u8 lazy_condition(TranslateState*, u32 selector, u64 dst, u64 src, u64 src2) {
    const u32 cc = selector >> kConditionShift;
    const u32 flags = compute_flags(selector & mask(kConditionShift), dst, src, src2);
    return holds(cc, flags) != ((cc & 1) != 0) ? 1 : 0;
}

LeaveReason check_branch_target(TranslateState* t, u64 target) {
    const bool inside = code64(t->s) ? canonical(target) : target <= t->s.seg[CS].limit;
    return inside ? LeaveReason::None : raise(*t, kGP);
}

}  // namespace tandem::cpu::x86
