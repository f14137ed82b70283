#include "cpu/arm64/simd/kernels.h"

#include "cpu/arm64/simd/unit.h"

namespace tandem::cpu::arm64::simd {
namespace {

using Function = void (*)(Unit&, u32);

constexpr Function kFunctions[] = {
#define TANDEM_ARM64_KERNEL(name) name,
#include "cpu/arm64/simd/kernels.inc"
#undef TANDEM_ARM64_KERNEL
};

Unit unit_of(State& state) { return {state, {state.fpcr, 0}}; }

}  // namespace

void execute(State& state, Kernel kernel, u32 word) {
    Unit u = unit_of(state);
    kFunctions[static_cast<u32>(kernel)](u, word);
    state.fpsr |= u.env.status;
}

u32 execute_compare(State& state, u32 word) {
    Unit u = unit_of(state);
    const u32 nzcv = fp_scalar_compare(u, word);
    state.fpsr |= u.env.status;
    return nzcv;
}

u64 execute_javascript_convert(State& state, u32 word) {
    Unit u = unit_of(state);
    const u64 result = fp_javascript_convert(u, word);
    state.fpsr |= u.env.status;
    return result;
}

}  // namespace tandem::cpu::arm64::simd
