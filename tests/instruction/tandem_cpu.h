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
    static Result<std::unique_ptr<TandemCpu>> create(jit::Tier tier);
    ~TandemCpu();
    TandemCpu(const TandemCpu&) = delete;
    TandemCpu& operator=(const TandemCpu&) = delete;

    // `memory`: as HostCpu::run().
    void run(std::span<const TestCase> cases, std::span<const u8> memory, std::span<Outcome> outcomes);

private:
    struct Impl;
    explicit TandemCpu(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace tandem::instruction_test
