#include "jit/runtime/jump_cache.h"

#include <algorithm>
#include <atomic>

namespace tandem::jit {
namespace {

// Only the mode is ever written by another thread.
u64 mode_of(const ir::BlockKey& key) { return std::atomic_ref(const_cast<u64&>(key.mode)).load(std::memory_order_relaxed); }
void set_mode(ir::BlockKey& key, u64 mode) { std::atomic_ref(key.mode).store(mode, std::memory_order_relaxed); }

}  // namespace

JumpCache::JumpCache(FrameHeader& header) : header_(header) {
    make(kShared);
    select(kShared);
}

void JumpCache::make(unsigned bank) {
    Bank& b = banks_[bank];
    b.slots = std::make_unique<Slot[]>(kEntries);
    b.entries = std::make_unique<JumpCacheEntry[]>(kEntries);
    for (unsigned i = 0; i < kEntries; ++i) b.entries[i].key = Slot{}.key;
}

bool JumpCache::select(unsigned bank) {
    if (banks_[bank].entries == nullptr) return false;
    current_ = &banks_[bank];
    header_.jump_cache = current_->entries.get();
    return true;
}

BlockNode* JumpCache::find(const ir::BlockKey& key) const {
    const Slot& s = current_->slots[jump_cache_index(key.pc)];
    return s.key.pc == key.pc && s.key.base == key.base && mode_of(s.key) == key.mode ? s.block : nullptr;
}

bool JumpCache::published(const BlockNode& block) const {
    const JumpCacheEntry& e = current_->entries[jump_cache_index(block.key.pc)];
    return mode_of(e.key) == block.key.mode && e.key.pc == block.key.pc && e.key.base == block.key.base;
}

void JumpCache::Bank::drop(unsigned i) {
    set_mode(slots[i].key, kNoMode);
    set_mode(entries[i].key, kNoMode);
}

void JumpCache::insert(BlockNode& block, bool global) {
    Bank& b = *current_;
    const unsigned i = jump_cache_index(block.key.pc);
    b.drop(i);
    b.slots[i].key.pc = block.key.pc;
    b.slots[i].key.base = block.key.base;
    b.slots[i].block = &block;
    set_mode(b.slots[i].key, block.key.mode);
    std::vector<u16>& list = global ? b.global : b.local;
    if (list.size() <= kEntries) list.push_back(static_cast<u16>(i));
    b.pages.set(page_hash(block.key.address()));
    if (block.spans_pages()) b.pages.set(page_hash(block.key.address() + kPageSize));
    publish(block);
}

void JumpCache::publish(const BlockNode& block) {
    Bank& b = *current_;
    const unsigned i = jump_cache_index(block.key.pc);
    const void* code = block.entry.load(std::memory_order_acquire);
    if (code == nullptr || b.slots[i].block != &block || mode_of(b.slots[i].key) != block.key.mode) return;
    b.entries[i].key.pc = block.key.pc;
    b.entries[i].key.base = block.key.base;
    b.entries[i].code = code;
    set_mode(b.entries[i].key, block.key.mode);
}

void JumpCache::purge(const BlockNode& block) {
    const unsigned i = jump_cache_index(block.key.pc);
    for (Bank& b : banks_) {
        if (b.entries != nullptr && b.slots[i].block == &block) b.drop(i);
    }
}

void JumpCache::flush_bank(unsigned bank, bool keep_global) {
    Bank& b = banks_[bank];
    if (b.entries == nullptr) return;
    if (b.local.size() > kEntries || (!keep_global && b.global.size() > kEntries)) {
        for (unsigned i = 0; i < kEntries; ++i) b.drop(i);
        keep_global = false;
    } else {
        for (const u16 i : b.local) b.drop(i);
        if (!keep_global) {
            for (const u16 i : b.global) b.drop(i);
        }
    }
    b.local.clear();
    if (keep_global) return;
    b.global.clear();
    b.pages.reset();
}

void JumpCache::flush(bool keep_global) {
    for (unsigned bank = 0; bank < banks_.size(); ++bank) flush_bank(bank, keep_global);
}

bool JumpCache::may_have(const Bank& bank, u64 va, u64 pages) {
    constexpr u64 kMostLookups = 512;
    bool found = pages > kMostLookups;
    for (u64 n = 0; n < pages && !found; ++n) found = bank.pages[page_hash(va + n * kPageSize)];
    return found;
}

void JumpCache::flush_range(u64 va, u64 pages) {
    va &= kPageMask;
    for (Bank& b : banks_) {
        if (b.entries == nullptr || !may_have(b, va, pages)) continue;
        for (unsigned i = 0; i < kEntries; ++i) {
            // A block that spans two pages is dropped with either.
            const u64 at = (b.slots[i].key.pc + b.slots[i].key.base) & kPageMask;
            if ((at - va) >> kPageBits < pages || (at + kPageSize - va) >> kPageBits < pages) b.drop(i);
        }
    }
}

}  // namespace tandem::jit
