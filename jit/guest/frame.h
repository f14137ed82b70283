// The memory that generated code addresses: a header of the translator's followed by the guest's state.
// Generated code holds a pointer to the guest state (the frame pointer); the header lies at negative offsets from it, hot
// fields last, so that both the header's and the guest registers' offsets fit into a signed byte.
#pragma once

#include <atomic>
#include <cstddef>

#include "base/types.h"
#include "jit/ir/ir.h"

namespace tandem::jit {

constexpr unsigned kPageBits = 12;
constexpr u64 kPageSize = u64{1} << kPageBits;
constexpr u64 kPageMask = ~(kPageSize - 1);
constexpr unsigned kMmuModes = 4;

// One soft-TLB entry. A tag is the virtual page address; any of the low 12 bits set in it sends the access to the slow path
// (which re-examines the entry), and kInvalidTag never matches. On a match host = va + addend.
struct TlbEntry {
    static constexpr u64 kInvalidTag = ~u64{0};
    static constexpr u64 kMmio = 1;  // no host memory behind the page: dispatch on the bus (addend = gpa - va)
    static constexpr u64 kCode = 2;  // write tag only: the page holds translated code
    u64 read_tag = kInvalidTag;
    u64 write_tag = kInvalidTag;
    u64 exec_tag = kInvalidTag;
    u64 addend = 0;
};
static_assert(sizeof(TlbEntry) == 32);

// index = (va >> 12) & mask; the inline check is
//   ((va + size - 1) & kPageMask) == tag, which also sends page-crossing accesses to the slow path.
struct TlbView {
    u64 mask_bytes = 0;  // mask * sizeof(TlbEntry): ((va >> 7) & mask_bytes) is the byte offset of the entry
    TlbEntry* entries = nullptr;
};

struct JumpCacheEntry {
    ir::BlockKey key;            // of the block whose code this is
    const void* code = nullptr;  // null: empty
};
constexpr unsigned kJumpCacheBits = 12;

class VcpuTranslator;

struct alignas(64) FrameHeader {
    // Cold
    VcpuTranslator* translator = nullptr;
    void* owner = nullptr;  // the accelerator's vCPU; helpers reach their platform through it
    u64 leave_detail = 0;
    u64 instructions = 0;     // guest instructions retired, where counting is on
    u64 scratch[8] = {};      // for engines
    u32 host_mxcsr = 0x1f80;  // the embedding program's MXCSR while generated code runs
    // The guest's SSE control and status with all exceptions masked. run() loads it into the host's MXCSR before any guest
    // code or guest callback runs and stores the accumulated flags back at its end; in between the host register is the live
    // value. Callbacks into the embedding program (Bus, Platform) switch to host_mxcsr and back.
    u32 guest_mxcsr = 0x1f80;
    // Load-Exclusive's marks (jit/runtime/line_marks.h): the machine's cells, this vCPU's mark in a cell, and all the
    // others'.
    std::atomic<u32>* line_marks = nullptr;
    u32 own_mark = 0;
    u32 other_marks = 0;
    u64 repeat_stride = 4096;  // jit/guest/counting.h
    // Hot: the last 128 bytes
    alignas(64) JumpCacheEntry* jump_cache = nullptr;  // 1 << kJumpCacheBits entries, index by jump_cache_index()
    u64 mode = 0;  // BlockKey::mode and base of the code that runs now; the guest keeps them
    u64 base = 0;
    u64 spare[2] = {};
    // Anything but zero makes generated code leave at the next block boundary. Written by any thread.
    std::atomic<u32> attention{0};
    u32 reserved1 = 0;
    u64 spare2[2] = {};
    TlbView tlb[kMmuModes] = {};
};
static_assert(sizeof(FrameHeader) % 64 == 0);
static_assert(sizeof(FrameHeader) - offsetof(FrameHeader, jump_cache) == 128);

inline FrameHeader& header_of(void* guest_state) {
    return *reinterpret_cast<FrameHeader*>(static_cast<char*>(guest_state) - sizeof(FrameHeader));
}
inline const FrameHeader& header_of(const void* guest_state) {
    return *reinterpret_cast<const FrameHeader*>(static_cast<const char*>(guest_state) - sizeof(FrameHeader));
}
inline unsigned jump_cache_index(u64 pc) {
    return static_cast<unsigned>((pc ^ (pc >> kJumpCacheBits)) & ((1u << kJumpCacheBits) - 1));
}

}  // namespace tandem::jit
