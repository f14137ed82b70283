#include "jit/baseline/host.h"

#include <asmjit/asmjit.h>

#include <string_view>

namespace tandem::jit::baseline {

namespace {

using namespace asmjit;

struct RowName {
    ir::Op op;
    VectorForm form;
    std::string_view mnemonic;
};

constexpr RowName kRows[] = {
#define TANDEM_VOP1(Name, text, mnemonic) {ir::Op::Name, VectorForm::VOP1, #mnemonic},
#define TANDEM_VOP1I(Name, text, mnemonic) {ir::Op::Name, VectorForm::VOP1I, #mnemonic},
#define TANDEM_VOP2(Name, text, mnemonic) {ir::Op::Name, VectorForm::VOP2, #mnemonic},
#define TANDEM_VOP2I(Name, text, mnemonic) {ir::Op::Name, VectorForm::VOP2I, #mnemonic},
#define TANDEM_VOP3(Name, text, mnemonic) {ir::Op::Name, VectorForm::VOP3, #mnemonic},
#define TANDEM_VTEST(Name, text, mnemonic) {ir::Op::Name, VectorForm::VTEST, #mnemonic},
#define TANDEM_VFP1(Name, text, mnemonic) {ir::Op::Name, VectorForm::VFP1, #mnemonic},
#define TANDEM_VFP1I(Name, text, mnemonic) {ir::Op::Name, VectorForm::VFP1I, #mnemonic},
#define TANDEM_VFPM(Name, text, mnemonic) {ir::Op::Name, VectorForm::VFPM, #mnemonic},
#define TANDEM_VFP2(Name, text, mnemonic) {ir::Op::Name, VectorForm::VFP2, #mnemonic},
#define TANDEM_VFP2I(Name, text, mnemonic) {ir::Op::Name, VectorForm::VFP2I, #mnemonic},
#define TANDEM_VTOI(Name, text, mnemonic) {ir::Op::Name, VectorForm::VTOI, #mnemonic},
#define TANDEM_FTOI(Name, text, mnemonic) {ir::Op::Name, VectorForm::FTOI, #mnemonic},
#define TANDEM_ITOF(Name, text, mnemonic) {ir::Op::Name, VectorForm::ITOF, #mnemonic},
#define TANDEM_FCMP(Name, text, mnemonic) {ir::Op::Name, VectorForm::FCMP, #mnemonic},
#include "jit/ir/vector_ops.inc"
};

// The legacy SSE form's operands, from which the assembler's instruction database derives the extension it needs.
size_t operands_of(VectorForm form, Operand_ (&out)[3]) {
    const bool to_int = form == VectorForm::VTOI || form == VectorForm::FTOI;
    const bool from_int = form == VectorForm::ITOF;
    out[0] = to_int ? static_cast<const Operand_&>(x86::eax) : x86::xmm1;
    out[1] = from_int ? static_cast<const Operand_&>(x86::eax) : x86::xmm2;
    switch (form) {
        case VectorForm::VOP1I:
        case VectorForm::VOP2I:
        case VectorForm::VFP1I:
        case VectorForm::VFP2I: out[2] = Imm(0); return 3;
        case VectorForm::VOP3: out[2] = x86::xmm0; return 3;
        default: return 2;
    }
}

// PSLLW .. PSRLDQ by an immediate have no source operand beside the destination.
bool is_shift_row(ir::Op op) { return op >= ir::Op::PSllWI && op <= ir::Op::PSrlDQ; }

}  // namespace

HostFeatures HostFeatures::detect() {
    HostFeatures f;
    const CpuFeatures& host = CpuInfo::host().features();
    f.bmi2 = host.x86().hasBMI2();
    f.lzcnt = host.x86().hasLZCNT();
    f.tzcnt = host.x86().hasBMI();
    f.popcnt = host.x86().hasPOPCNT();
    f.sse41 = host.x86().hasSSE4_1();
    for (const RowName& r : kRows) {
        VectorRow& row = f.vector[static_cast<unsigned>(r.op)];
        row.form = r.form;
        row.instruction = InstAPI::stringToInstId(Arch::kX64, r.mnemonic.data(), r.mnemonic.size());
        Operand_ operands[3];
        size_t count = operands_of(r.form, operands);
        if (is_shift_row(r.op)) {
            operands[1] = Imm(0);
            count = 2;
        }
        CpuFeatures needed;
        const BaseInst inst(row.instruction);
        row.supported =
            InstAPI::queryFeatures(Arch::kX64, inst, operands, count, &needed) == kErrorOk && host.hasAll(needed);
    }
    return f;
}

}  // namespace tandem::jit::baseline
