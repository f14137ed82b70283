// What must agree between two outcomes of one experiment, and what the manuals leave open.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "accel/diff/test_case.h"
#include "cpu/x86/decode/instruction.h"

namespace tandem::accel::diff {

// EFLAGS bits that an instruction leaves undefined. `first`: `in` is the state it starts from.
u64 undefined_flags(const cpu::x86::Instruction& insn, const CpuImage& in, bool first);

// The instructions of an experiment in order.
std::vector<cpu::x86::Instruction> instructions(const TestCase& test);

// Whose outcomes are compared. `exact`: both are translators, which must agree in everything, undefined or not, and in the
// registers of the system; else the first is hardware, and what the manuals leave open is its choice.
struct Sides {
    std::string_view first = "host", second = "Tandem";
    bool exact = false;
};

// Why two outcomes cannot be compared.
Skip skip_of(const Outcome& first, const Outcome& second);

// One line per difference, "what: first's value, second's value"; empty when they agree.
std::vector<std::string> differences(const TestCase& test, const Outcome& first, const Outcome& second,
                                     const Sides& sides = {});

// Seed, bytes, text, inputs and both outcomes in two columns.
std::string report(const TestCase& test, const Outcome& first, const Outcome& second, const Sides& sides = {});

// What is not compared with hardware, as docs/differences.md lists it: rows of its table, then items of its list.
std::vector<std::string> catalogue();

}  // namespace tandem::accel::diff
