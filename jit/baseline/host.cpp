#include "jit/baseline/host.h"

#include <asmjit/asmjit.h>

#include <string_view>

namespace tandem::jit::baseline {

namespace {

using namespace asmjit;

using ir::VectorForm;

// The legacy SSE form's operands, from which the assembler's instruction database derives the extension it needs.
size_t operands_of(VectorForm form, Operand_ (&out)[3]) {
    const bool to_int = form == VectorForm::VTOI || form == VectorForm::FTOI;
    const bool from_int = form == VectorForm::ITOF;
    out[0] = to_int ? static_cast<const Operand_&>(x86::eax) : x86::xmm1;
    out[1] = from_int ? static_cast<const Operand_&>(x86::eax) : x86::xmm2;
    switch (form) {
        case VectorForm::VSHI: out[1] = Imm(0); return 2;
        case VectorForm::VOP1I:
        case VectorForm::VOP2I:
        case VectorForm::VFP1I:
        case VectorForm::VFP2I: out[2] = Imm(0); return 3;
        case VectorForm::VOP3: out[2] = x86::xmm0; return 3;
        default: return 2;
    }
}

}  // namespace

HostFeatures HostFeatures::detect() {
    HostFeatures f;
    const CpuFeatures& host = CpuInfo::host().features();
    f.bmi2 = host.x86().hasBMI2();
    f.lzcnt = host.x86().hasLZCNT();
    f.tzcnt = host.x86().hasBMI();
    f.popcnt = host.x86().hasPOPCNT();
    f.sse41 = host.x86().hasSSE4_1();
    for (unsigned op = 0; op < f.vector.size(); ++op) {
        const ir::VectorRow& r = ir::vector_row(static_cast<ir::Op>(op));
        if (r.form == VectorForm::None) continue;
        VectorInstruction& row = f.vector[op];
        row.form = r.form;
        if (r.encoding == ir::VectorEncoding::Avx) continue;
        row.instruction = InstAPI::stringToInstId(Arch::kX64, r.mnemonic.data(), r.mnemonic.size());
        Operand_ operands[3];
        const size_t count = operands_of(r.form, operands);
        CpuFeatures needed;
        const BaseInst inst(row.instruction);
        row.supported =
            InstAPI::queryFeatures(Arch::kX64, inst, operands, count, &needed) == kErrorOk && host.hasAll(needed);
    }
    return f;
}

}  // namespace tandem::jit::baseline
