// Functions that lifted floating-point and Advanced SIMD code calls. Conventions as in system/system.h.
#pragma once

#include "cpu/arm64/system/system.h"

namespace tandem::cpu::arm64 {

// simd::execute(): the whole instruction but for pc.
void simd_exact(TranslateState* t, u32 kernel, u32 word);
// The same for an instruction whose operands the host's floating point does not do as Arm's; on at the next one. Lookup.
LeaveReason simd_retry(TranslateState* t, u32 kernel, u32 word);
// FCMP and FCCMP, the latter with the immediate unless its condition holds -> NZCV in bits 31:28. FJCVTZS -> the result, Z
// in bit 32.
u64 fp_compare_exact(TranslateState* t, u32 word, u32 condition_holds);
u64 fp_javascript_exact(TranslateState* t, u32 word);

}  // namespace tandem::cpu::arm64
