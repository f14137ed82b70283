// One AArch64 vCPU of the translator without a board: EL1, the identity mapping. A run ends at the word behind the stream.
#pragma once

#include <memory>
#include <span>

#include "accel/diff/arm64/machine_state.h"
#include "base/result.h"
#include "jit/runtime/translator.h"

namespace tandem::accel::diff::arm64 {

class Subject {
public:
    // On the LLVM tier a region is compiled when its block has run so often.
    static constexpr unsigned kLlvmThreshold = 4;
    static constexpr u64 kDataSize = 0x2000;

    // `exact`: floating point by the exact kernels whatever FPCR says. `data`: kDataSize bytes, page aligned, that the code
    // may access, at that address of the guest's or, when it is 0, at their own.
    static Result<std::unique_ptr<Subject>> create(jit::Tier tier, bool exact, u8* data, u64 data_address = 0);
    ~Subject();
    Subject(const Subject&) = delete;
    Subject& operator=(const Subject&) = delete;

    // Where the words stand until others are placed or run.
    u64 place(std::span<const u32> words);
    // With the exclusive monitor open. False when the run ended anywhere else; `state` is then what it was there.
    bool run(std::span<const u32> words, MachineState& state);
    // The program counter after the last run.
    [[nodiscard]] u64 stopped_at() const;
    // Translates the stream without running it, and verifies its IR: the first error, or nothing.
    std::string verify(std::span<const u32> words);
    [[nodiscard]] u64 regions_compiled() const;

private:
    struct Impl;
    explicit Subject(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace tandem::accel::diff::arm64
