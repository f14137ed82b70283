// Runs experiments on the translator, at the same addresses as on the host.
#pragma once

#include <memory>

#include "accel/diff/processor.h"
#include "cpu/x86/model.h"
#include "jit/runtime/translator.h"

namespace tandem::accel::diff {

class TranslatorCpu final : public Processor {
public:
    // On the LLVM tier a block's region is compiled when it has run this often; until then its baseline code runs.
    static constexpr unsigned kLlvmThreshold = 4;
    // An experiment of more instructions than this is cut off.
    static constexpr u64 kMaxInstructions = 20'000;
    // Elements of a repeated instruction that count as one: little more than a second of the slowest at that number.
    static constexpr u64 kRepeatStride = 64;

    // `times`: how often each experiment is run, so that its code may become hot; the last outcome counts.
    static Result<std::unique_ptr<TranslatorCpu>> create(jit::Tier tier, u32 llvm_threshold = kLlvmThreshold,
                                                         unsigned times = 1);
    ~TranslatorCpu() override;
    TranslatorCpu(const TranslatorCpu&) = delete;
    TranslatorCpu& operator=(const TranslatorCpu&) = delete;

    [[nodiscard]] std::string_view name() const override;
    [[nodiscard]] bool hardware() const override { return false; }
    [[nodiscard]] std::string refusal(const World&) const override { return {}; }
    Result<void> run(std::span<const TestCase> cases, std::span<const u8> memory, std::span<Outcome> outcomes) override;
    // Hot regions that the LLVM tier has compiled so far.
    [[nodiscard]] u64 regions_compiled() const;

private:
    struct Impl;
    explicit TranslatorCpu(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace tandem::accel::diff
