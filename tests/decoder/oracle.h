// Capstone as the oracle: what it makes of some bytes, and how that differs from what our decoder makes of them.
#pragma once

#include <capstone/capstone.h>

#include <span>
#include <string>
#include <vector>

#include "cpu/x86/decode/instruction.h"

namespace tandem::cpu::x86 {

enum class Difference : u8 { None, OnlyOurs, OnlyCapstone, Length, Mnemonic, Operands };

struct Comparison {
    Difference difference = Difference::None;
    DecodeStatus status = DecodeStatus::Invalid;
    Instruction ours;
    std::string ours_text;      // opcode and operands as compared
    std::string capstone_text;  // its operands as compared
    std::string capstone_mnemonic;
};

class Oracle {
public:
    explicit Oracle(Mode mode);
    ~Oracle();
    Oracle(const Oracle&) = delete;
    Oracle& operator=(const Oracle&) = delete;

    Comparison compare(std::span<const u8> bytes);

private:
    std::string operands(const cs_insn& insn, const Instruction& ours) const;

    Mode mode_;
    csh handle_ = 0;
    cs_insn* insn_ = nullptr;
};

// Explicit operands in one notation for both decoders, e.g. "eax, [ds:rbx+rcx*4+0x10]/4, 0x5".
std::string operands_text(const Instruction& insn);
std::string hex(std::span<const u8> bytes);

}  // namespace tandem::cpu::x86
