#include "jit/ir/ir.h"

namespace tandem::jit::ir {

const OpInfo& info(Op op) {
    static constexpr OpInfo kInfo[] = {
#define TANDEM_IR_OP(name, text, sig, flags) {text, sig, flags},
#include "jit/ir/opcodes.inc"
#undef TANDEM_IR_OP
    };
    return kInfo[static_cast<unsigned>(op)];
}

}  // namespace tandem::jit::ir
