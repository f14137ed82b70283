// PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM volume 2, 4.1), and the byte-masked stores.
#pragma once

#include "cpu/x86/system/system.h"
#include "cpu/x86/translate_state.h"

namespace tandem::cpu::x86 {

// Operands in scratch_vec[0] (first) and [1] (second). `control`: the immediate in bits 7:0; bit 8: explicit lengths, else
// the strings end at a zero element. `length1` and `length2`: explicit lengths as the signed values of the registers.
// Returns the flags (CF ZF SF OF in their EFLAGS positions) in bits 31:0 and the index in bits 63:32; the mask goes to
// scratch_vec[2].
u64 compare_strings(TranslateState* t, u32 control, u64 length1, u64 length2);

// MASKMOVQ, MASKMOVDQU: the bytes of scratch_vec[0] whose mask byte in scratch_vec[1] has bit 7 set. Bytes that are not
// stored do not fault. `info`: bits 7:0 size (8 or 16), bits 15:8 MMU index.
LeaveReason masked_store(TranslateState* t, u64 va, u32 info);

}  // namespace tandem::cpu::x86
