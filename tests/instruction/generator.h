// Seeded experiments made from the decoder's rows: every instruction that may run in user mode, with operands that matter.
#pragma once

#include <random>
#include <span>
#include <vector>

#include "cpu/x86/decode/rows.h"
#include "tests/instruction/test_case.h"

namespace tandem::instruction_test {

using Rng = std::mt19937_64;

class Generator {
public:
    // `mode`: Bits32 or Bits64. `only`: mnemonics to take (all when empty). Rows whose CPUID feature this host lacks are
    // left out.
    Generator(std::span<const std::string> only, cpu::x86::Mode mode);

    // Data memory to start from: integers, floating-point values and addresses.
    static void fill_memory(Rng& rng, std::span<u8> memory);
    // The experiment of this seed: one instruction, or with `sequences` sometimes a few.
    TestCase make(u64 seed, bool sequences) const;
    // The same code with other operands: `index` 0 is the experiment itself.
    TestCase vary(const TestCase& test, u64 index) const;
    [[nodiscard]] size_t rows() const { return rows_.size(); }

private:
    cpu::x86::Mode mode_;
    std::vector<const cpu::x86::decode_rows::Row*> rows_;
};

// Bytes that the decoder calls #UD, though they are neither VEX nor EVEX nor an extension that Tandem never offers.
TestCase undefined_encoding(Rng& rng);
// The same of VEX encodings, but for those of extensions that Tandem never offers.
TestCase undefined_vex_encoding(Rng& rng);

// True when the processor that this runs on has the feature.
bool host_has(cpu::x86::Feature feature);

}  // namespace tandem::instruction_test
