// Text of instructions for people: `-d in_asm`, the monitor. Capstone does the work.
#pragma once

#include <span>
#include <string>

#include "base/types.h"

namespace tandem::cpu::arm64 {

// "mnemonic operands" of an instruction word, ".inst 0x..." when Capstone knows none. Any thread.
std::string disassemble_one(u32 word, u64 address);

}  // namespace tandem::cpu::arm64
