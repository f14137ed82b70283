// The A64 decoder's rows and how a word finds its row. Rows are in the .inc files that rows.inc collects.
#pragma once

#include <span>
#include <string_view>

#include "base/types.h"
#include "cpu/arm64/model.h"

namespace tandem::cpu::arm64 {

class Lifter;

// Fixed bits of an encoding, written as the manual's diagrams: 32 of 0, 1 or x, spaces anywhere.
struct Pattern {
    u32 mask = 0;
    u32 value = 0;
    consteval Pattern(const char* text) {
        unsigned count = 0;
        for (; *text != 0; ++text) {
            if (*text == ' ') continue;
            if (*text != '0' && *text != '1' && *text != 'x') throw "a pattern is made of 0, 1, x and spaces";
            mask = mask << 1 | (*text != 'x' ? 1u : 0u);
            value = value << 1 | (*text == '1' ? 1u : 0u);
            ++count;
        }
        if (count != 32) throw "a pattern has 32 bits";
    }
};

enum class RowGroup : u8 { General, Simd };

struct Row {
    Pattern pattern;
    std::string_view name;  // as the manual spells it
    Feature feature = Feature::Base;
    void (*lift)(Lifter&) = nullptr;
    bool (*allocated)(u32 word) = nullptr;  // null: every word of the pattern is
    RowGroup group = RowGroup::General;     // Simd: CPACR_EL1.FPEN and its like are checked first
};

std::span<const Row> rows();
// The row of a word; null: unallocated. Where patterns overlap the one with more fixed bits wins. Any thread.
const Row* decode(u32 word);

// DecodeBitMasks (DDI 0487, shared pseudocode): the immediate of the logical instructions, for a register of `width` bits;
// false when the encoding is reserved.
bool decode_bit_masks(unsigned n, unsigned imms, unsigned immr, unsigned width, u64& wmask);

}  // namespace tandem::cpu::arm64
