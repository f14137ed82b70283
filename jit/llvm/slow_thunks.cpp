#include "jit/llvm/slow_thunks.h"

extern "C" {
// Set once before any region is compiled; read by the thunks.
__attribute__((visibility("hidden"))) void* tandem_llvm_slow_load = nullptr;
__attribute__((visibility("hidden"))) void* tandem_llvm_slow_store = nullptr;
__attribute__((visibility("hidden"))) void* tandem_llvm_slow_atomic = nullptr;
void tandem_llvm_slow_load_thunk();
void tandem_llvm_slow_store_thunk();
void tandem_llvm_slow_atomic_thunk();
void tandem_llvm_slow_load_ymm_thunk();
void tandem_llvm_slow_store_ymm_thunk();
void tandem_llvm_slow_atomic_ymm_thunk();
}

// System V: the arguments are in place. preserve_allcc keeps the vector registers whole: their xmm halves where LLVM uses no
// more, else the ymm registers, whose upper halves the runtime then finds clear.
asm(R"(
.macro TANDEM_SLOW_THUNK name, target, move, register, each
    .text
    .p2align 4
    .hidden \name
    .globl \name
    .type \name, @function
\name:
    push %rbp
    mov %rsp, %rbp
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %rbx
    sub $16*\each, %rsp
    and $-32, %rsp
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    \move %\register\n, \n*\each(%rsp)
    .endr
    .if \each == 32
    vzeroupper
    .endif
    call *\target(%rip)
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    \move \n*\each(%rsp), %\register\n
    .endr
    lea -64(%rbp), %rsp
    pop %rbx
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rbp
    ret
    .size \name, . - \name
.endm
TANDEM_SLOW_THUNK tandem_llvm_slow_load_thunk tandem_llvm_slow_load movups xmm 16
TANDEM_SLOW_THUNK tandem_llvm_slow_store_thunk tandem_llvm_slow_store movups xmm 16
TANDEM_SLOW_THUNK tandem_llvm_slow_atomic_thunk tandem_llvm_slow_atomic movups xmm 16
TANDEM_SLOW_THUNK tandem_llvm_slow_load_ymm_thunk tandem_llvm_slow_load vmovups ymm 32
TANDEM_SLOW_THUNK tandem_llvm_slow_store_ymm_thunk tandem_llvm_slow_store vmovups ymm 32
TANDEM_SLOW_THUNK tandem_llvm_slow_atomic_ymm_thunk tandem_llvm_slow_atomic vmovups ymm 32
)");

namespace tandem::jit::llvm_tier {

void set_slow_paths(u32 (*load)(void*, u64, u32), u32 (*store)(void*, u64, u32, u64, u64),
                    u32 (*atomic)(void*, u64, u32, u64, u64)) {
    tandem_llvm_slow_load = reinterpret_cast<void*>(load);
    tandem_llvm_slow_store = reinterpret_cast<void*>(store);
    tandem_llvm_slow_atomic = reinterpret_cast<void*>(atomic);
}

void* slow_load_thunk(bool ymm) {
    return reinterpret_cast<void*>(ymm ? tandem_llvm_slow_load_ymm_thunk : tandem_llvm_slow_load_thunk);
}
void* slow_store_thunk(bool ymm) {
    return reinterpret_cast<void*>(ymm ? tandem_llvm_slow_store_ymm_thunk : tandem_llvm_slow_store_thunk);
}
void* slow_atomic_thunk(bool ymm) {
    return reinterpret_cast<void*>(ymm ? tandem_llvm_slow_atomic_ymm_thunk : tandem_llvm_slow_atomic_thunk);
}

}  // namespace tandem::jit::llvm_tier
