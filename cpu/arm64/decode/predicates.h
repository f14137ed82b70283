// What the rows' patterns cannot say: predicates on a word, for A64C.
#pragma once

#include "base/bits.h"
#include "cpu/arm64/decode/rows.h"

namespace tandem::cpu::arm64 {

inline bool valid_logical_immediate(u32 word) {
    u64 ignored = 0;
    const unsigned n = word >> 22 & 1, immr = word >> 16 & 63, imms = word >> 10 & 63;
    return decode_bit_masks(n, imms, immr, bit(word, 31) ? 64 : 32, ignored);
}
// Shift amount in bits 15:10 below the register's width.
inline bool valid_shift_amount(u32 word) { return bit(word, 31) || !bit(word, 15); }
// The same, and the shift is not ROR.
inline bool valid_add_shift(u32 word) { return valid_shift_amount(word) && (word >> 22 & 3) != 3; }
// Extended-register form: the left shift is at most 4.
inline bool valid_extend_amount(u32 word) { return (word >> 10 & 7) <= 4; }
// Register-offset addressing: the extension is UXTW, LSL, SXTW or SXTX.
inline bool valid_offset_extend(u32 word) { return bit(word, 14); }

}  // namespace tandem::cpu::arm64
