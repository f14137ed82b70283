// What the host CPU offers to the code generator.
#pragma once

#include <array>

#include "jit/ir/vector_row.h"

namespace tandem::jit::baseline {

// A row of vector_ops.inc on this host.
struct VectorInstruction {
    u32 instruction = 0;  // AsmJit's id
    ir::VectorForm form = ir::VectorForm::None;
    bool supported = false;  // by the host CPU
};

struct HostFeatures {
    bool bmi2 = false;  // SHLX, SHRX, SARX, MULX, RORX
    bool lzcnt = false;
    bool tzcnt = false;
    bool popcnt = false;
    bool sse41 = false;  // PEXTR, PINSR
    std::array<VectorInstruction, static_cast<unsigned>(ir::Op::Count_)> vector{};

    static HostFeatures detect();
    [[nodiscard]] const VectorInstruction& row(ir::Op op) const { return vector[static_cast<unsigned>(op)]; }
};

}  // namespace tandem::jit::baseline
