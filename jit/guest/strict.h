// Pages whose data must be accessed aligned, whatever the instruction (Arm: Device memory). Implemented by jit/runtime.
#pragma once

namespace tandem::jit {

// For Guest::translate, before it says true: the page it translates is strict. A misaligned access of data there is
// Guest::alignment_fault's. `state` is the frame pointer; the vCPU's own thread.
void mark_strict(void* state);
// For Guest::translate, before it says false: whether the access would be misaligned on a strict page. Arm has the
// alignment fault that comes of the memory type before a permission fault.
bool misaligned_if_strict(const void* state);

}  // namespace tandem::jit
