// Exact execution of Advanced SIMD and floating-point instructions, one function for what differs only in element sizes and
// signedness. Integer instructions that are short in IR have none. Lifted code calls them where IR has no short form for an
// instruction, and where FPCR or an operand asks for more than the host's floating point does. Registers and FPSR flags of
// the State are read and written; its pc is not.
#pragma once

#include "base/types.h"
#include "cpu/arm64/state.h"

namespace tandem::cpu::arm64::simd {

struct Unit;

enum class Kernel : u32 {
#define TANDEM_ARM64_KERNEL(name) name,
#include "cpu/arm64/simd/kernels.inc"
#undef TANDEM_ARM64_KERNEL
    Count_
};

// Executes `word`, which must be one of the kernel's. vCPU thread.
void execute(State& state, Kernel kernel, u32 word);
// FCMP, FCMPE, FCCMP and FCCMPE: NZCV in bits 3:0, whatever the condition.
u32 execute_compare(State& state, u32 word);
// FJCVTZS: the result in bits 31:0, Z in bit 32.
u64 execute_javascript_convert(State& state, u32 word);

#define TANDEM_ARM64_KERNEL(name) void name(Unit& u, u32 word);
#include "cpu/arm64/simd/kernels.inc"
#undef TANDEM_ARM64_KERNEL
u32 fp_scalar_compare(Unit& u, u32 word);
u64 fp_javascript_convert(Unit& u, u32 word);

}  // namespace tandem::cpu::arm64::simd
