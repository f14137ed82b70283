// What compiled code of every tier calls when the inline soft-TLB check misses. Implemented by jit/runtime/memory.cpp.
// The caller has written all guest state that the block has produced so far, and the pc of the current instruction, to
// memory. Each returns a LeaveReason: None to go on, anything else leaves the block at the current instruction's boundary.
#pragma once

#include "base/types.h"

namespace tandem::jit {

// `spec` packs what the access is: bits 15:0 ir::MemFlags, bits 23:16 size in bytes (1..16, 32), bits 31:24 for atomics the
// ir::Op minus ir::Op::AtomicXchg, for masked accesses the bytes of an element (else 0).
constexpr u32 access_spec(u32 mem_flags, unsigned size, unsigned detail = 0) {
    return mem_flags | size << 16 | detail << 24;
}

// FrameHeader::scratch: the first of the words that hold a value, and of those that hold the mask of a masked access.
constexpr unsigned kScratchValue = 0;
constexpr unsigned kScratchMask = 4;

extern "C" {
// The value, zero-extended, is left in FrameHeader::scratch from kScratchValue on.
u32 tandem_slow_load(void* state, u64 va, u32 spec);
// 32 bytes are taken from kScratchValue on instead of from `low` and `high`.
u32 tandem_slow_store(void* state, u64 va, u32 spec, u64 low, u64 high);
// Read-modify-write; the old value is left in scratch[0]. For AtomicCas `a` is expected and `b` desired, else `a` is the
// operand.
u32 tandem_slow_atomic(void* state, u64 va, u32 spec, u64 a, u64 b);
}

}  // namespace tandem::jit
