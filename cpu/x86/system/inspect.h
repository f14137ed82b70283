// The guest's paging structures as they stand, for those who look at a stopped processor: no accessed or dirty bits are set,
// no faults are raised, no TLB is asked. SDM volume 3, chapter 4.
#pragma once

#include <functional>
#include <optional>
#include <span>

#include "cpu/x86/state.h"

namespace tandem::cpu::x86 {

// Reads 8 bytes of guest-physical memory; nothing where there is none.
using PhysicalReader = std::function<std::optional<u64>(u64 gpa)>;

// One page, or a whole larger one.
struct Mapping {
    u64 va = 0;
    u64 pa = 0;
    u64 size = 0;
    u64 flags = 0;  // of the last entry: bit 0 present ... bit 8 global, bit 63 no execute
    // Of all entries on the way.
    bool user = false;
    bool writable = false;
};

// Where `va` leads: identity without paging; nothing when it is not mapped.
std::optional<Mapping> walk(const State& state, const PhysicalReader& read, u64 va);

// Every mapping in ascending order, until `take` answers false. None without paging.
void for_each_mapping(const State& state, const PhysicalReader& read, const std::function<bool(const Mapping&)>& take);

}  // namespace tandem::cpu::x86
