// One vCPU's soft TLB: a direct-mapped table per MMU mode, read by generated code through FrameHeader::tlb.
//
// A mode that is private to address spaces has a table for each of the last few of them. A switch publishes an empty table;
// which of them is to be used is asked at the first miss (bind()), so that an address space that a guest passes through
// without using it takes nobody's place. The tables of the other modes serve all spaces: what is not global in them goes
// at a switch.
//
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
#include "jit/guest/guest.h"

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

    static constexpr unsigned kSpaces = 8;

    // `private_mmus`: the modes, as bits, that are private to address spaces.
    SoftTlb(FrameHeader& header, u32 private_mmus);

    [[nodiscard]] TlbEntry& entry(unsigned mmu, u64 va) { return current_[mmu]->entries[index(mmu, va)]; }
    [[nodiscard]] const Info& info(unsigned mmu, u64 va) const { return current_[mmu]->infos[index(mmu, va)]; }

    [[nodiscard]] bool is_private(unsigned mmu) const { return (private_mmus_ >> mmu & 1) != 0; }
    // Whether private modes may be looked up and filled.
    [[nodiscard]] bool bound() const { return space_ != kUnbound; }
    // The number of the space bound, below kSpaces.
    [[nodiscard]] unsigned space() const { return space_; }
    // Binds `space`, in the place of the one that was bound least recently when it is new. True in that case.
    bool bind(const AddressSpace& space);
    // Drops what is not global from the modes that are not private, and binds nothing.
    void unbind();
    // Leads generated code to the current tables, to which that of another soft TLB may have led it.
    void publish();

    // The entry, now holding `fill`. May resize the mode's table. Private modes: while bound.
    TlbEntry& insert(unsigned mmu, const Fill& fill);
    void flush(bool keep_global);
    // Likewise, of the spaces with that identifier, and of the modes that are not private. The spaces' numbers, as bits.
    u32 flush_space(u64 id);
    // Drops va's page and, when a large mapping may cover it, everything of that mapping; true in that case.
    bool flush_page(u64 va);
    // Drops those pages. False: large mappings may cover them, or they are too many, and nothing has been done.
    bool flush_range(u64 va, u64 pages);
    // Any thread: adds kCode to every write tag that leads to the host page. A fill that runs meanwhile checks for itself.
    void protect(const u8* host_page);

    [[nodiscard]] unsigned entries(unsigned mmu) const { return current_[mmu]->size; }

private:
    static constexpr unsigned kUnbound = kSpaces;

    struct Free {
        void operator()(TlbEntry* p) const { std::free(p); }
    };
    using Entries = std::unique_ptr<TlbEntry[], Free>;

    struct Table {
        Entries entries;
        std::vector<Info> infos;
        unsigned size = 0;
        std::vector<u16> local;   // indices filled since the last flush; one more than `size` of them: scan all
        std::vector<u16> global;  // likewise for global entries, since the last complete flush
        unsigned valid = 0;
        unsigned conflicts = 0;     // valid entries replaced since the last resize or flush
        unsigned idle_flushes = 0;  // flushes in a row that found little in use
    };

    // By mode; those of the modes that it does not serve have no entries.
    using Tables = std::array<Table, kMmuModes>;
    struct Space {
        AddressSpace key;
        bool used = false;
        u64 last_bound = 0;
        Tables tables;
    };

    [[nodiscard]] unsigned index(unsigned mmu, u64 va) const {
        return static_cast<unsigned>(va >> kPageBits) & (current_[mmu]->size - 1);
    }
    static Entries allocate(unsigned size);
    void publish(unsigned mmu, Table& t);
    void resize(Table& t, unsigned size);
    void drop(Table& t, unsigned i);
    void drop_all(Table& t, bool keep_global);
    void flush(Tables& tables, bool keep_global);
    void flush_large(Tables& tables, u64 va);
    void adapt(Table& t, unsigned used);
    static void note(std::vector<u16>& list, unsigned i, unsigned size);
    template <class F>
    void for_all(F f) {
        f(shared_);
        for (Space& s : spaces_) f(s.tables);
    }

    FrameHeader& header_;
    const u32 private_mmus_;
    Table none_;  // one entry, never filled: what private modes have while nothing is bound
    Tables shared_;
    std::array<Space, kSpaces> spaces_;
    std::array<Table*, kMmuModes> current_{};
    unsigned space_ = kUnbound;
    u64 binds_ = 0;
    std::mutex tables_lock_;        // the tables' existence, against protect()
    std::bitset<4096> large_seen_;  // hashed 2 MiB regions that large mappings were filled from since the last full flush
    std::bitset<64> huge_seen_;     // likewise 1 GiB regions
};

}  // namespace tandem::jit
