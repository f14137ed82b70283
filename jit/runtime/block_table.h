// All translations of a machine, by physical address and key. Everything here is guarded by the translator's lock.
#pragma once

#include <bit>
#include <memory>
#include <vector>

#include "jit/runtime/backend.h"
#include "jit/runtime/physical_memory.h"

namespace tandem::jit {

struct HotRegion;

// A block with its places in the dispatcher's lists.
struct BlockNode : TranslatedBlock {
    struct PageLink {
        CodePage* page = nullptr;
        BlockNode* next = nullptr;
        BlockNode* previous = nullptr;
    };
    PageLink pages[2];           // [1] only for blocks that span two pages
    BlockNode* newer = nullptr;  // by age, for eviction
    BlockNode* older = nullptr;
    std::atomic<const ir::Block*> interpretable{nullptr};  // `ir` while the interpreter may run it
    std::atomic<u32> executions{0};                        // on the interpreter
    std::atomic<bool> uncompilable{false};
    bool warm = false;                // has been hot once, outside a loop
    std::vector<HotRegion*> regions;  // that it is part of
    u64 retired = 0;                  // epoch after which no vCPU can be in the block

    [[nodiscard]] bool spans_pages() const { return phys[1] != ~u64{0}; }
    [[nodiscard]] u32 bytes_in_first_page() const {
        const u64 room = kPageSize - (phys[0] & ~kPageMask);
        return static_cast<u32>(guest_bytes < room ? guest_bytes : room);
    }
    // The part of the page linked by pages[which] that the block covers.
    [[nodiscard]] u64 offset_in(unsigned which) const { return which == 0 ? phys[0] & ~kPageMask : 0; }
    [[nodiscard]] u32 bytes_in(unsigned which) const {
        return which == 0 ? bytes_in_first_page() : guest_bytes - bytes_in_first_page();
    }
};

class BlockTable {
public:
    BlockTable() : slots_(kInitialSlots) {}

    [[nodiscard]] BlockNode* find(u64 phys, const ir::BlockKey& key) const;
    // Takes the block in; page 0 and, for spanning blocks, page 1 are those of block.phys.
    BlockNode& insert(std::unique_ptr<BlockNode> block, CodePage& first, CodePage* second);
    // Takes the block out and brings its pages' granules up to date.
    std::unique_ptr<BlockNode> remove(BlockNode& block);

    [[nodiscard]] BlockNode* oldest() const { return oldest_; }
    [[nodiscard]] std::size_t size() const { return used_; }

    // Calls f for every block of the page that overlaps [offset, offset + size) of it; f may remove the block it is given.
    template <class F>
    static void for_overlapping(const CodePage& page, u64 offset, u64 size, F f) {
        for (BlockNode* b = page.blocks; b != nullptr;) {
            const unsigned which = b->pages[0].page == &page ? 0 : 1;
            BlockNode* const next = b->pages[which].next;
            const u64 start = b->offset_in(which);
            if (start < offset + size && offset < start + b->bytes_in(which)) f(*b);
            b = next;
        }
    }

private:
    static constexpr std::size_t kInitialSlots = 1024;
    struct Slot {
        u64 hash = 0;
        std::unique_ptr<BlockNode> block;  // null with hash kGone: removed; null with hash 0: never used
    };
    static constexpr u64 kGone = 1;

    static u64 hash_of(u64 phys, const ir::BlockKey& key);
    void grow();
    static void link(BlockNode& block, unsigned which, CodePage& page);
    static void unlink(BlockNode& block, unsigned which);
    // Calls f with the number of each granule that the block covers in pages[which].
    template <class F>
    static void for_granules(const BlockNode& block, unsigned which, F f) {
        for (u64 mask = CodePage::granule_mask(block.offset_in(which), block.bytes_in(which)); mask != 0; mask &= mask - 1) {
            f(static_cast<unsigned>(std::countr_zero(mask)));
        }
    }

    std::vector<Slot> slots_;  // open addressing, size a power of two
    std::size_t used_ = 0;
    std::size_t filled_ = 0;  // used and gone
    BlockNode* oldest_ = nullptr;
    BlockNode* newest_ = nullptr;
};

}  // namespace tandem::jit
