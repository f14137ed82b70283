// A vCPU's cache of translations by guest pc: the part that compiled code reads (FrameHeader::jump_cache) and, beside it,
// the blocks themselves for the dispatcher, interpreted ones included. Entries stay valid until the code's mapping or the
// block goes.
#pragma once

#include <bitset>
#include <memory>
#include <vector>

#include "jit/runtime/block_table.h"

namespace tandem::jit {

class JumpCache {
public:
    explicit JumpCache(FrameHeader& header);

    // Own thread.
    [[nodiscard]] BlockNode* find(const ir::BlockKey& key) const;
    // Own thread, under the translator's lock. `global`: the code's mapping survives a flush that keeps global pages.
    void insert(BlockNode& block, bool global);
    // Own thread, under the lock: compiled code of a block that is in the cache may be used from now on.
    void publish(const BlockNode& block);
    // Any thread, under the lock.
    void purge(const BlockNode& block);
    // Own thread.
    void flush(bool keep_global);
    void flush_page(u64 va);

private:
    static constexpr unsigned kEntries = 1u << kJumpCacheBits;
    static constexpr u64 kNoMode = ~u64{0};  // no guest uses it, so an entry with it never matches
    struct Slot {
        ir::BlockKey key{~u64{0}, 0, kNoMode};
        BlockNode* block = nullptr;
    };

    void drop(unsigned i);
    static std::size_t page_hash(u64 va) { return (va >> kPageBits ^ va >> (kPageBits + 14)) & 16383; }

    std::unique_ptr<JumpCacheEntry[]> entries_;
    std::unique_ptr<Slot[]> slots_;
    std::vector<u16> local_;    // filled since the last flush
    std::vector<u16> global_;   // filled from global mappings since the last complete flush
    std::bitset<16384> pages_;  // hashed pages that entries were filled from since the last complete flush
};

}  // namespace tandem::jit
