// Runs experiments on the translator: long mode, CPL 3, the same addresses as on the host.
#pragma once

#include <memory>
#include <span>

#include "base/result.h"
#include "cpu/x86/model.h"
#include "jit/runtime/translator.h"
#include "tests/instruction/test_case.h"

namespace tandem::instruction_test {

class TandemCpu {
public:
    // On the LLVM tier a block's region is compiled when it has run this often; until then its baseline code runs.
    static constexpr unsigned kLlvmThreshold = 4;

    static Result<std::unique_ptr<TandemCpu>> create(jit::Tier tier);
    ~TandemCpu();
    TandemCpu(const TandemCpu&) = delete;
    TandemCpu& operator=(const TandemCpu&) = delete;

    // `memory`: as HostCpu::run().
    void run(std::span<const TestCase> cases, std::span<const u8> memory, std::span<Outcome> outcomes);
    // Hot regions that the LLVM tier has compiled so far.
    [[nodiscard]] u64 regions_compiled() const;

private:
    struct Impl;
    explicit TandemCpu(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace tandem::instruction_test
