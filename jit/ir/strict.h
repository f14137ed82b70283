// How aligned an access of strict pages (jit/guest/strict.h) must be: bits of a memory operation's aux beside MemFlags.
#pragma once

#include "base/types.h"

namespace tandem::jit::ir {

struct StrictAlignment {
    static constexpr unsigned kShift = 8;
    static constexpr u32 kMask = 7u << kShift;
    // 0, which is what accesses have that say nothing: their own size.
    static constexpr u32 of(unsigned log2) { return (log2 + 1) << kShift; }
    // In bytes, of an access of `size`.
    static constexpr unsigned bytes(u32 aux, unsigned size) {
        const unsigned log2 = (aux & kMask) >> kShift;
        return log2 != 0 ? 1u << (log2 - 1) : size;
    }
};

}  // namespace tandem::jit::ir
