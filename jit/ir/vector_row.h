// The rows of vector_ops.inc as a table: what the verifier, the builder and the engines know of an operation's operands.
#pragma once

#include <string_view>

#include "jit/ir/ir.h"

namespace tandem::jit::ir {

// The forms that vector_ops.inc describes.
enum class VectorForm : u8 {
    None,
    VOP1,
    VOP1I,
    VSHI,
    VOPX,
    VOP2,
    VOP2S,
    VOP2I,
    VOP3,
    VTEST,
    VTOI,
    VFP1,
    VFP1I,
    VFPX,
    VFPN,
    VFPNI,
    VFPM,
    VFP2,
    VFP2I,
    VFP3,
    FTOI,
    ITOF,
    FCMP
};

enum class VectorEncoding : u8 { Sse, SseOnly, Avx };
enum class VectorWidths : u8 { W128 = 1, W256 = 2, Both = 3 };

struct VectorRow {
    VectorForm form = VectorForm::None;
    VectorEncoding encoding = VectorEncoding::Sse;
    VectorWidths widths = VectorWidths::Both;
    std::string_view mnemonic;      // zero-terminated; empty for operations that are not a row
    std::string_view vex_mnemonic;  // empty for SseOnly

    [[nodiscard]] bool has_immediate() const;
    [[nodiscard]] bool floating_point() const { return form >= VectorForm::VFP1; }
    [[nodiscard]] bool defined_for(Type t) const {
        const unsigned bit = t == Type::V128 ? 1 : t == Type::V256 ? 2 : 0;
        return (static_cast<unsigned>(widths) & bit) != 0;
    }
};

// Any operation; form None when it is not a row. Any thread.
const VectorRow& vector_row(Op op);

constexpr bool is_masked_access(Op op) { return op >= Op::MaskLoadD && op <= Op::MaskStoreQ; }
// Bytes of an element of a masked access.
constexpr unsigned masked_element(Op op) { return op == Op::MaskLoadD || op == Op::MaskStoreD ? 4 : 8; }

// The type that decides between a row's xmm and ymm form: its result's, or that of its widest vector argument.
inline Type vector_type(const Block& block, const Inst& i) {
    if (i.type == Type::V256 || (i.nargs != 0 && block.type_of(i.args[0]) == Type::V256)) return Type::V256;
    return Type::V128;
}

}  // namespace tandem::jit::ir
