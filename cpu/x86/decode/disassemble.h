// Text of instructions for people: `-d in_asm`, the monitor, mismatch reports. Capstone does the work.
#pragma once

#include <span>
#include <string>

#include "base/types.h"
#include "cpu/x86/decode/instruction.h"

namespace tandem::cpu::x86 {

// The instruction at the start of `bytes` as "mnemonic operands" (Intel syntax); "(bad)" when Capstone knows none. `length`
// receives its length in bytes, 0 for "(bad)". Any thread.
std::string disassemble_one(std::span<const u8> bytes, Mode mode, u64 address, unsigned* length = nullptr);

// A listing, one instruction per line: address, bytes, text. Undecodable bytes are listed as `.byte`. Any thread.
std::string disassemble(std::span<const u8> bytes, Mode mode, u64 address);

}  // namespace tandem::cpu::x86
