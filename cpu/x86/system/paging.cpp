// Page walks: SDM volume 3, chapter 4; nested ones: AMD APM volume 2, 15.25.
#include <algorithm>

#include "base/log.h"
#include "base/plant.h"
#include "cpu/x86/system/svm.h"

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
constexpr Format kPaeInMemory{8, 3, {{30, 2}, {21, 9}, {12, 9}}};
constexpr Format kFourLevel{8, 4, {{39, 9}, {30, 9}, {21, 9}, {12, 9}}};
constexpr Format kFiveLevel{8, 5, {{48, 9}, {39, 9}, {30, 9}, {21, 9}, {12, 9}}};

struct Entry {
    u64 address = 0;
    u64 value = 0;
};

enum class Outcome : u8 { Mapped, NotPresent, Reserved, Nested };  // Nested: a table's own address was refused

// What a walk goes by.
struct Regime {
    u64 cr3 = 0, cr4 = 0, efer = 0;
    const std::array<u64, 4>* pdpte = nullptr;  // null: PAE paging reads them from memory
    bool nested = false;                        // tables are at addresses that nested paging translates
    bool no_trace = false;                      // for debuggers: nothing is written or raised
    [[nodiscard]] bool long_mode() const { return (efer & efer::LMA) != 0; }
};

Regime current_regime(const State& s) {
    const bool nested = nested_paging(s);
    return {s.cr3, s.cr4, s.msr.efer, nested ? nullptr : &s.pdpte, nested, false};
}
// "Nested paging uses the host's paging mode" as VMRUN found it (15.25.3).
Regime nested_regime(const State& s, bool no_trace) {
    const SvmHost& host = s.svm.host;
    return {s.svm.nested_cr3, host.cr4, host.efer, nullptr, false, no_trace};
}

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
u64 reserved_bits8(const TranslateState& t, const Regime& by, unsigned shift, bool leaf) {
    u64 r = mask(52) & ~address_mask(t);
    if ((by.efer & efer::NXE) == 0) r |= pte::NX;
    if (!by.long_mode()) r |= mask(63) & ~mask(52);
    if (shift >= 39) r |= pte::PS;
    if (shift == 30 && !t.model->has(Feature::PAGE1GB)) r |= pte::PS;
    if (shift == 30 && !by.long_mode()) return r | 0x1e6 | pte::NX;  // a PDPTE in memory
    // AMD APM volume 2, figures 5-20 to 5-26.
    if (shift >= 30 && !leaf && t.model->amd()) r |= pte::G;
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

bool is_leaf(const Regime& by, unsigned shift, u64 value) {
    if (shift == 12) return true;
    if (shift >= 39 || (value & pte::PS) == 0) return false;
    if (shift == 30 && !by.long_mode()) return false;
    return shift != 22 || (by.cr4 & cr4::PSE) != 0;
}

u64 leaf_base(unsigned shift, u64 value, u64 phys_mask) {
    const u64 base = value & phys_mask & ~mask(shift);
    return shift == 22 ? (value & 0xffc00000) | bits(value, 20, 13) << 32 : base;
}

// The tables' root, or that of the PDPTE that serves the address. False: it is not present.
bool begin_walk(TranslateState& t, const Regime& by, u64 va, Walk& w, u64& table) {
    if (by.long_mode()) {
        w.format = (by.cr4 & cr4::LA57) != 0 ? &kFiveLevel : &kFourLevel;
        table = by.cr3 & address_mask(t) & ~mask(12);
    } else if ((by.cr4 & cr4::PAE) == 0) {
        w.format = &kLegacy;
        table = by.cr3 & 0xfffff000;
    } else if (by.pdpte == nullptr) {
        w.format = &kPaeInMemory;
        table = by.cr3 & 0xffffffe0;
    } else {
        w.format = &kPae;
        const u64 pdpte = (*by.pdpte)[bits(va, 31, 30)];
        table = pdpte & address_mask(t) & ~mask(12);
        return (pdpte & pte::P) != 0;
    }
    return true;
}

bool nested_table(TranslateState& t, u64 gpa, bool no_trace, u64& phys);
bool nested_debug(TranslateState& t, u64 gpa, u64& phys);

Outcome walk(TranslateState& t, const Regime& by, u64 va, Walk& w) {
    u64 table = 0;
    if (!begin_walk(t, by, va, w, table)) return Outcome::NotPresent;
    const unsigned size = w.format->entry_bytes;
    for (unsigned i = 0;; ++i) {
        const Level& level = w.format->level[i];
        u64 address = table + ((va >> level.shift) & mask(level.index_bits)) * size;
        if (by.nested && !nested_table(t, address, by.no_trace, address)) return Outcome::Nested;
        const u64 value = jit::phys_load(&t, address, size);
        w.entry[w.depth++] = {address, value};
        if ((value & pte::P) == 0) return Outcome::NotPresent;
        const bool leaf = is_leaf(by, level.shift, value);
        const u64 reserved =
            size == 8 ? reserved_bits8(t, by, level.shift, leaf) : reserved_bits4(t, leaf && level.shift > 12);
        if ((value & reserved) != 0) return Outcome::Reserved;
        const bool pdpte = level.shift == 30 && !by.long_mode();  // without rights
        w.user = w.user && (pdpte || (value & pte::U) != 0);
        w.writable = w.writable && (pdpte || (value & pte::W) != 0);
        w.no_execute = w.no_execute || (size == 8 && (value & pte::NX) != 0);
        if (leaf) {
            w.page_size = u64{1} << level.shift;
            w.phys = leaf_base(level.shift, value, address_mask(t)) | (va & mask(level.shift));
            if (by.long_mode()) w.key = static_cast<u8>(bits(value, 62, 59));
            w.global = (value & pte::G) != 0 && (by.cr4 & cr4::PGE) != 0;
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
    for (unsigned i = w.format == &kPaeInMemory ? 1 : 0; i < w.depth; ++i) {
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

// --- Nested paging

// An entry in memory that ignores writes never takes its A bit: after some attempts go on without.
constexpr int kAttempts = 8;

// Guest-physical addresses are translated as user accesses are, by rights alone (15.25.5).
bool nested_allows(const Walk& w, Access kind) {
    if (kind == Access::Execute && w.no_execute) return false;
    return w.user && (kind != Access::Write || w.writable);
}

// EXITINFO1 of a nested page fault (15.25.6): the error code of a user access and whose address it was.
u64 nested_error(const SvmHost& host, Access kind, bool table, Outcome outcome) {
    constexpr u64 kFinal = u64{1} << 32, kTable = u64{1} << 33;
    u64 error = pf::U | (table ? kTable : kFinal);
    if (outcome != Outcome::NotPresent) error |= pf::P;
    if (outcome == Outcome::Reserved) error |= pf::RSVD;
    if (kind == Access::Write) error |= pf::W;
    if (kind == Access::Execute && (host.efer & efer::NXE) != 0) error |= pf::I;
    return error;
}

// Translates out.phys and narrows what `out` allows. `table`: of a guest's table. False: a #VMEXIT is pending.
bool nest(TranslateState& t, Access kind, bool table, jit::Translation& out) {
    State& s = t.s;
    // Without paging in the host there is none here.
    if ((s.svm.host.cr0 & cr0::PG) == 0) return true;
    const Regime by = nested_regime(s, false);
    const u64 gpa = out.phys;
    for (int attempt = 1;; ++attempt) {
        Walk w;
        const bool reachable = by.long_mode() ? canonical(gpa, (by.cr4 & cr4::LA57) != 0 ? 57 : 48) : (gpa >> 32) == 0;
        const Outcome outcome = reachable ? walk(t, by, gpa, w) : Outcome::NotPresent;
        if (outcome != Outcome::Mapped || !nested_allows(w, kind)) {
            log::trace(log::Mmu, "mmu: nested page fault at {:#x}, rip {:#x}", gpa, s.rip);
            exit_due(t, {exit_code::NestedPageFault, nested_error(s.svm.host, kind, table, outcome), gpa, 0,
                         executes_in_shadow(t)});
            return false;
        }
        if (!update_entries(t, w, kind == Access::Write) && attempt < kAttempts) continue;
        const bool dirty = (w.entry[w.depth - 1].value & pte::D) != 0;
        out.phys = w.phys;
        out.page_size = std::min(out.page_size, w.page_size);
        out.read = out.read && w.user;
        out.write = out.write && dirty && nested_allows(w, Access::Write);
        out.execute = out.execute && nested_allows(w, Access::Execute);
        return true;
    }
}

bool nested_debug(TranslateState& t, u64 gpa, u64& phys) {
    Walk w;
    phys = gpa;
    if ((t.s.svm.host.cr0 & cr0::PG) == 0) return true;
    if (walk(t, nested_regime(t.s, true), gpa, w) != Outcome::Mapped) return false;
    phys = w.phys;
    return true;
}

// The guest's tables are read and written; either way "as data writes" (15.25.5).
bool nested_table(TranslateState& t, u64 gpa, bool no_trace, u64& phys) {
    if (no_trace) return nested_debug(t, gpa, phys);
    jit::Translation out{gpa, jit::kPageSize, true, true, true, false};
    if (!nest(t, Access::Write, true, out)) return false;
    phys = out.phys;
    return true;
}

}  // namespace

bool translate(TranslateState& t, u64 va, Access kind, unsigned mmu, jit::Translation& out) {
    const State& s = t.s;
    // What debugging has to report at this boundary comes before a fault of the fetch (SDM volume 3, table 6-2).
    const auto debug_first = [&] { return kind == Access::Execute && debug_before_fetch(t); };
    const bool nested = nested_paging(s);
    if ((s.cr0 & cr0::PG) == 0) {
        identity(va, out);
        return !nested || nest(t, kind, false, out);
    }
    if (!long_mode(s)) va &= 0xffffffff;
    if (!canonical(s, va)) return !debug_first() && fault(t, kGP);

    const Regime by = current_regime(s);
    for (int attempt = 1;; ++attempt) {
        Walk w;
        const Outcome outcome = walk(t, by, va, w);
        if (outcome == Outcome::Nested) return false;
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
        return !nested || nest(t, kind, false, out);
    }
}

bool nested_translate(TranslateState& t, u64 gpa, Access kind, u64& phys) {
    jit::Translation out{gpa, jit::kPageSize, true, true, true, false};
    if (!nest(t, kind, false, out)) return false;
    phys = out.phys;
    return true;
}

bool translate_debug(TranslateState& t, u64 va, u64& phys) {
    const bool nested = nested_paging(t.s);
    if ((t.s.cr0 & cr0::PG) == 0) {
        phys = va & 0xffffffff;
        return !nested || nested_debug(t, phys, phys);
    }
    if (!long_mode(t.s)) va &= 0xffffffff;
    Walk w;
    Regime by = current_regime(t.s);
    by.no_trace = true;
    if (!canonical(t.s, va) || walk(t, by, va, w) != Outcome::Mapped) return false;
    phys = w.phys;
    return !nested || nested_debug(t, phys, phys);
}

bool load_pdptes(TranslateState& t, u64 cr3) {
    // With nested paging they are read at each walk (APM volume 2, 15.25.10).
    if (nested_paging(t.s)) return true;
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
