// Functions that lifted general-purpose code calls. Conventions as in system/system.h.
#pragma once

#include "cpu/x86/system/system.h"
#include "cpu/x86/translate_state.h"

namespace tandem::cpu::x86 {

// What an access beyond the limit of a segment is translated to outside 64-bit mode; see is_limit_fault().
constexpr u64 kLimitFault = u64{1} << 63;
constexpr u64 kStackLimitFault = u64{3} << 62;

// lazy_condition's first argument is cc_op | condition code << kConditionShift.
constexpr unsigned kConditionShift = 8;

// compute_flags(), and one of the sixteen conditions (0 or 1). Pure.
u32 lazy_flags(TranslateState*, u32 cc_op, u64 dst, u64 src, u64 src2);
u8 lazy_condition(TranslateState*, u32 selector, u64 dst, u64 src, u64 src2);

// #GP(0) when a near branch's target is not canonical or lies beyond the code segment's limit.
LeaveReason check_branch_target(TranslateState* t, u64 target);

}  // namespace tandem::cpu::x86
