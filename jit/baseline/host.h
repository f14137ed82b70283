// What the host CPU offers to the code generator.
#pragma once

#include <array>

#include "jit/ir/vector_row.h"

namespace tandem::jit::baseline {

// A row of vector_ops.inc on this host.
struct VectorInstruction {
    u32 legacy = 0;  // AsmJit's ids; 0: there is no such form
    u32 vex = 0;
    ir::VectorForm form = ir::VectorForm::None;
    bool legacy_supported = false;  // by the host CPU
    bool xmm_supported = false;
    bool ymm_supported = false;
};

struct HostFeatures {
    bool bmi2 = false;  // SHLX, SHRX, SARX, MULX, RORX
    bool lzcnt = false;
    bool tzcnt = false;
    bool popcnt = false;
    bool sse41 = false;  // PEXTR, PINSR
    bool avx = false;    // and the operating system saves the upper halves: vector code is VEX-encoded throughout
    bool avx2 = false;
    std::array<VectorInstruction, static_cast<unsigned>(ir::Op::Count_)> vector{};

    static HostFeatures detect();
    [[nodiscard]] const VectorInstruction& row(ir::Op op) const { return vector[static_cast<unsigned>(op)]; }
};

}  // namespace tandem::jit::baseline
