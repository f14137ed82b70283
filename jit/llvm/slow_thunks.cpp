#include "jit/llvm/slow_thunks.h"

extern "C" {
// Set once before any region is compiled; read by the thunks.
__attribute__((visibility("hidden"))) void* tandem_llvm_slow_load = nullptr;
__attribute__((visibility("hidden"))) void* tandem_llvm_slow_store = nullptr;
__attribute__((visibility("hidden"))) void* tandem_llvm_slow_atomic = nullptr;
void tandem_llvm_slow_load_thunk();
void tandem_llvm_slow_store_thunk();
void tandem_llvm_slow_atomic_thunk();
}

// System V: the arguments are in place. preserve_allcc also keeps the upper halves of vector registers, which this code and
// the runtime's scalar code never touch.
asm(R"(
.macro TANDEM_SLOW_THUNK name target
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
    sub $256, %rsp
    and $-16, %rsp
    movups %xmm0, 0(%rsp)
    movups %xmm1, 16(%rsp)
    movups %xmm2, 32(%rsp)
    movups %xmm3, 48(%rsp)
    movups %xmm4, 64(%rsp)
    movups %xmm5, 80(%rsp)
    movups %xmm6, 96(%rsp)
    movups %xmm7, 112(%rsp)
    movups %xmm8, 128(%rsp)
    movups %xmm9, 144(%rsp)
    movups %xmm10, 160(%rsp)
    movups %xmm11, 176(%rsp)
    movups %xmm12, 192(%rsp)
    movups %xmm13, 208(%rsp)
    movups %xmm14, 224(%rsp)
    movups %xmm15, 240(%rsp)
    call *\target(%rip)
    movups 0(%rsp), %xmm0
    movups 16(%rsp), %xmm1
    movups 32(%rsp), %xmm2
    movups 48(%rsp), %xmm3
    movups 64(%rsp), %xmm4
    movups 80(%rsp), %xmm5
    movups 96(%rsp), %xmm6
    movups 112(%rsp), %xmm7
    movups 128(%rsp), %xmm8
    movups 144(%rsp), %xmm9
    movups 160(%rsp), %xmm10
    movups 176(%rsp), %xmm11
    movups 192(%rsp), %xmm12
    movups 208(%rsp), %xmm13
    movups 224(%rsp), %xmm14
    movups 240(%rsp), %xmm15
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
TANDEM_SLOW_THUNK tandem_llvm_slow_load_thunk tandem_llvm_slow_load
TANDEM_SLOW_THUNK tandem_llvm_slow_store_thunk tandem_llvm_slow_store
TANDEM_SLOW_THUNK tandem_llvm_slow_atomic_thunk tandem_llvm_slow_atomic
)");

namespace tandem::jit::llvm_tier {

void set_slow_paths(u32 (*load)(void*, u64, u32), u32 (*store)(void*, u64, u32, u64, u64),
                    u32 (*atomic)(void*, u64, u32, u64, u64)) {
    tandem_llvm_slow_load = reinterpret_cast<void*>(load);
    tandem_llvm_slow_store = reinterpret_cast<void*>(store);
    tandem_llvm_slow_atomic = reinterpret_cast<void*>(atomic);
}

void* slow_load_thunk() { return reinterpret_cast<void*>(tandem_llvm_slow_load_thunk); }
void* slow_store_thunk() { return reinterpret_cast<void*>(tandem_llvm_slow_store_thunk); }
void* slow_atomic_thunk() { return reinterpret_cast<void*>(tandem_llvm_slow_atomic_thunk); }

}  // namespace tandem::jit::llvm_tier
