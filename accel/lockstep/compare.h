// Whether two engines are in the same state, and how they are not.
#pragma once

#include <string>
#include <vector>

#include "accel/lockstep/image.h"
#include "cpu/x86/state.h"

namespace tandem::accel::lockstep {

struct Names {
    std::string first, second;
};

// One line for each register and each run of memory that differs, "what: first's value, second's value"; empty when they
// agree. Memory is compared in `pages` only. `native`: one of them runs on the host's processor.
std::vector<std::string> differences(const cpu::x86::State& first, const cpu::x86::State& second,
                                     const devices::GuestMemory& first_memory, const devices::GuestMemory& second_memory,
                                     const std::vector<u64>& pages, const Names& names, bool native = false);

// Appends a line where CR8, which is kept beside the state, differs.
void compare_cr8(u8 first, u8 second, const Names& names, std::vector<std::string>& lines);

}  // namespace tandem::accel::lockstep
