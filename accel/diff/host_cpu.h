// Runs experiments on the host's own processor, in a forked child. Each experiment is entered by returning from a signal
// handler whose frame holds its state, and ends in the signal of its exception.
#pragma once

#include <sys/types.h>

#include <memory>
#include <span>

#include "accel/diff/processor.h"

namespace tandem::accel::diff {

class HostCpu final : public Processor {
public:
    static constexpr unsigned kBatch = 1024;

    // Forks the child. Unsupported on hosts that are not x86-64 Linux.
    static Result<std::unique_ptr<HostCpu>> create();
    ~HostCpu() override;
    HostCpu(const HostCpu&) = delete;
    HostCpu& operator=(const HostCpu&) = delete;

    [[nodiscard]] std::string_view name() const override { return "host"; }
    [[nodiscard]] bool hardware() const override { return true; }
    [[nodiscard]] std::string refusal(const World& world) const override;
    // At most kBatch experiments. Io: the child died.
    Result<void> run(std::span<const TestCase> cases, std::span<const u8> memory, std::span<Outcome> outcomes) override;

private:
    HostCpu() = default;
    bool try_compatibility();

    struct Shared* shared_ = nullptr;
    pid_t child_ = -1;
    int command_ = -1;            // pipe to the child: one byte starts a batch
    int done_ = -1;               // pipe from it
    bool compatibility_ = false;  // the kernel runs 32-bit code
};

}  // namespace tandem::accel::diff
