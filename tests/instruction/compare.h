// What must agree between two outcomes of one experiment, and what the manuals leave open.
#pragma once

#include <string>
#include <vector>

#include "cpu/x86/decode/instruction.h"
#include "tests/instruction/test_case.h"

namespace tandem::instruction_test {

// EFLAGS bits that an instruction leaves undefined. `first`: `in` is the state it starts from.
u64 undefined_flags(const cpu::x86::Instruction& insn, const CpuImage& in, bool first);

inline cpu::x86::Mode mode_of(const TestCase& test) {
    return test.compatibility ? cpu::x86::Mode::Bits32 : cpu::x86::Mode::Bits64;
}

// The instructions of an experiment in order.
std::vector<cpu::x86::Instruction> instructions(const TestCase& test);

// One line per difference, "what: host value, Tandem value"; empty when they agree.
std::vector<std::string> differences(const TestCase& test, const Outcome& host, const Outcome& tandem);

// Seed, bytes, text, inputs and both outcomes in two columns.
std::string report(const TestCase& test, const Outcome& host, const Outcome& tandem);

}  // namespace tandem::instruction_test
