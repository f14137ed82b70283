// Thunks in front of jit/runtime/slow_paths.h that preserve every register but rax and r11 (LLVM's preserve_allcc).
#pragma once

#include "base/types.h"

namespace tandem::jit::llvm_tier {

void set_slow_paths(u32 (*load)(void*, u64, u32), u32 (*store)(void*, u64, u32, u64, u64),
                    u32 (*atomic)(void*, u64, u32, u64, u64));
// ymm: for code that uses the vector registers' upper halves, on hosts with AVX.
void* slow_load_thunk(bool ymm);
void* slow_store_thunk(bool ymm);
void* slow_atomic_thunk(bool ymm);

}  // namespace tandem::jit::llvm_tier
