#include "jit/baseline/host.h"

#include <asmjit/asmjit.h>

#include <array>
#include <string_view>

namespace tandem::jit::baseline {

namespace {

using namespace asmjit;

using ir::VectorForm;

using Operands = std::array<Operand_, 4>;

// The legacy SSE form's operands, from which the assembler's instruction database derives the extension it needs.
size_t legacy_operands(VectorForm form, Operands& out) {
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

// The VEX form's.
size_t vex_operands(VectorForm form, bool ymm, Operands& out) {
    const auto wide = [&](u32 id) -> Operand_ { return ymm ? Operand_(x86::ymm(id)) : Operand_(x86::xmm(id)); };
    out = {wide(1), wide(2), wide(3), wide(4)};
    switch (form) {
        case VectorForm::VTOI:
        case VectorForm::FTOI: out[0] = x86::eax; return 2;
        case VectorForm::ITOF: out[2] = x86::eax; return 3;
        case VectorForm::VOPX:
        case VectorForm::VFPX: out[1] = x86::xmm2; return 2;
        case VectorForm::VFPN: out[0] = x86::xmm1; return 2;
        case VectorForm::VFPNI:
            out[0] = x86::xmm1;
            out[2] = Imm(0);
            return 3;
        case VectorForm::VOP1:
        case VectorForm::VFP1:
        case VectorForm::VTEST:
        case VectorForm::FCMP: return 2;
        case VectorForm::VOP1I:
        case VectorForm::VSHI:
        case VectorForm::VFP1I: out[2] = Imm(0); return 3;
        case VectorForm::VOP2S: out[2] = x86::xmm3; return 3;
        case VectorForm::VOP2I:
        case VectorForm::VFP2I: out[3] = Imm(0); return 4;
        case VectorForm::VOP3: return 4;
        default: return 3;  // VFP3 has its destination as first argument
    }
}

bool has(const CpuFeatures& host, u32 instruction, const Operands& operands, size_t count) {
    CpuFeatures needed;
    const BaseInst inst(instruction);
    return instruction != 0 && InstAPI::queryFeatures(Arch::kX64, inst, operands.data(), count, &needed) == kErrorOk &&
           host.hasAll(needed);
}

u32 find_instruction(std::string_view mnemonic) {
    return mnemonic.empty() ? 0 : InstAPI::stringToInstId(Arch::kX64, mnemonic.data(), mnemonic.size());
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
    f.avx = host.x86().hasAVX();
    f.avx2 = host.x86().hasAVX2();
    for (unsigned op = 0; op < f.vector.size(); ++op) {
        const ir::VectorRow& r = ir::vector_row(static_cast<ir::Op>(op));
        if (r.form == VectorForm::None) continue;
        VectorInstruction& row = f.vector[op];
        row.form = r.form;
        Operands operands;
        if (r.encoding != ir::VectorEncoding::Avx) {
            row.legacy = find_instruction(r.mnemonic);
            const size_t count = legacy_operands(r.form, operands);
            row.legacy_supported = has(host, row.legacy, operands, count);
        }
        row.vex = find_instruction(r.vex_mnemonic);
        size_t count = vex_operands(r.form, false, operands);
        row.xmm_supported = r.defined_for(ir::Type::V128) && has(host, row.vex, operands, count);
        count = vex_operands(r.form, true, operands);
        row.ymm_supported = r.defined_for(ir::Type::V256) && has(host, row.vex, operands, count);
    }
    return f;
}

}  // namespace tandem::jit::baseline
