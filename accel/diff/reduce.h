// Makes an experiment on which processors differ as small as it can be while they still do.
#pragma once

#include <functional>
#include <vector>

#include "accel/diff/test_case.h"

namespace tandem::accel::diff {

struct Experiment {
    TestCase test;
    std::vector<u8> memory;  // data it starts with
};

// Leaves out instructions, then clears registers, flags and memory, each as long as `differs` holds, which it must do for
// `experiment` itself. Calls it some hundred times.
Experiment reduce(Experiment experiment, const std::function<bool(const Experiment&)>& differs);

// Clears what of `memory` is not needed for `differs` to hold.
void reduce_memory(std::vector<u8>& memory, const std::function<bool(const std::vector<u8>&)>& differs);

}  // namespace tandem::accel::diff
