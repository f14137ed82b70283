// Runs experiments on the host's own processor, in a forked child. Each experiment is entered by returning from a signal
// handler whose frame holds its state, and ends in the signal of its exception.
#pragma once

#include <sys/types.h>

#include <memory>
#include <span>

#include "base/result.h"
#include "tests/instruction/test_case.h"

namespace tandem::instruction_test {

class HostCpu {
public:
    static constexpr unsigned kBatch = 1024;

    // Forks the child. Unsupported on hosts that are not x86-64 Linux.
    static Result<std::unique_ptr<HostCpu>> create();
    ~HostCpu();
    HostCpu(const HostCpu&) = delete;
    HostCpu& operator=(const HostCpu&) = delete;

    // Runs at most kBatch experiments on data memory that starts as `memory` (kDataSize + kReadOnlySize bytes). Io: the
    // child died.
    Result<void> run(std::span<const TestCase> cases, std::span<const u8> memory, std::span<Outcome> outcomes);

private:
    HostCpu() = default;

    struct Shared* shared_ = nullptr;
    pid_t child_ = -1;
    int command_ = -1;  // pipe to the child: one byte starts a batch
    int done_ = -1;     // pipe from it
};

}  // namespace tandem::instruction_test
