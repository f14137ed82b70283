// What streams of A64 instructions are compared by.
#pragma once

#include <array>

#include "base/types.h"

namespace tandem::accel::diff::arm64 {

struct MachineState {
    std::array<u64, 31> x{};
    u64 sp = 0;
    std::array<std::array<u64, 2>, 32> v{};
    u32 nzcv = 0;  // bits 31:28
    u32 fpcr = 0;
    u32 fpsr = 0;
    bool operator==(const MachineState&) const = default;
};

}  // namespace tandem::accel::diff::arm64
