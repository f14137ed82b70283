// Translation table walks: AArch64.S1Translate and AArch64.S2Translate of the manual's shared pseudocode.
#include <algorithm>
#include <array>

#include "cpu/arm64/system/mmu.h"
#include "jit/guest/physical.h"

namespace tandem::cpu::arm64 {
namespace {

using jit::Access;

namespace pte {
constexpr u64 kValid = 1, kTable = 2, kUser = 1u << 6, kReadOnly = 1u << 7, kAf = 1u << 10, kNg = 1u << 11;
constexpr u64 kGuarded = u64{1} << 50, kDbm = u64{1} << 51, kPxn = u64{1} << 53, kUxn = u64{1} << 54;
constexpr u64 kPxnTable = u64{1} << 59, kXnTable = u64{1} << 60, kApTableNoUser = u64{1} << 61;
constexpr u64 kApTableReadOnly = u64{1} << 62;
constexpr u64 kS2Cacheable = 3u << 4;  // MemAttr[3:2]: 0 is Device memory
constexpr u64 kS2Read = 1u << 6, kS2Write = 1u << 7;
}  // namespace pte
constexpr u8 kNonCacheable = 0x44;  // in MAIR_ELx, Normal memory

// The registers of a stage 1 regime and the address range that a translation falls into.
struct Regime {
    u64 sctlr = 0, tcr = 0, ttbr = 0, mair = 0;
    bool two_ranges = true;
    bool privileged = true;
    bool pan = false;
    bool upper = false;  // the range of TTBR1
    unsigned tsz = 16;
    unsigned grain = 12;            // log2 of the granule
    bool disabled = false;          // EPDx, or E0PDx and the access is unprivileged
    bool hierarchical_off = false;  // HPDx
    bool top_byte_ignored = false;
    unsigned output_bits = 48;
    bool hardware_af = false, hardware_dirty = false;
};

// One table walk: stage 1 or 2, with what its loop needs.
struct Table {
    u64 base = 0;
    unsigned grain = 12;
    unsigned input_bits = 48;
    unsigned level = 0;
    unsigned output_bits = 48;
    bool hardware_af = false, hardware_dirty = false;
};

struct Leaf {
    u64 descriptor = 0;
    u64 descriptor_address = 0;
    unsigned level = 0;
    unsigned shift = 12;
    u64 output = 0;
    u64 table_attributes = 0;  // bits 62:59 of all table descriptors together
};

unsigned physical_size(u64 code) {
    constexpr std::array<u8, 8> kBits{32, 36, 40, 42, 44, 48, 48, 48};
    return kBits[code & 7];
}

unsigned grain_of(u64 tg, bool upper) {
    constexpr std::array<u8, 4> kLower{12, 16, 14, 12};
    constexpr std::array<u8, 4> kUpper{12, 14, 12, 16};
    return upper ? kUpper[tg & 3] : kLower[tg & 3];
}

Regime regime_of(const TranslateState& t, const WalkRequest& r) {
    const Sysregs& sys = t.s.sys;
    const u64 h = effective_hcr(t);
    Regime g;
    const bool el2 = r.mmu >= kMmuEl2;
    const bool host = el2 && (h & hcr::E2H) != 0;
    g.privileged = r.mmu != kMmuEl0 && r.mmu != kMmuEl20;
    g.pan = r.mmu == kMmuEl1Pan || r.mmu == kMmuEl2Pan;
    g.two_ranges = !el2 || host;
    g.sctlr = el2 ? sys.sctlr_el2 : sys.sctlr_el1;
    g.tcr = el2 ? sys.tcr_el2 : sys.tcr_el1;
    g.mair = el2 ? sys.mair_el2 : sys.mair_el1;
    if (!el2 && (h & (hcr::DC | hcr::TGE)) != 0) g.sctlr &= ~sctlr::M;
    g.upper = g.two_ranges && bit(r.va, 55);
    const bool fetch = r.access == Access::Execute;
    if (g.two_ranges) {
        g.ttbr = g.upper ? (el2 ? sys.ttbr1_el2 : sys.ttbr1_el1) : (el2 ? sys.ttbr0_el2 : sys.ttbr0_el1);
        g.tsz = static_cast<unsigned>(g.upper ? bits(g.tcr, 21, 16) : bits(g.tcr, 5, 0));
        g.grain = grain_of(g.upper ? bits(g.tcr, 31, 30) : bits(g.tcr, 15, 14), g.upper);
        const bool unprivileged_disabled = bit(g.tcr, g.upper ? 56 : 55) && t.model->has(Feature::E0PD);
        g.disabled = bit(g.tcr, g.upper ? 23 : 7) || (unprivileged_disabled && !g.privileged);
        g.output_bits = physical_size(bits(g.tcr, 34, 32));
        g.top_byte_ignored = bit(g.tcr, g.upper ? 38 : 37) && !(fetch && bit(g.tcr, g.upper ? 52 : 51));
        g.hierarchical_off = bit(g.tcr, g.upper ? 42 : 41);
        g.hardware_af = bit(g.tcr, 39);
        g.hardware_dirty = bit(g.tcr, 40);
    } else {
        g.ttbr = sys.ttbr0_el2;
        g.tsz = static_cast<unsigned>(bits(g.tcr, 5, 0));
        g.grain = grain_of(bits(g.tcr, 15, 14), false);
        g.output_bits = physical_size(bits(g.tcr, 18, 16));
        g.top_byte_ignored = bit(g.tcr, 20) && !(fetch && bit(g.tcr, 29));
        g.hierarchical_off = bit(g.tcr, 24);
        g.hardware_af = bit(g.tcr, 21);
        g.hardware_dirty = bit(g.tcr, 22);
    }
    g.output_bits = std::min(g.output_bits, t.model->physical_bits());
    if (!t.model->has(Feature::HPDS)) g.hierarchical_off = false;
    if (!t.model->has(Feature::HAFDBS)) g.hardware_af = g.hardware_dirty = false;
    g.hardware_dirty = g.hardware_dirty && g.hardware_af;
    return g;
}

bool fail(Fault& f, FaultCode code, unsigned level) {
    f.code = code;
    f.level = static_cast<u8>(level);
    return false;
}

bool block_allowed(unsigned grain, unsigned level) { return grain == 12 ? level == 1 || level == 2 : level == 2; }

bool stage2(TranslateState& t, u64 ipa, const WalkRequest& r, bool for_walk, bool privileged, Mapping& out, Fault& fault);

// The loop both stages share. `load(address, level, value, fault)` reads a descriptor.
template <class Load>
bool descend(const Table& table, u64 input, Load load, Leaf& leaf, Fault& fault) {
    u64 base = table.base;
    const unsigned stride = table.grain - 3;
    unsigned top = table.input_bits;
    for (unsigned level = table.level;; ++level) {
        const unsigned shift = table.grain + (3 - level) * stride;
        const u64 index = bits(input, top - 1, shift);
        const u64 address = base | index << 3;
        u64 d = 0;
        if (!load(address, level, d, fault)) return false;
        const bool table_bit = (d & pte::kTable) != 0;
        if ((d & pte::kValid) == 0 || (!table_bit && !block_allowed(table.grain, level))) {
            return fail(fault, FaultCode::Translation, level);
        }
        const u64 output = d & mask(48) & ~mask(table_bit && level < 3 ? table.grain : shift);
        if (output >> table.output_bits != 0) return fail(fault, FaultCode::AddressSize, level);
        if (level == 3 || !table_bit) {
            leaf.descriptor = d;
            leaf.descriptor_address = address;
            leaf.level = level;
            leaf.shift = shift;
            leaf.output = output;
            return true;
        }
        leaf.table_attributes |= d & (pte::kPxnTable | pte::kXnTable | pte::kApTableNoUser | pte::kApTableReadOnly);
        base = output;
        top = shift;
    }
}

// Sets what the hardware keeps of access flag and dirty state. Failure to write means the walk starts again.
enum class Update : u8 { Done, AccessFlagFault, Retry };
Update update_leaf(TranslateState& t, const Table& table, Leaf& leaf, u64 dirty_wanted, u64 descriptor_pa, bool update) {
    if ((leaf.descriptor & pte::kAf) == 0 && !table.hardware_af) return Update::AccessFlagFault;
    const u64 wanted = dirty_wanted | pte::kAf;
    if (wanted == leaf.descriptor || !update) return Update::Done;
    if (!jit::phys_cas(&t, descriptor_pa, leaf.descriptor, wanted, 8)) return Update::Retry;
    leaf.descriptor = wanted;
    return Update::Done;
}

bool permitted(const Mapping& m, Access access) {
    switch (access) {
        case Access::Read: return m.read;
        case Access::Write: return m.write;
        default: return m.execute;
    }
}

// AArch64.S1DirectBasePermissions and what restricts them.
void stage1_permissions(const Regime& g, const Leaf& leaf, u64 d, Mapping& m) {
    const u64 tables = g.hierarchical_off ? 0 : leaf.table_attributes;
    bool writable = (d & pte::kReadOnly) == 0 && (tables & pte::kApTableReadOnly) == 0;
    const bool wxn = (g.sctlr & sctlr::WXN) != 0;
    if (!g.two_ranges) {
        m.read = true;
        m.write = writable;
        m.execute = (d & pte::kUxn) == 0 && (tables & pte::kXnTable) == 0 && !(wxn && writable);
        return;
    }
    const bool user = (d & pte::kUser) != 0 && (tables & pte::kApTableNoUser) == 0;
    if (g.privileged) {
        const bool xn = (d & pte::kPxn) != 0 || (tables & pte::kPxnTable) != 0;
        m.execute = !xn && !(user && writable) && !(wxn && writable);
        const bool denied = g.pan && user;
        m.read = !denied;
        m.write = writable && !denied;
    } else {
        writable = writable && user;
        const bool xn = (d & pte::kUxn) != 0 || (tables & pte::kXnTable) != 0;
        m.read = user;
        m.write = writable;
        m.execute = !xn && !(wxn && writable);
    }
}

// Stage 1 off: flat, with the top byte as it stands in the regime. Alignment is the mode's matter then (ModeBits::kAlign).
bool stage1_off(const TranslateState& t, const WalkRequest& r, const Regime& g, Mapping& out, Fault& fault) {
    const u64 address = g.top_byte_ignored ? static_cast<u64>(r.va & mask(56)) : r.va;
    if (address >> t.model->physical_bits() != 0) return fail(fault, FaultCode::AddressSize, 0);
    out.address = address;
    const bool cacheable = (effective_hcr(t) & hcr::DC) != 0 && r.mmu < kMmuEl2;
    const bool fetch = r.access == Access::Execute;
    out.attributes = cacheable ? 0xff : !fetch ? 0x00 : (g.sctlr & (1u << 12)) != 0 ? 0xaa : 0x44;
    out.shareability = cacheable ? 0 : 2;
    return true;
}

bool stage2_on(const TranslateState& t, unsigned mmu) {
    const u64 h = effective_hcr(t);
    return mmu < kMmuEl2 && (h & (hcr::VM | hcr::DC)) != 0 && (h & hcr::TGE) == 0;
}

bool stage1(TranslateState& t, const WalkRequest& r, Mapping& out, Fault& fault) {
    const Regime g = regime_of(t, r);
    if ((g.sctlr & sctlr::M) == 0) return stage1_off(t, r, g, out, fault);
    const unsigned tsz = std::min(g.tsz, 39u);
    const unsigned input_bits = 64 - tsz;
    const unsigned top = g.top_byte_ignored ? 55 : 63;
    const u64 extension = bits(r.va, top, std::min(input_bits, top));
    const u64 wanted = g.upper ? mask(top - std::min(input_bits, top) + 1) : 0;
    if (tsz < 16 || extension != wanted || g.disabled) return fail(fault, FaultCode::Translation, 0);
    Table table;
    table.grain = g.grain;
    table.input_bits = input_bits;
    const unsigned stride = g.grain - 3;
    table.level = 4 - (input_bits - g.grain + stride - 1) / stride;
    const unsigned first_bits = input_bits - (g.grain + (3 - table.level) * stride);
    table.base = g.ttbr & mask(48) & ~mask(std::max(first_bits + 3, 1u));
    table.output_bits = g.output_bits;
    table.hardware_af = g.hardware_af;
    table.hardware_dirty = g.hardware_dirty;
    if (table.base >> g.output_bits != 0) return fail(fault, FaultCode::AddressSize, 0);
    const bool nested = stage2_on(t, r.mmu);
    u64 descriptor_pa = 0;
    const auto table_access = [&](u64 address, Access access, Fault& f) {
        descriptor_pa = address;
        if (!nested) return true;
        Mapping m;
        WalkRequest inner = r;
        inner.access = access;
        inner.check = true;
        if (!stage2(t, address, inner, true, true, m, f)) return false;
        descriptor_pa = m.address;
        return true;
    };
    const auto load = [&](u64 address, unsigned level, u64& value, Fault& f) {
        if (!table_access(address, Access::Read, f)) return false;
        return jit::phys_load(&t, descriptor_pa, value) || fail(f, FaultCode::ExternalOnWalk, level);
    };
    constexpr int kAttempts = 8;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        Leaf leaf;
        if (!descend(table, r.va, load, leaf, fault)) return false;
        const u64 d = leaf.descriptor;
        // With DBM a read-only entry is one that has not been written yet.
        const bool clean = table.hardware_dirty && (d & pte::kDbm) != 0 && (d & pte::kReadOnly) != 0;
        Mapping m;
        stage1_permissions(g, leaf, clean ? d & ~pte::kReadOnly : d, m);
        if ((d & pte::kAf) == 0 && !table.hardware_af) return fail(fault, FaultCode::AccessFlag, leaf.level);
        if (r.check && !permitted(m, r.access)) return fail(fault, FaultCode::Permission, leaf.level);
        const bool dirties = clean && r.access == Access::Write && r.check;
        const u64 updated = dirties ? d & ~pte::kReadOnly : d;
        // The update is a write to what stage 2 may protect.
        if (nested && r.update && (updated | pte::kAf) != d &&
            !table_access(leaf.descriptor_address, Access::Write, fault)) {
            return false;
        }
        if (update_leaf(t, table, leaf, updated, descriptor_pa, r.update) == Update::Retry) continue;
        if (clean && !dirties && r.check) m.write = false;
        m.page_size = u64{1} << leaf.shift;
        m.address = leaf.output | (r.va & mask(leaf.shift));
        m.global = !g.two_ranges || (d & pte::kNg) == 0;
        m.guarded = (d & pte::kGuarded) != 0 && t.model->has(Feature::BTI);
        m.attributes = static_cast<u8>(g.mair >> (bits(d, 4, 2) * 8));
        m.device = (m.attributes & 0xf0) == 0;
        m.shareability = static_cast<u8>(m.device || m.attributes == kNonCacheable ? 2 : bits(d, 9, 8));
        out = m;
        return true;
    }
    return fail(fault, FaultCode::Translation, 3);
}

// A stage 2 descriptor's MemAttr as in MAIR_ELx. HCR_EL2.CD and ID make Normal memory Non-cacheable for data and for
// fetches.
u8 stage2_attributes(u64 hcr, u64 memory_attributes, Access access) {
    constexpr std::array<u8, 4> kHalves{0, 4, 0xb, 0xf};  // MemAttr[1:0] and [3:2]: Non-cacheable, Write-Through, Write-Back
    const u64 outer = memory_attributes >> 2, inner = memory_attributes & 3;
    if (outer == 0) return static_cast<u8>(inner << 2);
    if ((hcr & (access == Access::Execute ? hcr::ID : hcr::CD)) != 0) return kNonCacheable;
    return static_cast<u8>(kHalves[outer] << 4 | kHalves[inner == 0 ? 1 : inner]);
}

// One half of Normal memory's attributes (S2CombineS1AttrHints): the less cacheable of both, with stage 1's hints.
u8 combine_half(u8 first, u8 second) {
    constexpr u8 kHalfNonCacheable = 4, kWriteBack = 4, kNonTransient = 8;
    if (first == kHalfNonCacheable || second == kHalfNonCacheable) return kHalfNonCacheable;
    const bool through = (second & kWriteBack) == 0;  // of stage 2, whose attributes are not transient
    const bool non_transient = (first & kNonTransient) != 0;
    return through ? static_cast<u8>(non_transient ? first & ~kWriteBack : first & 3) : first;
}

// What both stages make of memory (S2CombineS1MemAttrs): the stricter type and the wider shareability.
void combine_attributes(Mapping& first, const Mapping& second) {
    constexpr u8 kOuterShareable = 2;
    const bool device1 = (first.attributes & 0xf0) == 0, device2 = (second.attributes & 0xf0) == 0;
    if (device1 || device2) {
        const u8 both = std::min(first.attributes, second.attributes);
        first.attributes = device1 && device2 ? both : device1 ? first.attributes : second.attributes;
    } else {
        const auto outer = combine_half(first.attributes >> 4, second.attributes >> 4);
        const auto inner = combine_half(first.attributes & 0xf, second.attributes & 0xf);
        first.attributes = static_cast<u8>(outer << 4 | inner);
    }
    const bool outer = first.shareability == kOuterShareable || second.shareability == kOuterShareable;
    if (device1 || device2 || outer || first.attributes == kNonCacheable) {
        first.shareability = kOuterShareable;
    } else {
        first.shareability |= second.shareability;
    }
}

bool stage2_fail(Fault& f, FaultCode code, unsigned level, u64 ipa, bool for_walk) {
    f.stage2 = true;
    f.walk = for_walk;
    f.ipa = ipa;
    return fail(f, code, level);
}

bool stage2(TranslateState& t, u64 ipa, const WalkRequest& r, bool for_walk, bool privileged, Mapping& out, Fault& fault) {
    const Sysregs& sys = t.s.sys;
    const u64 vtcr = sys.vtcr_el2;
    out.address = ipa;
    if ((effective_hcr(t) & hcr::VM) == 0) return true;
    Table table;
    table.grain = grain_of(bits(vtcr, 15, 14), false);
    table.input_bits = 64 - std::clamp(static_cast<unsigned>(bits(vtcr, 5, 0)), 16u, 39u);
    const auto sl0 = static_cast<unsigned>(bits(vtcr, 7, 6));
    const unsigned stride = table.grain - 3;
    table.level = (table.grain == 12 ? 2 : 3) - std::min(sl0, 2u);
    table.output_bits = std::min(physical_size(bits(vtcr, 18, 16)), t.model->physical_bits());
    table.hardware_af = bit(vtcr, 21) && t.model->has(Feature::HAFDBS);
    table.hardware_dirty = table.hardware_af && bit(vtcr, 22);
    const unsigned first_shift = table.grain + (3 - table.level) * stride;
    const auto refuse = [&](FaultCode code, unsigned level) { return stage2_fail(fault, code, level, ipa, for_walk); };
    // AArch64.S2InvalidSL: the value 3 is reserved, and the largest spaces need as many physical address bits. Then
    // AArch64.S2InconsistentSL: between one entry and sixteen concatenated tables.
    const unsigned needed_bits = sl0 < 2 ? 0 : table.grain == 14 ? 42 : 44;
    const bool consistent = table.input_bits > first_shift && table.input_bits <= first_shift + stride + 4;
    if (sl0 == 3 || t.model->physical_bits() < needed_bits || !consistent || ipa >> table.input_bits != 0) {
        return refuse(FaultCode::Translation, 0);
    }
    table.base = sys.vttbr_el2 & mask(48) & ~mask(table.input_bits - first_shift + 3);
    if (table.base >> table.output_bits != 0) return refuse(FaultCode::AddressSize, 0);
    const auto load = [&](u64 address, unsigned level, u64& value, Fault& f) {
        return jit::phys_load(&t, address, value) || fail(f, FaultCode::ExternalOnWalk, level);
    };
    constexpr int kAttempts = 8;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        Leaf leaf;
        if (!descend(table, ipa, load, leaf, fault)) return refuse(fault.code, fault.level);
        const u64 d = leaf.descriptor;
        const bool clean = table.hardware_dirty && (d & pte::kDbm) != 0 && (d & pte::kS2Write) == 0;
        Mapping m;
        m.read = (d & pte::kS2Read) != 0;
        m.write = (d & pte::kS2Write) != 0 || clean;
        const u64 xn = t.model->has(Feature::XNX) ? bits(d, 54, 53) : bits(d, 54, 54) << 1;
        m.execute = m.read && (xn == 0 || (xn == 1 && !privileged) || (xn == 3 && privileged));
        if ((d & pte::kAf) == 0 && !table.hardware_af) return refuse(FaultCode::AccessFlag, leaf.level);
        if (r.check && !permitted(m, r.access)) return refuse(FaultCode::Permission, leaf.level);
        const bool device = (d & pte::kS2Cacheable) == 0;
        if (for_walk && device && (effective_hcr(t) & hcr::PTW) != 0) return refuse(FaultCode::Permission, leaf.level);
        const bool dirties = clean && r.access == Access::Write && r.check;
        const u64 wanted = dirties ? d | pte::kS2Write : d;
        if (update_leaf(t, table, leaf, wanted, leaf.descriptor_address, r.update) == Update::Retry) continue;
        if (clean && !dirties && r.check) m.write = false;
        out.device = device;
        out.attributes = stage2_attributes(effective_hcr(t), bits(d, 5, 2), r.access);
        out.shareability = static_cast<u8>(bits(d, 9, 8));
        out.page_size = u64{1} << leaf.shift;
        out.address = leaf.output | (ipa & mask(leaf.shift));
        out.read = m.read;
        out.write = m.write;
        out.execute = m.execute;
        return true;
    }
    return refuse(FaultCode::Translation, 3);
}

}  // namespace

bool walk(TranslateState& t, const WalkRequest& request, Mapping& out, Fault& fault) {
    if (!stage1(t, request, out, fault)) return false;
    if (request.stage1_only || !stage2_on(t, request.mmu)) return true;
    Mapping second;
    const bool privileged = request.mmu != kMmuEl0;
    if (!stage2(t, out.address, request, false, privileged, second, fault)) return false;
    out.address = second.address;
    out.page_size = std::min(out.page_size, (effective_hcr(t) & hcr::VM) != 0 ? second.page_size : out.page_size);
    out.read = out.read && second.read;
    out.write = out.write && second.write;
    out.execute = out.execute && second.execute;
    if ((effective_hcr(t) & hcr::VM) != 0) combine_attributes(out, second);
    out.device_by_stage2 = second.device && !out.device;
    out.device = out.device || second.device;
    return true;
}

}  // namespace tandem::cpu::arm64
