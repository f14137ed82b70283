#include "jit/runtime/block_table.h"

#include <utility>

namespace tandem::jit {

u64 BlockTable::hash_of(u64 phys, const ir::BlockKey& key) {
    // Multiplicative mixing; the high bits are good, so they are folded down. 0 and kGone are reserved.
    u64 h = (phys ^ (key.mode << 17)) * 0x9e3779b97f4a7c15;
    h = (h ^ (h >> 32) ^ key.pc) * 0xd6e8feb86659fd93;
    h ^= (key.base * 0x9e3779b97f4a7c15) ^ (h >> 29);
    return h | 2;
}

BlockNode* BlockTable::find(u64 phys, const ir::BlockKey& key) const {
    const u64 hash = hash_of(phys, key);
    const std::size_t m = slots_.size() - 1;
    for (std::size_t i = (hash >> 8) & m;; i = (i + 1) & m) {
        const Slot& s = slots_[i];
        if (s.hash == hash && s.block && s.block->phys[0] == phys && s.block->key == key) return s.block.get();
        if (s.hash == 0) return nullptr;
    }
}

void BlockTable::grow() {
    std::vector<Slot> old(used_ * 4 > slots_.size() ? slots_.size() * 2 : slots_.size());
    std::swap(old, slots_);
    const std::size_t m = slots_.size() - 1;
    for (Slot& s : old) {
        if (!s.block) continue;
        std::size_t i = (s.hash >> 8) & m;
        while (slots_[i].hash != 0) i = (i + 1) & m;
        slots_[i] = std::move(s);
    }
    filled_ = used_;
}

void BlockTable::link(BlockNode& block, unsigned which, CodePage& page) {
    BlockNode::PageLink& l = block.pages[which];
    l = {&page, page.blocks, nullptr};
    if (page.blocks != nullptr) {
        BlockNode& head = *page.blocks;
        head.pages[head.pages[0].page == &page ? 0 : 1].previous = &block;
    }
    page.blocks = &block;
    for_granules(block, which, [&page](unsigned granule) {
        ++page.covering[granule];
        page.covered |= u64{1} << granule;
    });
}

void BlockTable::unlink(BlockNode& block, unsigned which) {
    BlockNode::PageLink& l = block.pages[which];
    CodePage& page = *l.page;
    const auto side = [&page](BlockNode& b) -> BlockNode::PageLink& { return b.pages[b.pages[0].page == &page ? 0 : 1]; };
    if (l.next != nullptr) side(*l.next).previous = l.previous;
    (l.previous != nullptr ? side(*l.previous).next : page.blocks) = l.next;
    l = {};
    for_granules(block, which, [&page](unsigned granule) {
        if (--page.covering[granule] == 0) page.covered &= ~(u64{1} << granule);
    });
    page.granules.store(page.covered, std::memory_order_release);
}

BlockNode& BlockTable::insert(std::unique_ptr<BlockNode> block, CodePage& first, CodePage* second) {
    if ((filled_ + 1) * 3 > slots_.size() * 2) grow();
    const u64 hash = hash_of(block->phys[0], block->key);
    const std::size_t m = slots_.size() - 1;
    std::size_t i = (hash >> 8) & m;
    while (slots_[i].hash != 0) i = (i + 1) & m;
    BlockNode& b = *block;
    slots_[i] = {hash, std::move(block)};
    ++used_;
    ++filled_;
    link(b, 0, first);
    if (second != nullptr) link(b, 1, *second);
    b.older = newest_;
    (newest_ != nullptr ? newest_->newer : oldest_) = &b;
    newest_ = &b;
    return b;
}

std::unique_ptr<BlockNode> BlockTable::remove(BlockNode& block) {
    const u64 hash = hash_of(block.phys[0], block.key);
    const std::size_t m = slots_.size() - 1;
    std::size_t i = (hash >> 8) & m;
    while (slots_[i].block.get() != &block) i = (i + 1) & m;
    std::unique_ptr<BlockNode> owned = std::move(slots_[i].block);
    slots_[i].hash = kGone;
    --used_;
    (block.older != nullptr ? block.older->newer : oldest_) = block.newer;
    (block.newer != nullptr ? block.newer->older : newest_) = block.older;
    block.older = block.newer = nullptr;
    if (block.pages[1].page != nullptr) unlink(block, 1);
    unlink(block, 0);
    return owned;
}

}  // namespace tandem::jit
