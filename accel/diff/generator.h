// Seeded experiments made from the decoder's rows: every instruction that may run in user mode, with operands that matter.
#pragma once

#include <functional>
#include <random>
#include <span>
#include <vector>

#include "accel/diff/test_case.h"
#include "cpu/x86/decode/rows.h"

namespace tandem::accel::diff {

using Rng = std::mt19937_64;

// True when the processor that this runs on has the feature.
bool host_has(cpu::x86::Feature feature);

// Whether hardware is among the processors that are compared. It then runs as a process does, undefined results may not
// reach a later instruction, and what a host's kernel or another processor model would answer differently is left out.
enum class Rules : u8 { Hardware, Translators };

class Generator {
public:
    // `world`: index into worlds(). `only`: mnemonics to take (all when empty).
    // Rows whose CPUID feature `offers` denies are left out.
    Generator(std::span<const std::string> only, unsigned world, Rules rules,
              const std::function<bool(cpu::x86::Feature)>& offers = host_has);

    // Data memory to start from: integers, floating-point values and addresses.
    static void fill_memory(Rng& rng, std::span<u8> memory);
    // The experiment of this seed: one instruction, or sometimes up to `longest`.
    TestCase make(u64 seed, unsigned longest) const;
    // The same code with other operands: `index` 0 is the experiment itself.
    TestCase vary(const TestCase& test, u64 index) const;
    [[nodiscard]] size_t rows() const { return rows_.size(); }

private:
    // False: the experiment is spoilt.
    bool append(Rng& rng, TestCase& test, bool last) const;

    u8 index_;
    const World& world_;
    Rules rules_;
    std::vector<const cpu::x86::decode_rows::Row*> rows_;
};

// Bytes that the decoder calls #UD, though they are neither VEX nor EVEX nor an extension that Tandem never offers.
TestCase undefined_encoding(Rng& rng);
// The same of VEX encodings, but for those of extensions that Tandem never offers.
TestCase undefined_vex_encoding(Rng& rng);

}  // namespace tandem::accel::diff
