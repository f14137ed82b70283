// One vCPU's soft TLB: a direct-mapped table per MMU mode, read by generated code through FrameHeader::tlb.
// All functions: the vCPU's own thread, except protect(). Flushes cost what was filled since the last one, not the table's
// size.
#pragma once

#include <array>
#include <bitset>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

#include "jit/guest/frame.h"

namespace tandem::jit {

class SoftTlb {
public:
    static constexpr unsigned kMinEntries = 256;
    static constexpr unsigned kMaxEntries = 8192;

    // What the inline check does not need to know of an entry.
    struct Info {
        u64 page = TlbEntry::kInvalidTag;  // virtual page address; kInvalidTag: entry empty
        u64 phys_flags = 0;                // physical page address | flags below
    };
    static constexpr u64 kGlobal = 1;
    static constexpr u64 kLarge = 2;  // part of a mapping larger than 4 KiB
    static constexpr u64 kHuge = 4;   // part of a mapping larger than 4 MiB

    struct Fill {
        u64 page = 0;
        u64 phys = 0;
        u64 addend = 0;
        u64 read_tag = TlbEntry::kInvalidTag;
        u64 write_tag = TlbEntry::kInvalidTag;
        u64 exec_tag = TlbEntry::kInvalidTag;
        u64 flags = 0;
    };

    explicit SoftTlb(FrameHeader& header);

    [[nodiscard]] TlbEntry& entry(unsigned mmu, u64 va) { return modes_[mmu].entries[index(mmu, va)]; }
    [[nodiscard]] const Info& info(unsigned mmu, u64 va) const { return modes_[mmu].infos[index(mmu, va)]; }

    // The entry, now holding `fill`. May resize the mode's table.
    TlbEntry& insert(unsigned mmu, const Fill& fill);
    void flush(bool keep_global);
    // Drops va's page and, when a large mapping may cover it, everything of that mapping; true in that case.
    bool flush_page(u64 va);
    // Any thread: adds kCode to every write tag that leads to the host page. A fill that runs meanwhile checks for itself.
    void protect(const u8* host_page);

    [[nodiscard]] unsigned entries(unsigned mmu) const { return modes_[mmu].size; }

private:
    struct Free {
        void operator()(TlbEntry* p) const { std::free(p); }
    };
    using Entries = std::unique_ptr<TlbEntry[], Free>;

    struct Mode {
        Entries entries;
        std::vector<Info> infos;
        unsigned size = 0;
        std::vector<u16> local;   // indices filled since the last flush; one more than `size` of them: scan all
        std::vector<u16> global;  // likewise for global entries, since the last complete flush
        unsigned valid = 0;
        unsigned conflicts = 0;     // valid entries replaced since the last resize or flush
        unsigned idle_flushes = 0;  // flushes in a row that found little in use
    };

    [[nodiscard]] unsigned index(unsigned mmu, u64 va) const {
        return static_cast<unsigned>(va >> kPageBits) & (modes_[mmu].size - 1);
    }
    static Entries allocate(unsigned size);
    void publish(unsigned mmu);
    void resize(unsigned mmu, unsigned size);
    void drop(Mode& m, unsigned i);
    void drop_all(Mode& m, bool keep_global);
    void flush_large(u64 va);
    void adapt(unsigned mmu, unsigned used);
    static void note(std::vector<u16>& list, unsigned i, unsigned size);

    FrameHeader& header_;
    std::array<Mode, kMmuModes> modes_;
    std::mutex tables_lock_;        // the tables' existence, against protect()
    std::bitset<4096> large_seen_;  // hashed 2 MiB regions that large mappings were filled from since the last full flush
    std::bitset<64> huge_seen_;     // likewise 1 GiB regions
};

}  // namespace tandem::jit
