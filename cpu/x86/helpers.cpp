#include "cpu/x86/helpers.h"

#include <array>

#include "cpu/x86/fpu/helpers.h"
#include "cpu/x86/lift/helpers.h"
#include "cpu/x86/system/svm.h"

namespace tandem::cpu::x86 {
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
#define TANDEM_X86_HELPER(name, result, arguments, flags) \
    {#name, address_of(&name), jit::ir::Type::result, arguments, flags},
#include "cpu/x86/helpers.inc"
#undef TANDEM_X86_HELPER
    });
}();

}  // namespace

std::span<const jit::Helper> helper_table() { return kHelpers; }

}  // namespace tandem::cpu::x86
