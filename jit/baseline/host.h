// What the host CPU offers to the code generator.
#pragma once

#include <array>

#include "jit/ir/ir.h"

namespace tandem::jit::baseline {

// How the operands of a row of vector_ops.inc map to its host instruction; the names are the row macros'.
enum class VectorForm : u8 {
    None,
    VOP1,
    VOP1I,
    VOP2,
    VOP2I,
    VOP3,
    VTEST,
    VFP1,
    VFP1I,
    VFPM,
    VFP2,
    VFP2I,
    VTOI,
    FTOI,
    ITOF,
    FCMP
};

struct VectorRow {
    u32 instruction = 0;  // AsmJit's id
    VectorForm form = VectorForm::None;
    bool supported = false;  // by the host CPU
};

struct HostFeatures {
    bool bmi2 = false;  // SHLX, SHRX, SARX, MULX, RORX
    bool lzcnt = false;
    bool tzcnt = false;
    bool popcnt = false;
    bool sse41 = false;  // PEXTR, PINSR
    std::array<VectorRow, static_cast<unsigned>(ir::Op::Count_)> vector{};

    static HostFeatures detect();
    [[nodiscard]] const VectorRow& row(ir::Op op) const { return vector[static_cast<unsigned>(op)]; }
};

}  // namespace tandem::jit::baseline
