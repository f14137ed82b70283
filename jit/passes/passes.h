// Optimisations that every tier above the interpreter's first executions gets. Linear in the block.
#pragma once

#include "jit/guest/guest.h"
#include "jit/ir/ir.h"

namespace tandem::jit::passes {

// Forwards state reads, drops state writes that nothing can see and values that nothing uses. The block stays valid. Any
// thread.
void run(ir::Block& block, const Guest& guest);

}  // namespace tandem::jit::passes
