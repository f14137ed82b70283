// One A64 experiment: words, the state and the data they start with, and what came of it on an engine.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "accel/diff/arm64/subject.h"
#include "accel/diff/results.h"

namespace tandem::accel::diff::arm64 {

// Where the data is in the guest.
constexpr u64 kDataAddress = 0x2000'0000;

struct Experiment {
    std::vector<u32> words;
    MachineState start;
    std::vector<u8> memory;  // Subject::kDataSize bytes
};

struct Outcome {
    MachineState state;
    std::array<u8, Subject::kDataSize> memory{};
    bool whole = false;  // it ran to its end
};

// A tier of the translator, with memory of its own.
class Engine {
public:
    // interp, baseline, llvm, or exact: the interpreter with floating point by the exact kernels. NotFound lists them.
    static Result<std::unique_ptr<Engine>> create(const std::string& name);
    [[nodiscard]] const std::string& name() const { return name_; }
    // Code runs on it as the tier has it only when it has run a few times.
    [[nodiscard]] bool warms_up() const { return name_ == "llvm"; }

    void run(const Experiment& experiment, Outcome& outcome);
    // So often that the tier's own code has run.
    void run_warm(const Experiment& experiment, Outcome& outcome);
    [[nodiscard]] u64 regions_compiled() const { return subject_->regions_compiled(); }

private:
    struct Data {
        alignas(4096) std::array<u8, Subject::kDataSize> bytes{};
    };
    Engine() = default;

    std::string name_;
    std::unique_ptr<Data> data_ = std::make_unique<Data>();
    std::unique_ptr<Subject> subject_;
};

// "what: first's, second's" for each difference; empty when they agree.
std::vector<std::string> differences(const Outcome& first, const Outcome& second);

// Leaves out words, then clears registers and data, each as long as `differs` holds, which it must do for `experiment`.
Experiment reduce(Experiment experiment, const std::function<bool(const Experiment&)>& differs);

// The rows' names, for people: all of them, or "sequence" for more than one.
std::string names_of(const std::vector<u32>& words);
std::string kind_name(const std::vector<u32>& words);

// "words", "listing", "registers" and "memory" of a finding, and back. Corrupt names the field.
void describe(const Experiment& experiment, Json& finding);
Result<Experiment> parse_experiment(const Json& finding);

}  // namespace tandem::accel::diff::arm64
