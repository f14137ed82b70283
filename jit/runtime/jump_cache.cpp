#include "jit/runtime/jump_cache.h"

#include <algorithm>
#include <atomic>

namespace tandem::jit {
namespace {

// Only the mode is ever written by another thread.
u64 mode_of(const ir::BlockKey& key) { return std::atomic_ref(const_cast<u64&>(key.mode)).load(std::memory_order_relaxed); }
void set_mode(ir::BlockKey& key, u64 mode) { std::atomic_ref(key.mode).store(mode, std::memory_order_relaxed); }

}  // namespace

JumpCache::JumpCache(FrameHeader& header)
    : entries_(std::make_unique<JumpCacheEntry[]>(kEntries)), slots_(std::make_unique<Slot[]>(kEntries)) {
    for (unsigned i = 0; i < kEntries; ++i) entries_[i].key = Slot{}.key;
    header.jump_cache = entries_.get();
}

BlockNode* JumpCache::find(const ir::BlockKey& key) const {
    const Slot& s = slots_[jump_cache_index(key.pc)];
    return s.key.pc == key.pc && s.key.base == key.base && mode_of(s.key) == key.mode ? s.block : nullptr;
}

void JumpCache::drop(unsigned i) {
    set_mode(slots_[i].key, kNoMode);
    set_mode(entries_[i].key, kNoMode);
}

void JumpCache::insert(BlockNode& block, bool global) {
    const unsigned i = jump_cache_index(block.key.pc);
    drop(i);
    slots_[i].key.pc = block.key.pc;
    slots_[i].key.base = block.key.base;
    slots_[i].block = &block;
    set_mode(slots_[i].key, block.key.mode);
    std::vector<u16>& list = global ? global_ : local_;
    if (list.size() <= kEntries) list.push_back(static_cast<u16>(i));
    pages_.set(page_hash(block.key.address()));
    if (block.spans_pages()) pages_.set(page_hash(block.key.address() + kPageSize));
    publish(block);
}

void JumpCache::publish(const BlockNode& block) {
    const unsigned i = jump_cache_index(block.key.pc);
    const void* code = block.entry.load(std::memory_order_acquire);
    if (code == nullptr || slots_[i].block != &block || mode_of(slots_[i].key) != block.key.mode) return;
    entries_[i].key.pc = block.key.pc;
    entries_[i].key.base = block.key.base;
    entries_[i].code = code;
    set_mode(entries_[i].key, block.key.mode);
}

void JumpCache::purge(const BlockNode& block) {
    const unsigned i = jump_cache_index(block.key.pc);
    if (slots_[i].block == &block) drop(i);
}

void JumpCache::flush(bool keep_global) {
    if (local_.size() > kEntries || (!keep_global && global_.size() > kEntries)) {
        for (unsigned i = 0; i < kEntries; ++i) drop(i);
        keep_global = false;
    } else {
        for (const u16 i : local_) drop(i);
        if (!keep_global) {
            for (const u16 i : global_) drop(i);
        }
    }
    local_.clear();
    if (keep_global) return;
    global_.clear();
    pages_.reset();
}

void JumpCache::flush_page(u64 va) {
    if (!pages_[page_hash(va)]) return;
    const u64 page = va & kPageMask;
    for (unsigned i = 0; i < kEntries; ++i) {
        // A block that spans two pages is dropped with either.
        const u64 at = (slots_[i].key.pc + slots_[i].key.base) & kPageMask;
        if (at == page || at + kPageSize == page) drop(i);
    }
}

}  // namespace tandem::jit
