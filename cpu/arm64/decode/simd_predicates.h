// Which words of the Advanced SIMD rows are allocated where a pattern cannot say (DDI 0487, C4.1 and the instructions'
// decode pseudocode).
#pragma once

#include "base/bits.h"

namespace tandem::cpu::arm64 {

// Element size in bits 23:22.
inline bool sizes_bhs(u32 word) { return (word >> 22 & 3) != 3; }
inline bool sizes_hs(u32 word) { return (word >> 22 & 3) == 1 || (word >> 22 & 3) == 2; }
// A doubleword element needs the 128-bit form.
inline bool vector_sizes(u32 word) { return sizes_bhs(word) || bit(word, 30); }
inline bool across_sizes(u32 word) { return sizes_bhs(word) && ((word >> 22 & 3) != 2 || bit(word, 30)); }

// imm5 of the copy group: its lowest set bit is the element size.
inline bool copy_any(u32 word) { return (word >> 16 & 15) != 0; }
inline bool copy_vector(u32 word) { return copy_any(word) && ((word >> 16 & 15) != 8 || bit(word, 30)); }
inline bool extract_index(u32 word) { return bit(word, 30) || !bit(word, 14); }

// sz in bit 22.
inline bool fp_vector(u32 word) { return !bit(word, 22) || bit(word, 30); }
inline bool fp_scalar_by_element(u32 word) { return !bit(word, 22) || !bit(word, 21); }
inline bool fp_vector_by_element(u32 word) { return fp_scalar_by_element(word) && fp_vector(word); }
inline bool complex_sizes(u32 word) { return (word >> 22 & 3) != 0 && vector_sizes(word); }
inline bool complex_by_element(u32 word) {
    const bool q = bit(word, 30), h = bit(word, 11), l = bit(word, 21);
    return (word >> 22 & 3) == 1 ? q || !h : (word >> 22 & 3) == 2 && q && !l;
}

// immh in bits 22:19: its highest set bit is the element size.
inline bool shift_any(u32 word) { return (word >> 19 & 15) != 0; }
inline bool shift_narrow(u32 word) { return shift_any(word) && !bit(word, 22); }
inline bool shift_vector(u32 word) { return shift_any(word) && (!bit(word, 22) || bit(word, 30)); }
inline bool fixed_point_scalar(u32 word) { return (word >> 19 & 15) >= 4; }
inline bool fixed_point_vector(u32 word) { return fixed_point_scalar(word) && shift_vector(word); }

// LD2 to LD4 and ST2 to ST4 have no form of one doubleword a register; size in bits 11:10.
inline bool structure_sizes(u32 word) { return (word >> 10 & 3) != 3 || bit(word, 30); }

}  // namespace tandem::cpu::arm64
