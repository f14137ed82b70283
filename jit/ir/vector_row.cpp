#include "jit/ir/vector_row.h"

#include <array>

namespace tandem::jit::ir {

bool VectorRow::has_immediate() const {
    switch (form) {
        case VectorForm::VOP1I:
        case VectorForm::VSHI:
        case VectorForm::VOP2I:
        case VectorForm::VFP1I:
        case VectorForm::VFPNI:
        case VectorForm::VFP2I: return true;
        default: return false;
    }
}

const VectorRow& vector_row(Op op) {
    static constexpr auto kRows = [] {
        std::array<VectorRow, static_cast<std::size_t>(Op::Count_)> rows{};
#define TANDEM_VROW(Form, Name, text, mnemonic, encoding, widths)                    \
    rows[static_cast<std::size_t>(Op::Name)] = {                                     \
        VectorForm::Form, VectorEncoding::encoding, VectorWidths::widths, #mnemonic, \
        VectorEncoding::encoding == VectorEncoding::SseOnly ? std::string_view() : std::string_view("v" #mnemonic)};
#include "jit/ir/vector_ops.inc"
        return rows;
    }();
    return kRows[static_cast<std::size_t>(op)];
}

}  // namespace tandem::jit::ir
