#include "cpu/arm64/helpers.h"

#include <array>

#include "cpu/arm64/lift/helpers.h"
#include "cpu/arm64/lift/simd_helpers.h"
#include "cpu/arm64/system/pmu.h"
#include "cpu/arm64/system/system.h"

namespace tandem::cpu::arm64 {
namespace {

using jit::kMayLeave;
using jit::kPure;
using jit::kReadsState;
using jit::kWritesState;

template <class F>
const void* address_of(F* function) {
    return reinterpret_cast<const void*>(function);
}

const auto kHelpers = [] {
    return std::to_array<jit::Helper>({
#define TANDEM_ARM64_HELPER(name, result, arguments, flags) \
    {#name, address_of(&name), jit::ir::Type::result, arguments, flags},
#include "cpu/arm64/helpers.inc"
#undef TANDEM_ARM64_HELPER
    });
}();

}  // namespace

std::span<const jit::Helper> helper_table() { return kHelpers; }

}  // namespace tandem::cpu::arm64
