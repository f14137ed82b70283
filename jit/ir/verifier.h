// Checks the rules that jit/ir/ir.h and opcodes.inc state. Run after lifting and after every pass when Options::verify_ir is
// set.
#pragma once

#include "base/result.h"
#include "jit/ir/ir.h"

namespace tandem::jit {
class Guest;
}

namespace tandem::jit::ir {

// Internal error naming the first offending instruction and the rule it breaks. With a guest, state offsets are checked
// against the layout's size and calls against their helper's signature. Linear in the block but for slot overlaps. Any
// thread.
Result<void> verify(const Block& block, const Guest* guest = nullptr);

}  // namespace tandem::jit::ir
