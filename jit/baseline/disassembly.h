// Host code for people (-d out_asm).
#pragma once

#include <span>
#include <string>

#include "base/types.h"

namespace tandem::jit::baseline {

// One line per instruction, with addresses from `address` on. Bytes that do not decode (a block's constants) are shown as
// data.
std::string disassemble_host(u64 address, std::span<const u8> code);

}  // namespace tandem::jit::baseline
