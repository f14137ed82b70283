// Runs experiments on the host's KVM, in every mode: an exception is delivered to a stub that halts, and its frame holds the
// state that it came from.
//
// In user mode, and by IST in 64-bit code, the frame has a stack of its own. In ring 0 of other modes it lies on the
// experiment's stack: what was there before is put back, and where an earlier instruction may have changed that, memory is
// not compared.
#pragma once

#include <memory>

#include "accel/diff/processor.h"

namespace tandem::accel::diff {

class KvmCpu final : public Processor {
public:
    // Errors: those of /dev/kvm (accel/kvm/kvm_accelerator.h).
    static Result<std::unique_ptr<KvmCpu>> create();
    ~KvmCpu() override;
    KvmCpu(const KvmCpu&) = delete;
    KvmCpu& operator=(const KvmCpu&) = delete;

    [[nodiscard]] std::string_view name() const override { return "kvm"; }
    [[nodiscard]] bool hardware() const override { return true; }
    [[nodiscard]] std::string refusal(const World& world) const override;
    [[nodiscard]] bool offers(cpu::x86::Feature feature) const override;
    // What KVM cannot execute or does not bring to an end has an outcome with a Skip.
    Result<void> run(std::span<const TestCase> cases, std::span<const u8> memory, std::span<Outcome> outcomes) override;

private:
    struct Impl;
    explicit KvmCpu(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace tandem::accel::diff
