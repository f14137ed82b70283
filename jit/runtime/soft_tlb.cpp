#include "jit/runtime/soft_tlb.h"

#include <atomic>
#include <new>

namespace tandem::jit {
namespace {

constexpr u64 kFlagMask = SoftTlb::kGlobal | SoftTlb::kLarge | SoftTlb::kHuge;
constexpr unsigned kLargeBits = 21;
constexpr unsigned kHugeBits = 30;
constexpr unsigned kIdleFlushesToShrink = 32;

void put(u64& where, u64 value) { std::atomic_ref(where).store(value, std::memory_order_relaxed); }

std::size_t large_hash(u64 va) { return static_cast<std::size_t>(va >> kLargeBits) & 4095; }
std::size_t huge_hash(u64 va) { return static_cast<std::size_t>(va >> kHugeBits) & 63; }

}  // namespace

SoftTlb::SoftTlb(FrameHeader& header) : header_(header) {
    for (unsigned mmu = 0; mmu < kMmuModes; ++mmu) resize(mmu, kMinEntries);
}

SoftTlb::Entries SoftTlb::allocate(unsigned size) {
    auto* memory = static_cast<TlbEntry*>(std::aligned_alloc(64, size * sizeof(TlbEntry)));
    if (memory == nullptr) throw std::bad_alloc();
    for (unsigned i = 0; i < size; ++i) new (&memory[i]) TlbEntry;
    return Entries(memory);
}

void SoftTlb::publish(unsigned mmu) {
    header_.tlb[mmu] = {u64{modes_[mmu].size - 1} * sizeof(TlbEntry), modes_[mmu].entries.get()};
}

void SoftTlb::note(std::vector<u16>& list, unsigned i, unsigned size) {
    if (list.size() <= size) list.push_back(static_cast<u16>(i));
}

void SoftTlb::resize(unsigned mmu, unsigned size) {
    Mode& m = modes_[mmu];
    Entries entries = allocate(size);
    std::vector<Info> infos(size);
    m.local.clear();
    m.global.clear();
    m.valid = 0;
    std::lock_guard guard(tables_lock_);
    for (unsigned i = 0; i < m.size; ++i) {
        if (m.infos[i].page == TlbEntry::kInvalidTag) continue;
        const unsigned to = static_cast<unsigned>(m.infos[i].page >> kPageBits) & (size - 1);
        if (infos[to].page != TlbEntry::kInvalidTag) continue;
        infos[to] = m.infos[i];
        entries[to] = m.entries[i];
        ++m.valid;
        note((infos[to].phys_flags & kGlobal) != 0 ? m.global : m.local, to, size);
    }
    m.entries = std::move(entries);
    m.infos = std::move(infos);
    m.size = size;
    m.conflicts = 0;
    m.idle_flushes = 0;
    publish(mmu);
}

TlbEntry& SoftTlb::insert(unsigned mmu, const Fill& fill) {
    Mode& m = modes_[mmu];
    unsigned i = index(mmu, fill.page);
    if (m.infos[i].page == TlbEntry::kInvalidTag) {
        ++m.valid;
    } else if (m.infos[i].page != fill.page && ++m.conflicts > m.size && m.size < kMaxEntries) {
        resize(mmu, m.size * 2);
        return insert(mmu, fill);
    }
    TlbEntry& e = m.entries[i];
    // protect() pairs a write tag with its addend: the tag goes first and comes back last.
    put(e.write_tag, TlbEntry::kInvalidTag);
    std::atomic_ref(e.addend).store(fill.addend, std::memory_order_release);
    put(e.read_tag, fill.read_tag);
    put(e.exec_tag, fill.exec_tag);
    std::atomic_ref(e.write_tag).store(fill.write_tag, std::memory_order_release);
    m.infos[i] = {fill.page, fill.phys | fill.flags};
    note((fill.flags & kGlobal) != 0 ? m.global : m.local, i, m.size);
    if ((fill.flags & kLarge) != 0) large_seen_.set(large_hash(fill.page));
    if ((fill.flags & kHuge) != 0) huge_seen_.set(huge_hash(fill.page));
    return e;
}

void SoftTlb::drop(Mode& m, unsigned i) {
    if (m.infos[i].page == TlbEntry::kInvalidTag) return;
    m.infos[i].page = TlbEntry::kInvalidTag;
    put(m.entries[i].read_tag, TlbEntry::kInvalidTag);
    put(m.entries[i].write_tag, TlbEntry::kInvalidTag);
    put(m.entries[i].exec_tag, TlbEntry::kInvalidTag);
    --m.valid;
}

void SoftTlb::drop_all(Mode& m, bool keep_global) {
    const auto unwanted = [&](unsigned i) { return !keep_global || (m.infos[i].phys_flags & kGlobal) == 0; };
    if (m.local.size() > m.size || (!keep_global && m.global.size() > m.size)) {
        for (unsigned i = 0; i < m.size; ++i) {
            if (unwanted(i)) drop(m, i);
        }
    } else {
        for (const u16 i : m.local) {
            if (unwanted(i)) drop(m, i);
        }
        if (!keep_global) {
            for (const u16 i : m.global) drop(m, i);
        }
    }
    m.local.clear();
    if (!keep_global) m.global.clear();
}

// Shrinks a table that flushes keep finding nearly empty: small tables stay in the host's caches.
void SoftTlb::adapt(unsigned mmu, unsigned used) {
    Mode& m = modes_[mmu];
    m.conflicts = 0;
    m.idle_flushes = used < m.size / 8 ? m.idle_flushes + 1 : 0;
    if (m.idle_flushes >= kIdleFlushesToShrink && m.size > kMinEntries) resize(mmu, m.size / 2);
}

void SoftTlb::flush(bool keep_global) {
    for (unsigned mmu = 0; mmu < kMmuModes; ++mmu) {
        const unsigned used = modes_[mmu].valid;
        const unsigned conflicts = modes_[mmu].conflicts;
        drop_all(modes_[mmu], keep_global);
        if (conflicts > modes_[mmu].size / 2 && modes_[mmu].size < kMaxEntries) {
            resize(mmu, modes_[mmu].size * 2);
        } else {
            adapt(mmu, used);
        }
    }
    if (!keep_global) {
        large_seen_.reset();
        huge_seen_.reset();
    }
}

bool SoftTlb::flush_page(u64 va) {
    va &= kPageMask;
    for (unsigned mmu = 0; mmu < kMmuModes; ++mmu) {
        if (info(mmu, va).page == va) drop(modes_[mmu], index(mmu, va));
    }
    // Bit 21 is ignored for mappings of 4 MiB, so both halves of such a region are looked up.
    const bool large =
        huge_seen_[huge_hash(va)] || large_seen_[large_hash(va)] || large_seen_[large_hash(va ^ (u64{1} << kLargeBits))];
    if (large) flush_large(va);
    return large;
}

void SoftTlb::flush_large(u64 va) {
    for (Mode& m : modes_) {
        for (unsigned i = 0; i < m.size; ++i) {
            const u64 distance = m.infos[i].page ^ va;
            const u64 flags = m.infos[i].phys_flags & kFlagMask;
            if ((flags & kHuge) != 0 && distance >> kHugeBits == 0) drop(m, i);
            if ((flags & kLarge) != 0 && distance >> (kLargeBits + 1) == 0) drop(m, i);
        }
    }
}

void SoftTlb::protect(const u8* host_page) {
    const u64 page = reinterpret_cast<u64>(host_page);
    std::lock_guard guard(tables_lock_);
    for (Mode& m : modes_) {
        for (unsigned i = 0; i < m.size; ++i) {
            std::atomic_ref tag(m.entries[i].write_tag);
            u64 seen = tag.load(std::memory_order_seq_cst);
            if ((seen & ~kPageMask) != 0) continue;
            if (seen + std::atomic_ref(m.entries[i].addend).load(std::memory_order_relaxed) != page) continue;
            tag.compare_exchange_strong(seen, seen | TlbEntry::kCode);
        }
    }
}

}  // namespace tandem::jit
