// The decoder's way from an opcode byte to its candidate rows.
#pragma once

#include "cpu/x86/decode/rows.h"

namespace tandem::cpu::x86::decode_rows {

struct Slot {
    u16 first = 0;  // candidates are kRowTable[order[first .. first + count)], in order of preference
    u8 count = 0;
    bool modrm = false;  // a ModRM byte follows
};

struct Lookup {
    static constexpr unsigned kMaps = static_cast<unsigned>(Map::Count_);
    static constexpr unsigned kMaxEncodings = 4096;
    Slot slots[kMaps][256]{};
    u16 order[kMaxEncodings]{};  // row indices, those of one opcode byte next to each other
};

extern const Lookup kLookup;
extern const Row* const kRowTable;

}  // namespace tandem::cpu::x86::decode_rows
