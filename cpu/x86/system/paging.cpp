// Page walks: SDM volume 3, chapter 4.
#include <algorithm>

#include "base/log.h"
#include "base/plant.h"
#include "cpu/x86/system/internal.h"

namespace tandem::cpu::x86 {

namespace {

using jit::Access;

namespace pte {
constexpr u64 P = 1, W = 2, U = 4, A = 1u << 5, D = 1u << 6, PS = 1u << 7, G = 1u << 8, NX = u64{1} << 63;
}  // namespace pte

namespace pf {
constexpr u32 P = 1, W = 2, U = 4, RSVD = 8, I = 16, PK = 32;
}  // namespace pf

// One level of a paging structure; `shift` is the lowest address bit that it indexes or maps.
struct Level {
    u8 shift;
    u8 index_bits;
};

// A paging mode: its levels from the root, and the size of its entries.
struct Format {
    u8 entry_bytes;
    u8 count;
    Level level[5];
};
constexpr Format kLegacy{4, 2, {{22, 10}, {12, 10}}};
constexpr Format kPae{8, 2, {{21, 9}, {12, 9}}};  // below the PDPTE registers
constexpr Format kFourLevel{8, 4, {{39, 9}, {30, 9}, {21, 9}, {12, 9}}};
constexpr Format kFiveLevel{8, 5, {{48, 9}, {39, 9}, {30, 9}, {21, 9}, {12, 9}}};

struct Entry {
    u64 address = 0;
    u64 value = 0;
};

enum class Outcome : u8 { Mapped, NotPresent, Reserved };

struct Walk {
    const Format* format = nullptr;
    Entry entry[5];
    unsigned depth = 0;  // entries read; the last one is the leaf when Mapped
    u64 page_size = 0;
    u64 phys = 0;
    bool user = true;
    bool writable = true;
    bool no_execute = false;
    bool global = false;
    u8 key = 0;  // protection key
};

u64 address_mask(const TranslateState& t) { return mask(t.model->physical_bits()); }

// Bits that must be zero in an 8-byte entry (tables 4-14 to 4-20).
u64 reserved_bits8(const TranslateState& t, unsigned shift, bool leaf) {
    const State& s = t.s;
    u64 r = mask(52) & ~address_mask(t);
    if ((s.msr.efer & efer::NXE) == 0) r |= pte::NX;
    if (!long_mode(s)) r |= mask(63) & ~mask(52);
    if (shift >= 39) r |= pte::PS;
    if (shift == 30 && !t.model->has(Feature::PAGE1GB)) r |= pte::PS;
    if (leaf && shift > 12) r |= mask(shift) & ~mask(13);
    return r;
}

// Bits that must be zero in a 4-byte entry (table 4-4); only large pages have any.
u64 reserved_bits4(const TranslateState& t, bool large) {
    if (!large) return 0;
    if (!t.model->has(Feature::PSE36)) return mask(22) & ~mask(13);
    const unsigned width = std::min(40u, t.model->physical_bits());
    return mask(22) & ~mask(width - 19);
}

bool is_leaf(const TranslateState& t, unsigned shift, u64 value) {
    if (shift == 12) return true;
    if (shift >= 39 || (value & pte::PS) == 0) return false;
    return shift != 22 || (t.s.cr4 & cr4::PSE) != 0;
}

u64 leaf_base(unsigned shift, u64 value, u64 phys_mask) {
    const u64 base = value & phys_mask & ~mask(shift);
    return shift == 22 ? (value & 0xffc00000) | bits(value, 20, 13) << 32 : base;
}

Outcome walk(TranslateState& t, u64 va, Walk& w) {
    const State& s = t.s;
    u64 table;
    if (long_mode(s)) {
        w.format = (s.cr4 & cr4::LA57) != 0 ? &kFiveLevel : &kFourLevel;
        table = s.cr3 & address_mask(t) & ~mask(12);
    } else if ((s.cr4 & cr4::PAE) != 0) {
        w.format = &kPae;
        const u64 pdpte = s.pdpte[bits(va, 31, 30)];
        if ((pdpte & pte::P) == 0) return Outcome::NotPresent;
        table = pdpte & address_mask(t) & ~mask(12);
    } else {
        w.format = &kLegacy;
        table = s.cr3 & 0xfffff000;
    }
    const unsigned size = w.format->entry_bytes;
    for (unsigned i = 0;; ++i) {
        const Level& level = w.format->level[i];
        const u64 address = table + ((va >> level.shift) & mask(level.index_bits)) * size;
        const u64 value = jit::phys_load(&t, address, size);
        w.entry[w.depth++] = {address, value};
        if ((value & pte::P) == 0) return Outcome::NotPresent;
        const bool leaf = is_leaf(t, level.shift, value);
        const u64 reserved = size == 8 ? reserved_bits8(t, level.shift, leaf) : reserved_bits4(t, leaf && level.shift > 12);
        if ((value & reserved) != 0) return Outcome::Reserved;
        w.user = w.user && (value & pte::U) != 0;
        w.writable = w.writable && (value & pte::W) != 0;
        w.no_execute = w.no_execute || (size == 8 && (value & pte::NX) != 0);
        if (leaf) {
            w.page_size = u64{1} << level.shift;
            w.phys = leaf_base(level.shift, value, address_mask(t)) | (va & mask(level.shift));
            if (long_mode(s)) w.key = static_cast<u8>(bits(value, 62, 59));
            w.global = (value & pte::G) != 0 && (s.cr4 & cr4::PGE) != 0;
            return Outcome::Mapped;
        }
        table = size == 8 ? value & address_mask(t) & ~mask(12) : value & 0xfffff000;
    }
}

// Whether PKRU denies a data access to a user page (SDM volume 3, 4.6.2).
bool key_denies(const State& s, const Walk& w, Access kind, unsigned mmu) {
    if ((s.cr4 & cr4::PKE) == 0 || !long_mode(s) || !w.user || kind == Access::Execute) return false;
    const bool access_disable = bit(s.pkru, w.key * 2u), write_disable = bit(s.pkru, w.key * 2u + 1);
    if (access_disable) return true;
    return write_disable && kind == Access::Write && (mmu == kMmuUser || (s.cr0 & cr0::WP) != 0);
}

// Access rights without the keys (SDM volume 3, 4.6.1).
bool mode_allows(const State& s, const Walk& w, Access kind, unsigned mmu) {
    if (kind == Access::Execute && w.no_execute) return false;
    if (mmu == kMmuUser) return w.user && (kind != Access::Write || w.writable);
    if (kind == Access::Execute) return !(w.user && (s.cr4 & cr4::SMEP) != 0);
    if (w.user && mmu == kMmuSupervisor && (s.cr4 & cr4::SMAP) != 0) return false;
    return kind != Access::Write || w.writable || (s.cr0 & cr0::WP) == 0;
}

bool allowed(const State& s, const Walk& w, Access kind, unsigned mmu) {
    return mode_allows(s, w, kind, mmu) && !key_denies(s, w, kind, mmu);
}

u32 error_code(const State& s, const Walk& w, Access kind, unsigned mmu, Outcome outcome) {
    u32 error = 0;
    if (outcome != Outcome::NotPresent) error |= pf::P;
    if (outcome == Outcome::Reserved) error |= pf::RSVD;
    if (outcome == Outcome::Mapped && key_denies(s, w, kind, mmu)) error |= pf::PK;
    if (kind == Access::Write) error |= pf::W;
    if (mmu == kMmuUser) error |= pf::U;
    const bool nx = (s.cr4 & cr4::PAE) != 0 && (s.msr.efer & efer::NXE) != 0;
    if (kind == Access::Execute && (nx || (s.cr4 & cr4::SMEP) != 0)) error |= pf::I;
    return error;
}

// Sets A in every entry used and, for writes, D in the leaf. False: an entry changed under us, walk again.
bool update_entries(TranslateState& t, Walk& w, bool write) {
    const unsigned size = w.format->entry_bytes;
    for (unsigned i = 0; i < w.depth; ++i) {
        Entry& e = w.entry[i];
        const bool leaf = i + 1 == w.depth;
        const u64 accessed = plant::active(plant::Fault::LostAccessed) ? 0 : pte::A;
        const u64 dirty = leaf && write && !plant::active(plant::Fault::LostDirty) ? pte::D : 0;
        const u64 wanted = e.value | accessed | dirty;
        if (wanted == e.value) continue;
        if (!jit::phys_cas(&t, e.address, e.value, wanted, size)) return false;
        e.value = wanted;
    }
    return true;
}

void identity(u64 va, jit::Translation& out) { out = {va & 0xffffffff, jit::kPageSize, true, true, true, false}; }

}  // namespace

bool translate(TranslateState& t, u64 va, Access kind, unsigned mmu, jit::Translation& out) {
    const State& s = t.s;
    if ((s.cr0 & cr0::PG) == 0) {
        identity(va, out);
        return true;
    }
    if (!long_mode(s)) va &= 0xffffffff;
    // What debugging has to report at this boundary comes before a fault of the fetch (SDM volume 3, table 6-2).
    const auto debug_first = [&] { return kind == Access::Execute && debug_before_fetch(t); };
    if (!canonical(s, va)) return !debug_first() && fault(t, kGP);

    // An entry in memory that ignores writes never takes its A bit: after some attempts go on without.
    constexpr int kAttempts = 8;
    for (int attempt = 1;; ++attempt) {
        Walk w;
        const Outcome outcome = walk(t, va, w);
        if (outcome != Outcome::Mapped || !allowed(s, w, kind, mmu)) {
            if (debug_first()) return false;
            const u32 error = error_code(s, w, kind, mmu, outcome);
            log::trace(log::Mmu, "mmu: page fault at {:#x}, error {:#x}, rip {:#x}, cr3 {:#x}", va, error, s.rip, s.cr3);
            return fault(t, kPF, error, va);
        }
        if (!update_entries(t, w, kind == Access::Write) && attempt < kAttempts) continue;
        out.phys = w.phys;
        out.page_size = w.page_size;
        out.global = w.global;
        out.read = allowed(s, w, Access::Read, mmu);
        const bool dirty = (w.entry[w.depth - 1].value & pte::D) != 0;
        out.write = dirty && allowed(s, w, Access::Write, mmu);
        out.execute = allowed(s, w, Access::Execute, mmu);
        return true;
    }
}

bool translate_debug(TranslateState& t, u64 va, u64& phys) {
    if ((t.s.cr0 & cr0::PG) == 0) {
        phys = va & 0xffffffff;
        return true;
    }
    if (!long_mode(t.s)) va &= 0xffffffff;
    Walk w;
    if (!canonical(t.s, va) || walk(t, va, w) != Outcome::Mapped) return false;
    phys = w.phys;
    return true;
}

bool load_pdptes(TranslateState& t, u64 cr3) {
    constexpr u64 kReservedLow = 0x1e6;  // bits 2:1 and 8:5
    std::array<u64, 4> pdpte;
    for (unsigned i = 0; i < 4; ++i) {
        pdpte[i] = jit::phys_load(&t, (cr3 & 0xffffffe0) + i * 8, 8);
        if ((pdpte[i] & pte::P) != 0 && (pdpte[i] & (kReservedLow | ~address_mask(t))) != 0) return fault(t, kGP);
    }
    t.s.pdpte = pdpte;
    return true;
}

LeaveReason invlpg(TranslateState* t, u64 va) {
    if (!require_cpl0(*t)) return failed(*t);
    if (!long_mode(t->s)) va &= 0xffffffff;
    if (canonical(t->s, va)) {
        log::trace(log::Mmu, "mmu: invlpg {:#x}", va);
        jit::tlb_flush_page(t, va);
    }
    return LeaveReason::None;
}

LeaveReason invpcid(TranslateState* t, u64 type, u64 descriptor_va) {
    State& s = t->s;
    if (!t->model->has(Feature::INVPCID) || vm86(s)) return raise(*t, vm86(s) ? kGP : kUD);
    if (!require_cpl0(*t)) return failed(*t);
    u64 descriptor[2];
    if (!jit::load(t, descriptor_va, data_mmu(s), descriptor)) return failed(*t);
    const u64 pcid = descriptor[0] & kPcidMask;
    const bool pcide = (s.cr4 & cr4::PCIDE) != 0;
    enum : u64 { Address, Context, AllWithGlobal, AllButGlobal };
    if (type > AllButGlobal || (descriptor[0] >> 12) != 0) return raise(*t, kGP);
    if (type <= Context && pcid != 0 && !pcide) return raise(*t, kGP);
    if (type == Address) {
        if (!canonical(descriptor[1], t->model->linear_bits())) return raise(*t, kGP);
        jit::tlb_flush_page(t, descriptor[1]);
    } else if (type == Context) {
        jit::tlb_flush_space(t, pcid);
    } else {
        jit::tlb_flush(t, type != AllWithGlobal);
    }
    return LeaveReason::None;
}

}  // namespace tandem::cpu::x86
