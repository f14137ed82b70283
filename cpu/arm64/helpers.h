// The functions that A64 IR may call, by id. Rows are in helpers.inc; the id is the function's name.
#pragma once

#include <span>

#include "base/types.h"
#include "jit/guest/guest.h"

namespace tandem::cpu::arm64 {

enum class HelperId : u32 {
#define TANDEM_ARM64_HELPER(name, result, arguments, flags) name,
#include "cpu/arm64/helpers.inc"
#undef TANDEM_ARM64_HELPER
    Count_
};

std::span<const jit::Helper> helper_table();
inline const jit::Helper& helper(HelperId id) { return helper_table()[static_cast<u32>(id)]; }

}  // namespace tandem::cpu::arm64
