// A vCPU's cache of translations by guest pc: the part that compiled code reads (FrameHeader::jump_cache) and, beside it,
// the blocks themselves for the dispatcher, interpreted ones included. Entries stay valid until the code's mapping or the
// block goes.
//
// Like the soft TLB it has a bank for each address space that it remembers, for code that is fetched through a private MMU
// index, and one for all other code. One bank is selected at a time; lookups and insertions go there.
#pragma once

#include <array>
#include <bitset>
#include <memory>
#include <vector>

#include "jit/runtime/block_table.h"
#include "jit/runtime/soft_tlb.h"

namespace tandem::jit {

class JumpCache {
public:
    static constexpr unsigned kShared = 0;
    static constexpr unsigned bank_of(unsigned space) { return space + 1; }

    explicit JumpCache(FrameHeader& header);

    // Own thread.
    // False: the bank is new and has to be made first.
    bool select(unsigned bank);
    [[nodiscard]] BlockNode* find(const ir::BlockKey& key) const;
    // Whether compiled code finds the block, which find() has found.
    [[nodiscard]] bool published(const BlockNode& block) const;
    // Own thread, under the translator's lock.
    void make(unsigned bank);
    // `global`: the code's mapping survives a flush that keeps global pages.
    void insert(BlockNode& block, bool global);
    // Compiled code of a block that is in the cache may be used from now on.
    void publish(const BlockNode& block);
    // Any thread, under the lock.
    void purge(const BlockNode& block);
    // Own thread.
    void flush(bool keep_global);
    void flush_bank(unsigned bank, bool keep_global);
    void flush_page(u64 va) { flush_range(va, 1); }
    void flush_range(u64 va, u64 pages);

private:
    static constexpr unsigned kBanks = SoftTlb::kSpaces + 1;
    static constexpr unsigned kEntries = 1u << kJumpCacheBits;
    static constexpr u64 kNoMode = ~u64{0};  // no guest uses it, so an entry with it never matches
    struct Slot {
        ir::BlockKey key{~u64{0}, 0, kNoMode};
        BlockNode* block = nullptr;
    };
    struct Bank {
        std::unique_ptr<JumpCacheEntry[]> entries;  // null: not made yet
        std::unique_ptr<Slot[]> slots;
        std::vector<u16> local;    // filled since the last flush
        std::vector<u16> global;   // filled from global mappings since the last complete flush
        std::bitset<16384> pages;  // hashed pages that entries were filled from since the last complete flush
        void drop(unsigned i);
    };

    static std::size_t page_hash(u64 va) { return (va >> kPageBits ^ va >> (kPageBits + 14)) & 16383; }
    static bool may_have(const Bank& bank, u64 va, u64 pages);

    FrameHeader& header_;
    std::array<Bank, kBanks> banks_;
    Bank* current_ = banks_.data();
};

}  // namespace tandem::jit
