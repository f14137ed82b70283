#include "jit/runtime/soft_tlb.h"

#include <algorithm>
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

SoftTlb::SoftTlb(FrameHeader& header, u32 private_mmus) : header_(header), private_mmus_(private_mmus) {
    resize(none_, 1);
    for (unsigned mmu = 0; mmu < kMmuModes; ++mmu) {
        if (is_private(mmu)) {
            publish(mmu, none_);
            continue;
        }
        resize(shared_[mmu], kMinEntries);
        publish(mmu, shared_[mmu]);
    }
}

SoftTlb::Entries SoftTlb::allocate(unsigned size) {
    auto* memory = static_cast<TlbEntry*>(std::aligned_alloc(64, std::max<std::size_t>(size * sizeof(TlbEntry), 64)));
    if (memory == nullptr) throw std::bad_alloc();
    for (unsigned i = 0; i < size; ++i) new (&memory[i]) TlbEntry;
    return Entries(memory);
}

void SoftTlb::publish(unsigned mmu, Table& t) {
    current_[mmu] = &t;
    header_.tlb[mmu] = {u64{t.size - 1} * sizeof(TlbEntry), t.entries.get()};
}

void SoftTlb::publish() {
    for (unsigned mmu = 0; mmu < kMmuModes; ++mmu) publish(mmu, *current_[mmu]);
}

bool SoftTlb::bind(const AddressSpace& space) {
    const auto known =
        std::find_if(spaces_.begin(), spaces_.end(), [&](const Space& s) { return s.used && s.key == space; });
    const bool fresh = known == spaces_.end();
    Space& s = fresh ? *std::min_element(spaces_.begin(), spaces_.end(),
                                         [](const Space& a, const Space& b) { return a.last_bound < b.last_bound; })
                     : *known;
    if (fresh) {
        flush(s.tables, false);
        s.key = space;
        s.used = true;
    }
    s.last_bound = ++binds_;
    space_ = static_cast<unsigned>(&s - spaces_.data());
    for (unsigned mmu = 0; mmu < kMmuModes; ++mmu) {
        if (!is_private(mmu)) continue;
        if (s.tables[mmu].size == 0) resize(s.tables[mmu], kMinEntries);
        publish(mmu, s.tables[mmu]);
    }
    return fresh;
}

void SoftTlb::unbind() {
    space_ = kUnbound;
    for (unsigned mmu = 0; mmu < kMmuModes; ++mmu) {
        if (is_private(mmu)) {
            publish(mmu, none_);
        } else {
            drop_all(shared_[mmu], true);
            shared_[mmu].conflicts -= shared_[mmu].conflicts / 8;  // these tables are to grow by need, not by age
        }
    }
}

void SoftTlb::note(std::vector<u16>& list, unsigned i, unsigned size) {
    if (list.size() <= size) list.push_back(static_cast<u16>(i));
}

void SoftTlb::resize(Table& t, unsigned size) {
    Entries entries = allocate(size);
    std::vector<Info> infos(size);
    t.local.clear();
    t.global.clear();
    t.valid = 0;
    std::lock_guard guard(tables_lock_);
    for (unsigned i = 0; i < t.size; ++i) {
        if (t.infos[i].page == TlbEntry::kInvalidTag) continue;
        const unsigned to = static_cast<unsigned>(t.infos[i].page >> kPageBits) & (size - 1);
        if (infos[to].page != TlbEntry::kInvalidTag) continue;
        infos[to] = t.infos[i];
        entries[to] = t.entries[i];
        ++t.valid;
        note((infos[to].phys_flags & kGlobal) != 0 ? t.global : t.local, to, size);
    }
    t.entries = std::move(entries);
    t.infos = std::move(infos);
    t.size = size;
    t.conflicts = 0;
    t.idle_flushes = 0;
    for (unsigned mmu = 0; mmu < kMmuModes; ++mmu) {
        if (current_[mmu] == &t) publish(mmu, t);
    }
}

TlbEntry& SoftTlb::insert(unsigned mmu, const Fill& fill) {
    Table& t = *current_[mmu];
    unsigned i = index(mmu, fill.page);
    if (t.infos[i].page == TlbEntry::kInvalidTag) {
        ++t.valid;
    } else if (t.infos[i].page != fill.page && ++t.conflicts > t.size && t.size < kMaxEntries) {
        resize(t, t.size * 2);
        return insert(mmu, fill);
    }
    TlbEntry& e = t.entries[i];
    // protect() pairs a write tag with its addend: the tag goes first and comes back last.
    put(e.write_tag, TlbEntry::kInvalidTag);
    std::atomic_ref(e.addend).store(fill.addend, std::memory_order_release);
    put(e.read_tag, fill.read_tag);
    put(e.exec_tag, fill.exec_tag);
    std::atomic_ref(e.write_tag).store(fill.write_tag, std::memory_order_release);
    t.infos[i] = {fill.page, fill.phys | fill.flags};
    note((fill.flags & kGlobal) != 0 ? t.global : t.local, i, t.size);
    if ((fill.flags & kLarge) != 0) large_seen_.set(large_hash(fill.page));
    if ((fill.flags & kHuge) != 0) huge_seen_.set(huge_hash(fill.page));
    return e;
}

void SoftTlb::drop(Table& t, unsigned i) {
    if (t.infos[i].page == TlbEntry::kInvalidTag) return;
    t.infos[i].page = TlbEntry::kInvalidTag;
    put(t.entries[i].read_tag, TlbEntry::kInvalidTag);
    put(t.entries[i].write_tag, TlbEntry::kInvalidTag);
    put(t.entries[i].exec_tag, TlbEntry::kInvalidTag);
    --t.valid;
}

void SoftTlb::drop_all(Table& t, bool keep_global) {
    const auto unwanted = [&](unsigned i) { return !keep_global || (t.infos[i].phys_flags & kGlobal) == 0; };
    if (t.local.size() > t.size || (!keep_global && t.global.size() > t.size)) {
        for (unsigned i = 0; i < t.size; ++i) {
            if (unwanted(i)) drop(t, i);
        }
    } else {
        for (const u16 i : t.local) {
            if (unwanted(i)) drop(t, i);
        }
        if (!keep_global) {
            for (const u16 i : t.global) drop(t, i);
        }
    }
    t.local.clear();
    if (!keep_global) t.global.clear();
}

// Shrinks a table that flushes keep finding nearly empty: small tables stay in the host's caches.
void SoftTlb::adapt(Table& t, unsigned used) {
    t.conflicts = 0;
    t.idle_flushes = used < t.size / 8 ? t.idle_flushes + 1 : 0;
    if (t.idle_flushes >= kIdleFlushesToShrink && t.size > kMinEntries) resize(t, t.size / 2);
}

void SoftTlb::flush(Tables& tables, bool keep_global) {
    for (Table& t : tables) {
        if (t.size == 0) continue;
        const unsigned used = t.valid;
        const unsigned conflicts = t.conflicts;
        drop_all(t, keep_global);
        if (conflicts > t.size / 2 && t.size < kMaxEntries) {
            resize(t, t.size * 2);
        } else {
            adapt(t, used);
        }
    }
}

void SoftTlb::flush(bool keep_global) {
    for_all([&](Tables& tables) { flush(tables, keep_global); });
    if (!keep_global) {
        large_seen_.reset();
        huge_seen_.reset();
    }
}

u32 SoftTlb::flush_space(u64 id) {
    u32 flushed = 0;
    flush(shared_, true);
    for (unsigned n = 0; n < kSpaces; ++n) {
        if (!spaces_[n].used || spaces_[n].key.id != id) continue;
        flush(spaces_[n].tables, true);
        flushed |= 1u << n;
    }
    return flushed;
}

bool SoftTlb::flush_page(u64 va) {
    va &= kPageMask;
    for_all([&](Tables& tables) {
        for (Table& t : tables) {
            const unsigned i = static_cast<unsigned>(va >> kPageBits) & (t.size - 1);
            if (t.size != 0 && t.infos[i].page == va) drop(t, i);
        }
    });
    // Bit 21 is ignored for mappings of 4 MiB, so both halves of such a region are looked up.
    const bool large =
        huge_seen_[huge_hash(va)] || large_seen_[large_hash(va)] || large_seen_[large_hash(va ^ (u64{1} << kLargeBits))];
    if (large) for_all([&](Tables& tables) { flush_large(tables, va); });
    return large;
}

bool SoftTlb::flush_range(u64 va, u64 pages) {
    constexpr u64 kMostPages = 1 << 16;
    constexpr u64 kRegion = u64{1} << kLargeBits;
    va &= kPageMask;
    if (pages > kMostPages) return false;
    // Both halves of 4 MiB, as above.
    const u64 first = va & ~(2 * kRegion - 1);
    const u64 regions = ((va + pages * kPageSize - 1 - first) >> kLargeBits | 1) + 1;
    for (u64 n = 0; n < regions; ++n) {
        const u64 at = first + n * kRegion;
        if (huge_seen_[huge_hash(at)] || large_seen_[large_hash(at)]) return false;
    }
    for_all([&](Tables& tables) {
        for (Table& t : tables) {
            for (unsigned i = 0; i < t.size; ++i) {
                if ((t.infos[i].page - va) >> kPageBits < pages) drop(t, i);
            }
        }
    });
    return true;
}

void SoftTlb::flush_large(Tables& tables, u64 va) {
    for (Table& t : tables) {
        for (unsigned i = 0; i < t.size; ++i) {
            const u64 distance = t.infos[i].page ^ va;
            const u64 flags = t.infos[i].phys_flags & kFlagMask;
            if ((flags & kHuge) != 0 && distance >> kHugeBits == 0) drop(t, i);
            if ((flags & kLarge) != 0 && distance >> (kLargeBits + 1) == 0) drop(t, i);
        }
    }
}

void SoftTlb::protect(const u8* host_page) {
    const u64 page = reinterpret_cast<u64>(host_page);
    std::lock_guard guard(tables_lock_);
    const auto mark = [page](TlbEntry& e) {
        std::atomic_ref tag(e.write_tag);
        u64 seen = tag.load(std::memory_order_seq_cst);
        if ((seen & ~kPageMask) != 0) return;
        if (seen + std::atomic_ref(e.addend).load(std::memory_order_relaxed) != page) return;
        tag.compare_exchange_strong(seen, seen | TlbEntry::kCode);
    };
    for_all([&](Tables& tables) {
        for (Table& t : tables) {
            for (unsigned i = 0; i < t.size; ++i) mark(t.entries[i]);
        }
    });
}

}  // namespace tandem::jit
