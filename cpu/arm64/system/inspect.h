// The guest's translation tables as they stand, for those who look at a stopped processor: nothing is updated, nothing
// faults, no TLB is asked (DDI 0487, D8 "The AArch64 Virtual Memory System Architecture").
#pragma once

#include <functional>
#include <optional>

#include "cpu/arm64/state.h"

namespace tandem::cpu::arm64 {

// Reads 8 bytes of guest-physical memory; nothing where there is none.
using PhysicalReader = std::function<std::optional<u64>(u64 address)>;

// The physical address that `va` has at the current exception level, through both stages where both are on; nothing when it
// is not mapped. Permissions do not count.
std::optional<u64> look_up(const State& state, const PhysicalReader& read, u64 va);

}  // namespace tandem::cpu::arm64
