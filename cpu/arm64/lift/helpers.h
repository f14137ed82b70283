// Functions that lifted general-purpose code calls. Conventions as in system/system.h.
#pragma once

#include "cpu/arm64/system/system.h"
#include "cpu/arm64/translate_state.h"

namespace tandem::cpu::arm64 {

// lazy_condition's first argument is cc_op | condition << kConditionShift.
constexpr unsigned kConditionShift = 8;

// compute_nzcv(), and ConditionHolds (0 or 1). Pure.
u32 lazy_nzcv(TranslateState*, u32 cc_op, u64 a, u64 b);
u8 lazy_condition(TranslateState*, u32 selector, u64 a, u64 b);

// UDIV and SDIV; a divisor of 0 gives 0. 32-bit operands are extended by the caller; `width` for SDIV only.
u64 divide_unsigned(TranslateState*, u64 a, u64 b);
u64 divide_signed(TranslateState*, u64 a, u64 b, u32 width);
u64 reverse_bits(TranslateState*, u64 value);
// CRC32 and CRC32C. spec: bytes of data, plus 16 for CRC32C.
u32 crc32(TranslateState*, u32 accumulator, u64 data, u32 spec);

// Pointer authentication (DDI 0487, D8.10; the algorithm is IMPLEMENTATION DEFINED here).
enum class PauthKey : u32 { Ia, Ib, Da, Db };
u64 pointer_sign(TranslateState* t, u64 pointer, u64 modifier, u32 key);
u64 pointer_authenticate(TranslateState* t, u64 pointer, u64 modifier, u32 key);
u64 pointer_strip(TranslateState* t, u64 pointer, u32 data);
u64 pointer_generic(TranslateState* t, u64 value, u64 modifier);

// `flags` of these: the MMU index, MemFlags::kExclusive and kClearsMarks.
// LDXP and LDAXP of doublewords -> scratch[0..1], the monitor set. `va` must be 16-byte aligned.
LeaveReason load_exclusive_pair(TranslateState* t, u64 va, u32 flags);
// STXP and STLXP of doublewords -> scratch[0]: the status.
LeaveReason store_exclusive_pair(TranslateState* t, u64 va, u64 low, u64 high, u32 flags);
// A Store-Exclusive that the local monitor refuses: status 1 into register `rs`, and on at `next`.
LeaveReason exclusive_failed(TranslateState* t, u32 rs, u64 next);
// A Store-Exclusive whose PE has told others of its Load-Exclusive, which did not know that it would: likewise, for once.
LeaveReason exclusive_told(TranslateState* t, u32 rs, u64 next);
// Before a Load-Exclusive of which others will be told: jit::watch_line().
LeaveReason watch_line(TranslateState* t, u64 va, u32 mmu);
// CASP of doublewords: the expected pair is in registers rs, rs + 1 and the new one in rt, rt + 1 -> scratch[0..1] old
// value. registers: rs | rt << 8.
LeaveReason compare_swap_pair(TranslateState* t, u64 va, u32 registers, u32 flags);
// LDSMAX, LDSMIN, LDUMAX, LDUMIN. spec: flags | log2(bytes) << 8 | MinMax << 12 -> scratch[0] old value.
enum class MinMax : u32 { SMax, SMin, UMax, UMin };
LeaveReason atomic_min_max(TranslateState* t, u64 va, u64 operand, u32 spec);
// AArch64.UnalignedAccessFaults: a misaligned exclusive, atomic or (kOrderedAccess) acquire or release access. spec: mmu |
// bytes << 8, and kOrderedAccess; `write` 0 or 1.
constexpr u32 kOrderedAccess = 1u << 16;
LeaveReason check_lse2_alignment(TranslateState* t, u64 va, u32 spec, u32 write);

// YIELD and its like: where the machine has more processors than the host, another one gets this one's turn.
void spin_wait(TranslateState* t);
// After an instruction that seldom changes the mode: None while the block's own mode still holds and no interrupt waits to
// be taken, else Lookup with pc at `next`.
LeaveReason continue_at(TranslateState* t, u64 next);

// After PSTATE.DAIF was cleared: None unless an interrupt is to be taken, else Lookup with pc at `next`.
LeaveReason take_interrupts(TranslateState* t, u64 next);

}  // namespace tandem::cpu::arm64
