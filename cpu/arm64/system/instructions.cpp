// The SYS space: cache and TLB maintenance, address translation (DDI 0487, C5.3 to C5.5).
#include <algorithm>
#include <array>

#include "base/bits.h"
#include "cpu/arm64/system/mmu.h"

namespace tandem::cpu::arm64 {
namespace {

constexpr SysregName name_of(u32 word) { return {static_cast<u16>(word >> 5)}; }

u32 trap_syndrome(u32 word) {
    const SysregName n = name_of(word);
    return n.op0() << 20 | n.op2() << 17 | n.op1() << 14 | n.crn() << 10 | (word & 31) << 5 | n.crm() << 1;
}

LeaveReason trap(TranslateState& t, u32 word, unsigned target) {
    return raise(t, Ec::SysregTrap, trap_syndrome(word), target);
}

bool hcr_traps(const TranslateState& t, u64 bits) { return t.s.el() < 2 && (effective_hcr(t) & bits) != 0; }

// A maintenance operation by address checks that the address is mapped (readable at EL0). Its abort is told from others
// by CM, and counts as a write (ISS of data aborts).
LeaveReason check_address(TranslateState& t, u64 va, jit::Access access) {
    constexpr u64 kMaintenance = 1u << 8 | 1u << 6;
    // PSTATE.PAN does not matter for it.
    const unsigned mmu = ModeBits::of(t).data_mmu();
    if (jit::probe(&t, va, mmu == kMmuEl1Pan ? kMmuEl1 : mmu, access, 1)) return LeaveReason::None;
    t.s.pending.esr |= kMaintenance;
    return jit::leave_status(&t);
}

// IC and DC (CRn 7). Translated code is coherent by itself, and so are the host's caches.
LeaveReason cache_maintenance(TranslateState& t, u32 word, SysregName n, u64 va) {
    const unsigned el = t.s.el();
    const bool instruction = n.crm() == 1 || n.crm() == 5;
    if (n.op1() == 3) {
        if (el == 0 && (current_sctlr(t) & sctlr::UCI) == 0) return trap(t, word, default_target(t));
        const bool unification = n.crm() == 5 || n.crm() == 11;
        if (hcr_traps(t, unification ? hcr::TPU : hcr::TPC)) return trap(t, word, 2);
        return check_address(t, va, jit::Access::Read);
    }
    if (el == 0) return raise(t, Ec::Unknown, 0);
    if (instruction) return hcr_traps(t, hcr::TPU) ? trap(t, word, 2) : LeaveReason::None;
    if (n.op2() == 2) return hcr_traps(t, hcr::TSW) ? trap(t, word, 2) : LeaveReason::None;
    if (hcr_traps(t, hcr::TPC)) return trap(t, word, 2);
    return check_address(t, va, jit::Access::Write);  // DC IVAC
}

struct AddressTranslation {
    SysregName name;
    unsigned mmu;
    jit::Access access;
    bool both_stages;
    bool pan;
};
constexpr AddressTranslation kTranslations[] = {
    {SysregName::of(1, 0, 7, 8, 0), kMmuEl1, jit::Access::Read, false, false},
    {SysregName::of(1, 0, 7, 8, 1), kMmuEl1, jit::Access::Write, false, false},
    {SysregName::of(1, 0, 7, 8, 2), kMmuEl0, jit::Access::Read, false, false},
    {SysregName::of(1, 0, 7, 8, 3), kMmuEl0, jit::Access::Write, false, false},
    {SysregName::of(1, 0, 7, 9, 0), kMmuEl1, jit::Access::Read, false, true},
    {SysregName::of(1, 0, 7, 9, 1), kMmuEl1, jit::Access::Write, false, true},
    {SysregName::of(1, 4, 7, 8, 0), kMmuEl2, jit::Access::Read, false, false},
    {SysregName::of(1, 4, 7, 8, 1), kMmuEl2, jit::Access::Write, false, false},
    {SysregName::of(1, 4, 7, 8, 4), kMmuEl1, jit::Access::Read, true, false},
    {SysregName::of(1, 4, 7, 8, 5), kMmuEl1, jit::Access::Write, true, false},
    {SysregName::of(1, 4, 7, 8, 6), kMmuEl0, jit::Access::Read, true, false},
    {SysregName::of(1, 4, 7, 8, 7), kMmuEl0, jit::Access::Write, true, false},
};

LeaveReason translate_address(TranslateState& t, SysregName n, u64 va) {
    const auto* row = std::find_if(std::begin(kTranslations), std::end(kTranslations),
                                   [n](const AddressTranslation& a) { return a.name == n; });
    const unsigned el = t.s.el();
    if (row == std::end(kTranslations) || el == 0 || (n.op1() == 4 && el != 2)) return raise(t, Ec::Unknown, 0);
    if (row->pan && !t.model->has(Feature::PAN2)) return raise(t, Ec::Unknown, 0);
    WalkRequest r{va, row->access, row->mmu};
    r.stage1_only = !row->both_stages;
    r.update = false;
    constexpr u64 kHost = hcr::E2H | hcr::TGE;
    if (el == 2 && n.op1() == 0 && (effective_hcr(t) & kHost) == kHost) r.mmu = r.mmu == kMmuEl0 ? kMmuEl20 : kMmuEl2;
    if (row->pan && (t.s.pstate & pstate::kPan) != 0) r.mmu = r.mmu == kMmuEl2 ? kMmuEl2Pan : kMmuEl1Pan;
    Mapping m;
    Fault f;
    constexpr u64 kRes1 = 1u << 11;
    if (walk(t, r, m, f)) {
        t.s.sys.par_el1 =
            u64{m.attributes} << 56 | (m.address & mask(48) & ~mask(12)) | kRes1 | u64{1} << 9 | u64{m.shareability} << 7;
        return LeaveReason::None;
    }
    // Taken rather than told: what stage 2 does to a walk at EL1, and external aborts.
    const bool external = f.code == FaultCode::ExternalOnWalk;
    if ((f.stage2 && f.walk && el == 1) || external) {
        const bool to_el2 = el == 2 || f.stage2 || (external && (effective_hcr(t) & hcr::TEA) != 0);
        const Ec ec = to_el2 && el == 1 ? Ec::DataAbortLower : Ec::DataAbort;
        raise_at(t, ec, f.status() | 1u << 8 | (f.walk ? 1u << 7 : 0) | 1u << 6, to_el2 ? 2 : 1, va);
        if (!f.stage2) return LeaveReason::Exception;
        t.s.pending.has_hpfar = true;
        t.s.pending.hpfar = bits(f.ipa, 47, 12) << 4;
        return LeaveReason::Exception;
    }
    t.s.sys.par_el1 = 1 | u64{f.status()} << 1 | (f.walk ? 1u << 8 : 0) | (f.stage2 ? 1u << 9 : 0) | kRes1;
    return LeaveReason::None;
}

// The address of TLBI VA*: bits 55:12 in the argument, sign-extended from bit 55.
u64 tlbi_address(u64 argument) { return static_cast<u64>(sign_extend(argument << 12, 56)); }

// TLBI RVA*: (NUM + 1) * 2^(5 * SCALE + 1) pages of the granule TG from BaseADDR on.
void invalidate_range(TranslateState& t, u64 argument, bool broadcast) {
    constexpr unsigned kGranules[4] = {0, 12, 14, 16};
    const unsigned granule = kGranules[bits(argument, 47, 46)];
    if (granule == 0) return invalidate_all(t, broadcast);
    const u64 pages = (bits(argument, 43, 39) + 1) << (5 * bits(argument, 45, 44) + 1);
    const u64 base = static_cast<u64>(sign_extend(bits(argument, 36, 0), 37)) << granule;
    invalidate_pages(t, base, pages << (granule - jit::kPageBits), broadcast);
}

// TLBI (DDI 0487, C5.5).
enum class Maintained : u8 { Nothing, All, Asid, Page, Range, Stage2 };
using M = Maintained;
constexpr M kNo = M::Nothing;

// The operations with one CRm: by op2, of EL1 (op1 0) and of EL2 (op1 4).
struct TlbOperations {
    bool shared;  // by the other PEs too
    Feature feature;
    std::array<M, 8> of_el1;
    std::array<M, 8> of_el2;
};
constexpr std::array<M, 8> kOfEl1{M::All, M::Page, M::Asid, M::Page, kNo, M::Page, kNo, M::Page};
constexpr std::array<M, 8> kOfEl2{M::All, M::Page, kNo, kNo, M::All, M::Page, M::All, kNo};
constexpr std::array<M, 8> kRangesOfEl1{kNo, M::Range, kNo, M::Range, kNo, M::Range, kNo, M::Range};
constexpr std::array<M, 8> kRangesOfEl2{kNo, M::Range, kNo, kNo, kNo, M::Range, kNo, kNo};
constexpr TlbOperations kTlbOperations[8] = {
    {true, Feature::Base, {}, {kNo, M::Stage2, M::Stage2, kNo, kNo, M::Stage2, M::Stage2, kNo}},
    {true, Feature::TLBIOS, kOfEl1, kOfEl2},
    {true, Feature::TLBIRANGE, kRangesOfEl1, kRangesOfEl2},
    {true, Feature::Base, kOfEl1, kOfEl2},
    {false, Feature::Base, {}, {M::Stage2, M::Stage2, M::Stage2, M::Stage2, M::Stage2, M::Stage2, M::Stage2, M::Stage2}},
    {true, Feature::TLBIRANGE, kRangesOfEl1, kRangesOfEl2},
    {false, Feature::TLBIRANGE, kRangesOfEl1, kRangesOfEl2},
    {false, Feature::Base, kOfEl1, kOfEl2},
};

struct TlbOperation {
    M what = M::Nothing;
    bool shared = false;
    Feature feature = Feature::Base;
};

TlbOperation tlb_operation(SysregName n) {
    if ((n.op1() != 0 && n.op1() != 4) || n.crm() >= std::size(kTlbOperations)) return {};
    const TlbOperations& row = kTlbOperations[n.crm()];
    const unsigned op2 = n.op2();
    TlbOperation o{(n.op1() == 4 ? row.of_el2 : row.of_el1)[op2], row.shared, row.feature};
    if (o.what != M::Stage2) return o;
    // IPAS2E1 and RIPAS2E1, op2 4 more for the last level; with CRm 4 beside them the Outer Shareable ones.
    const unsigned kind = op2 & 3;
    if (kind >= 2) o.feature = Feature::TLBIRANGE;
    if (kind == 0) o.feature = Feature::TLBIOS;
    if (kind == 0 || kind == 3) o.shared = true;
    return o;
}

LeaveReason tlb_maintenance(TranslateState& t, u32 word, SysregName n, u64 argument) {
    const unsigned el = t.s.el();
    const TlbOperation o = tlb_operation(n);
    const bool allowed = el == 2 || (el == 1 && n.op1() == 0);
    if (!allowed || o.what == M::Nothing || !t.model->has(o.feature)) return raise(t, Ec::Unknown, 0);
    if (el == 1 && hcr_traps(t, hcr::TTLB)) return trap(t, word, 2);
    const bool broadcast = o.shared || (el == 1 && (effective_hcr(t) & hcr::FB) != 0);
    switch (o.what) {
        case M::Asid:
            if (host_mode(t)) {  // of EL2&0 or, without TGE, of EL1&0
                invalidate_non_global(t, broadcast);
            } else {
                invalidate_asid(t, argument >> 48, broadcast);
            }
            break;
        case M::Page: invalidate_pages(t, tlbi_address(argument), 1, broadcast); break;
        case M::Range: invalidate_range(t, argument, broadcast); break;
        default: invalidate_all(t, broadcast); break;
    }
    return LeaveReason::None;
}

// Whether a page is Device memory. `writable`: it can be written.
bool is_device(TranslateState& t, u64 va, unsigned index, bool writable) {
    if (stage1_flat(t)) return true;
    u64 length = 0;
    if (writable && jit::direct_span(&t, va, index, jit::Access::Write, 1, length) != nullptr) return false;
    WalkRequest r{va, jit::Access::Write, regime_mmu(t, index)};
    r.check = r.update = writable;
    Mapping m;
    Fault f;
    return walk(t, r, m, f) && m.device;
}

bool is_permission_fault(const PendingException& e) {
    constexpr u64 kStatus = 0x3c;
    return e.valid && (e.esr & kStatus) == static_cast<u64>(FaultCode::Permission);
}

bool is_cache_instruction(SysregName n) {
    constexpr std::array<u16, 12> kKnown{
        SysregName::of(1, 0, 7, 1, 0).value,  SysregName::of(1, 0, 7, 5, 0).value,  SysregName::of(1, 3, 7, 5, 1).value,
        SysregName::of(1, 0, 7, 6, 1).value,  SysregName::of(1, 0, 7, 6, 2).value,  SysregName::of(1, 0, 7, 10, 2).value,
        SysregName::of(1, 0, 7, 14, 2).value, SysregName::of(1, 3, 7, 10, 1).value, SysregName::of(1, 3, 7, 11, 1).value,
        SysregName::of(1, 3, 7, 14, 1).value, SysregName::of(1, 3, 7, 12, 1).value, SysregName::of(1, 3, 7, 13, 1).value};
    return std::find(kKnown.begin(), kKnown.end(), n.value) != kKnown.end();
}

}  // namespace

LeaveReason system_instruction(TranslateState* t, u32 word, u64 value) {
    const SysregName n = name_of(word);
    if (n.crn() == 8) return tlb_maintenance(*t, word, n, value);
    const bool implementation_defined = n.crn() == 11 || n.crn() == 15;
    if (implementation_defined && t->s.el() == 1 && hcr_traps(*t, hcr::TIDCP)) return trap(*t, word, 2);
    if (n.crn() != 7) return raise(*t, Ec::Unknown, 0);
    if (n.crm() == 8 || n.crm() == 9) return translate_address(*t, n, value);
    const bool restriction = n.op1() == 3 && n.crm() == 3 && n.op2() >= 4 && n.op2() != 6;  // CFP, DVP, CPP RCTX
    if (restriction && t->model->has(Feature::SPECRES)) {
        const bool allowed = t->s.el() != 0 || (current_sctlr(*t) & sctlr::EnRCTX) != 0;
        return allowed ? LeaveReason::None : trap(*t, word, default_target(*t));
    }
    if (!is_cache_instruction(n)) return raise(*t, Ec::Unknown, 0);
    if ((n.crm() == 12 || n.crm() == 13) && !t->model->has(Feature::DPB)) return raise(*t, Ec::Unknown, 0);
    return cache_maintenance(*t, word, n, value);
}

LeaveReason zero_block(TranslateState* t, u32 word, u64 va) {
    if (t->s.el() == 0 && (current_sctlr(*t) & sctlr::DZE) == 0) return trap(*t, word, default_target(*t));
    if (hcr_traps(*t, hcr::TDZ)) return trap(*t, word, 2);
    const ModeBits mode = ModeBits::of(*t);
    const unsigned mmu = mode.data_mmu();
    const unsigned size = 4u << (t->model->id().dczid_el0 & 15);
    if (!jit::probe(t, va, mmu, jit::Access::Write, 1)) {
        if (is_permission_fault(t->s.pending) && is_device(*t, va, mmu, false)) {
            alignment_fault(*t, va, jit::Access::Write, mmu, true);
        }
        return jit::leave_status(t);
    }
    if (mode.has(ModeBits::kWatchpoints)) {
        const LeaveReason hit = watch_access(t, align_down(va, size), size, 1);
        if (hit != LeaveReason::None) return hit;
    }
    if (is_device(*t, va, mmu, true)) {
        alignment_fault(*t, va, jit::Access::Write, mmu, !stage1_flat(*t));
        return LeaveReason::Exception;
    }
    const u64 block = align_down(va, size);
    u64 length = 0;
    if (u8* host = jit::direct_span(t, block, mmu, jit::Access::Write, size, length); host != nullptr && length == size) {
        std::fill_n(host, size, u8{0});
        return LeaveReason::None;
    }
    constexpr unsigned kStep = 16;
    const std::array<u8, kStep> zeros{};
    for (unsigned at = 0; at < size; at += kStep) {
        if (!jit::store_bytes(t, block + at, mmu, zeros.data(), kStep)) return jit::leave_status(t);
    }
    return LeaveReason::None;
}

}  // namespace tandem::cpu::arm64
