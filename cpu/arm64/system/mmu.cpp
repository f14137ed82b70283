// Guest::translate: the walk, and the aborts that come of it (DDI 0487, D8.15 and the ISS encodings of ESR_ELx).
#include "cpu/arm64/system/mmu.h"

#include "base/log.h"
#include "cpu/arm64/decode/rows.h"
#include "jit/guest/strict.h"

namespace tandem::cpu::arm64 {
namespace {

using jit::Access;

constexpr u32 kS1Ptw = 1u << 7;
constexpr u32 kWnr = 1u << 6;

// ISV and what it makes valid, for a single-register load or store without write-back (ESR_EL2 of stage 2 faults).
u32 access_syndrome(u32 word) {
    const unsigned size = word >> 30;
    const unsigned opc = word >> 22 & 3;
    const bool simd = bit(word, 26);
    const unsigned form = word >> 10 & 3;
    const bool unsigned_offset = (word & 0x3b000000) == 0x39000000;
    const bool literal = (word & 0x3b000000) == 0x18000000;
    const bool unscaled = (word & 0x3b200000) == 0x38000000 && (form == 0 || form == 2);
    const bool register_offset = (word & 0x3b200c00) == 0x38200800;
    const bool acquire_rcpc = (word & 0x3ffffc00) == 0x38bfc000;  // LDAPR
    const bool ordered = ((word & 0x3f808000) == 0x08808000 && (word & 0x00200000) == 0) || acquire_rcpc;
    const bool ordered_unscaled = (word & 0x3f200c00) == 0x19000000;  // LDAPUR and STLUR
    u32 iss = 1u << 24 | size << 22 | (word & 31) << 16;
    if (ordered) return iss | (size == 3 ? 1u << 15 : 0) | 1u << 14;
    if (literal && !simd && size != 3) {
        const bool wide = size != 0;
        return 1u << 24 | (size == 1 ? 3u : 2u) << 22 | (size == 2 ? 1u << 21 : 0) | (word & 31) << 16 |
               (wide ? 1u << 15 : 0);
    }
    if (simd || !(unsigned_offset || unscaled || register_offset || ordered_unscaled)) return 0;
    const bool sign = opc >= 2;
    const bool wide = sign ? opc == 2 : size == 3;
    if (sign) iss |= 1u << 21;
    if (ordered_unscaled) iss |= 1u << 14;
    return iss | (wide ? 1u << 15 : 0);
}

// A load and store in one (LSE atomics): WnR says that a read alone would have been allowed.
bool is_read_modify_write(u32 word) {
    const bool atomic = (word & 0x3b200c00) == 0x38200000;
    const bool compare_swap = (word & 0x3fa07c00) == 0x08a07c00 || (word & 0xbfa07c00) == 0x08207c00;
    return (atomic && !bit(word, 26)) || compare_swap;
}

bool read_faults(TranslateState& t, u64 va, unsigned mmu, const Fault& like) {
    WalkRequest r{va, Access::Read, mmu};
    r.update = false;
    Mapping m;
    Fault f;
    return !walk(t, r, m, f) && f.code == like.code && f.stage2 == like.stage2;
}

// Data aborts but no others: an alignment fault by the memory type of a stage comes before its permission fault and all
// faults of the stage behind it (AArch64.S1Translate, AArch64.S2Translate).
bool alignment_comes_first(TranslateState& t, u64 va, Access access, unsigned mmu, const Fault& f) {
    const bool behind_stage1 = f.stage2 && !f.walk;
    if (access == Access::Execute || !jit::misaligned_if_strict(&t)) return false;
    if (f.code != FaultCode::Permission && !behind_stage1) return false;
    WalkRequest r{va, access, mmu};
    r.check = r.update = false;
    r.stage1_only = true;
    Mapping m;
    Fault ignored;
    if (walk(t, r, m, ignored) && m.device) return true;
    r.stage1_only = false;
    return behind_stage1 && f.code == FaultCode::Permission && walk(t, r, m, ignored) && m.device;
}

// External aborts of accesses and on walks of stage 1 go where data aborts go, or where HCR_EL2.TEA sends them.
bool external_to_el2(const TranslateState& t, const Fault& f) {
    return (f.code == FaultCode::External || f.code == FaultCode::ExternalOnWalk) && t.s.el() < 2 &&
           (effective_hcr(t) & hcr::TEA) != 0;
}

void record_abort(TranslateState& t, u64 va, Access access, unsigned mmu, const Fault& f) {
    const unsigned target = f.stage2 || mmu >= kMmuEl2 || external_to_el2(t, f) ? 2 : default_target(t);
    const bool lower = t.s.el() < target;
    u32 iss = f.status() | (f.walk ? kS1Ptw : 0);
    Ec ec = lower ? Ec::InstructionAbortLower : Ec::InstructionAbort;
    if (access != Access::Execute) {
        ec = lower ? Ec::DataAbortLower : Ec::DataAbort;
        u32 word = 0;
        const bool known = current_word(t, word);
        const bool both = known && access == Access::Write && is_read_modify_write(word);
        if (access == Access::Write && !(both && read_faults(t, va, mmu, f))) iss |= kWnr;
        if (f.stage2 && !f.walk && known && f.code != FaultCode::ExternalOnWalk) iss |= access_syndrome(word);
    }
    raise_at(t, ec, iss, target, va);
    if (f.stage2) {
        t.s.pending.has_hpfar = true;
        t.s.pending.hpfar = bits(f.ipa, 47, 12) << 4;
    }
    log::trace(log::Mmu, "mmu: abort at {:#x}, status {:#x}, pc {:#x}, stage {}", va, f.status(), t.s.pc, f.stage2 ? 2 : 1);
}

}  // namespace

bool current_word(TranslateState& t, u32& word) {
    WalkRequest r{t.s.pc, Access::Execute, regime_mmu(t, ModeBits::of(t).fetch_mmu())};
    r.update = false;
    Mapping m;
    Fault f;
    if (!walk(t, r, m, f)) return false;
    word = static_cast<u32>(jit::phys_load(&t, m.address, 4));
    return true;
}

bool translate(TranslateState& t, u64 va, Access access, unsigned index, jit::Translation& out) {
    if (access == Access::Execute && (va & 3) != 0) {
        raise_pc_alignment(&t);
        return false;
    }
    const unsigned mmu = regime_mmu(t, index);
    Mapping m;
    Fault fault;
    if (!walk(t, {va, access, mmu}, m, fault)) {
        if (alignment_comes_first(t, va, access, mmu, fault)) {
            alignment_fault(t, va, access, index, true);
        } else {
            record_abort(t, va, access, mmu, fault);
        }
        return false;
    }
    out.phys = m.address;
    out.page_size = m.page_size;
    out.read = m.read;
    out.write = m.write;
    out.execute = m.execute;
    out.global = m.global;
    if (m.device) jit::mark_strict(&t);
    if (m.guarded) t.guarded_pages = true;
    if (va >> 56 != 0 && va >> 56 != 0xff) t.tagged_addresses = true;
    return true;
}

// AArch64.AlignmentFault. By memory type it is of the stage that makes the memory Device memory.
void alignment_fault(TranslateState& t, u64 va, Access access, unsigned index, bool by_memory_type) {
    unsigned target = default_target(t);
    WalkRequest r{va, access, regime_mmu(t, index)};
    r.check = r.update = false;
    Mapping m;
    Fault f;
    if (by_memory_type && walk(t, r, m, f) && m.device_by_stage2) target = 2;
    const Ec ec = t.s.el() < target ? Ec::DataAbortLower : Ec::DataAbort;
    u32 word = 0;
    const bool both = access == Access::Write && current_word(t, word) && is_read_modify_write(word);
    const u32 wnr = access == Access::Write && !both ? kWnr : 0;
    raise_at(t, ec, static_cast<u32>(FaultCode::Alignment) | wnr, target, va);
}

void external_abort(TranslateState& t, u64 va, Access access, unsigned index) {
    Fault f;
    f.code = FaultCode::External;
    record_abort(t, va, access, regime_mmu(t, index), f);
}

namespace {

// Whether the current instruction lies in a guarded page. Remembered for one page, like an entry of a TLB.
bool in_guarded_page(TranslateState& t) {
    const unsigned mmu = regime_mmu(t, ModeBits::of(t).fetch_mmu());
    const u64 page = (t.s.pc & jit::kPageMask) | mmu;
    if (t.page_looked_up == page) return t.page_guarded;
    WalkRequest r{t.s.pc, Access::Execute, mmu};
    r.update = false;
    Mapping m;
    Fault f;
    t.page_guarded = walk(t, r, m, f) && m.guarded;
    t.page_looked_up = page;
    return t.page_guarded;
}

void forget_page(TranslateState& t) { t.page_looked_up = ~u64{0}; }

}  // namespace

u32 jump_type(TranslateState* t) { return in_guarded_page(*t) ? 3 : 1; }

LeaveReason branch_target(TranslateState* t, u32 word) {
    if (!in_guarded_page(*t)) return LeaveReason::None;
    const auto type = static_cast<u32>(bits(t->s.pstate, 11, 10));
    constexpr u32 kHint = 0xd503201f;
    const bool hint = (word & 0xfffff01f) == kHint;
    const unsigned number = word >> 5 & 127;
    bool compatible = (word & 0xffe0001f) == 0xd4200000 || (word & 0xffe0001f) == 0xd4400000;  // BRK, HLT
    if (hint && (number & ~6u) == 32) {
        const bool call = (number & 2) != 0;
        const bool jump = (number & 4) != 0;
        compatible = type == 1 ? call || jump : type == 2 ? call : jump;
    } else if (hint && (number == 25 || number == 27)) {
        const u64 strict = t->s.el() == 0 ? sctlr::BT0 : sctlr::BT1;
        compatible = type != 3 || (current_sctlr(*t) & strict) == 0;
    }
    return compatible ? LeaveReason::None : raise(*t, Ec::BranchTarget, type);
}

// --- TLB maintenance

namespace {

using Scope = TlbInvalidate::Scope;

constexpr unsigned kAsidShift = 48, kTcrA1 = 22, kTcrAs = 36;  // of TTBRx_ELx and TCR_ELx

// TCR_ELx.AS: 8 or 16 bits of ASID.
u64 asid_mask(const TranslateState& t) {
    return mask(bit(host_mode(t) ? t.s.sys.tcr_el2 : t.s.sys.tcr_el1, kTcrAs) ? 16 : 8);
}

}  // namespace

void apply_tlb_demand(TranslateState& t, TlbDemand demand) {
    if (demand.flush != 0) forget_page(t);
    if (demand.flush != 0) jit::tlb_flush(&t, (demand.flush & TlbDemand::kAll) == 0);
}

void invalidate_all(TranslateState& t, bool broadcast) {
    jit::tlb_flush(&t, false);
    forget_page(t);
    t.tagged_addresses = false;
    if (broadcast) t.platform->broadcast_tlb_invalidate({});
}

void invalidate_non_global(TranslateState& t, bool broadcast) {
    jit::tlb_flush(&t, true);
    forget_page(t);
    if (broadcast) t.platform->broadcast_tlb_invalidate({Scope::NonGlobal, 0});
}

void invalidate_pages(TranslateState& t, u64 va, u64 pages, bool broadcast) {
    // An entry of a tagged address is found under its tag only.
    if (t.tagged_addresses) return invalidate_all(t, broadcast);
    jit::tlb_flush_range(&t, va, pages);
    forget_page(t);
    if (broadcast) t.platform->broadcast_tlb_invalidate({Scope::Pages, va, pages});
}

void invalidate_asid(TranslateState& t, u64 asid, bool broadcast) {
    jit::tlb_flush_space(&t, asid & asid_mask(t));
    forget_page(t);
    if (broadcast) t.platform->broadcast_tlb_invalidate({Scope::Asid, asid});
}

// Both table bases tell address spaces apart, so that two that share an ASID, which software may not have without
// maintenance in between, are merely slow.
jit::AddressSpace address_space(const TranslateState& t) {
    const Sysregs& sys = t.s.sys;
    const bool host = host_mode(t);
    jit::AddressSpace space;
    space.roots = host ? std::array{sys.ttbr0_el2, sys.ttbr1_el2} : std::array{sys.ttbr0_el1, sys.ttbr1_el1};
    space.id = space.roots[bit(host ? sys.tcr_el2 : sys.tcr_el1, kTcrA1) ? 1 : 0] >> kAsidShift & asid_mask(t);
    return space;
}

void switch_address_space(TranslateState& t) {
    jit::tlb_switch(&t);
    forget_page(t);
}

}  // namespace tandem::cpu::arm64
