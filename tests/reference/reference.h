// VIXL's simulator as an independent reference. It has no FPSR, rounds to nearest only, and does not flush.
#pragma once

#include <memory>
#include <span>

#include "accel/diff/arm64/machine_state.h"

namespace tandem::reference_test {

using namespace accel::diff::arm64;

class Reference {
public:
    Reference();
    ~Reference();
    Reference(const Reference&) = delete;
    Reference& operator=(const Reference&) = delete;

    // Executes the words in order; memory operands are host addresses.
    void run(std::span<const u32> words, MachineState& state);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace tandem::reference_test
