// Executes the rows of jit/ir/vector_ops.inc with the host's own instructions, so that results, NaN payloads and the flags
// accumulated in MXCSR are the hardware's. x86-64 hosts with the instruction-set extensions that the guest is offered.
#pragma once

#include "jit/ir/ir.h"

namespace tandem::jit::interp {

// A value of any type: integers zero-extended in `lo` (the rest is then meaningless), V128 in `lo` and `hi`, V256 whole.
struct alignas(32) Slot {
    u64 lo = 0;
    u64 hi = 0;
    u64 upper[2] = {};
};

// `args` points to the slots of the up to three arguments in order; `vector` is ir::vector_type() of the instruction,
// `integer` the type of the integer among arguments and result, if any. FP rows run under the MXCSR in force.
void execute_vector_row(const ir::Inst& inst, ir::Type vector, ir::Type integer, const Slot* const args[3], Slot& out);

}  // namespace tandem::jit::interp
