// The decoder's way from an opcode byte to its candidate rows.
#pragma once

#include "cpu/x86/decode/rows.h"

namespace tandem::cpu::x86::decode_rows {

struct Slot {
    u16 first = 0;  // candidates are rows()[row_order()[first .. first + count)], in order of preference
    u8 count = 0;
    bool modrm = false;  // a ModRM byte follows
};

const Slot& slot(Map map, u8 byte);
const u16* row_order();
const Row* row_table();

}  // namespace tandem::cpu::x86::decode_rows
