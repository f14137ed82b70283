// What experiments run on: a tier of the translator, the host's own processor, or KVM.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "accel/diff/test_case.h"
#include "base/result.h"
#include "cpu/x86/model.h"

namespace tandem::accel::diff {

class Processor {
public:
    virtual ~Processor() = default;
    [[nodiscard]] virtual std::string_view name() const = 0;
    // Real silicon, whose undefined flags and latitudes are its own (compare.h).
    [[nodiscard]] virtual bool hardware() const = 0;
    // Why it does not run experiments of this world; empty when it does.
    [[nodiscard]] virtual std::string refusal(const World& world) const = 0;
    // False: its guests do not have this, so that experiments do without.
    [[nodiscard]] virtual bool offers(cpu::x86::Feature) const { return true; }
    // Runs experiments, each on data memory that starts as `memory` (kDataSize + kReadOnlySize bytes). Io: it is gone.
    virtual Result<void> run(std::span<const TestCase> cases, std::span<const u8> memory, std::span<Outcome> outcomes) = 0;
};

// interp, baseline, llvm, kvm or host. NotFound lists the names; Unsupported says what this machine lacks.
Result<std::unique_ptr<Processor>> create_processor(std::string_view name);

}  // namespace tandem::accel::diff
