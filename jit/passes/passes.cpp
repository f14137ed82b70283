#include "jit/passes/passes.h"

namespace tandem::jit::passes {

void run(ir::Block&, const Guest&) {}

}  // namespace tandem::jit::passes
