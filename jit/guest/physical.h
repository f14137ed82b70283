// Memory by physical address for page walks that must tell what is not there (Arm: external aborts). Implemented by
// jit/runtime; beside the functions of jit/guest/memory.h.
#pragma once

#include "base/types.h"

namespace tandem::jit {

// Eight aligned bytes at once; false where there is no memory, without asking the bus. `state` is the frame pointer; the
// vCPU's own thread.
bool phys_load(void* state, u64 gpa, u64& value);

}  // namespace tandem::jit
