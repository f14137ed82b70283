// Table lookups, which have no short form in IR when the table has several registers.
#include "cpu/arm64/simd/kernels.h"
#include "cpu/arm64/simd/unit.h"

namespace tandem::cpu::arm64::simd {

void table_lookup(Unit& u, u32 word) {  // TBL, TBX
    const unsigned length = 16 * ((word >> 13 & 3) + 1);
    const bool keeps = bit(word, 12);
    Vector128 table[4];
    for (unsigned i = 0; i < length / 16; ++i) table[i] = u.v((rn(word) + i) % 32);
    const Vector128 indexes = u.v(rm(word));
    Vector128 r = keeps ? u.v(rd(word)) : Vector128{};
    if (!is_q(word)) r.lane[1] = 0;
    for (unsigned i = 0; i < (is_q(word) ? 16u : 8u); ++i) {
        const auto index = static_cast<unsigned>(element(indexes, 8, i));
        if (index < length) set_element(r, 8, i, element(table[index / 16], 8, index % 16));
    }
    u.s.v[rd(word)] = r;
}

}  // namespace tandem::cpu::arm64::simd
