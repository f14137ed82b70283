#include "cpu/arm64/mode.h"

#include "cpu/arm64/fpu/status.h"
#include "cpu/arm64/system/pmu.h"
#include "cpu/arm64/system/system.h"

namespace tandem::cpu::arm64 {
namespace {

// CPACR_EL1.FPEN and CPTR_EL2 (DDI 0487, shared pseudocode: CheckFPAdvSIMDEnabled64).
u64 fp_trap(const TranslateState& t, unsigned el, u64 hcr) {
    const bool e2h = (hcr & hcr::E2H) != 0;
    const bool host = e2h && (hcr & hcr::TGE) != 0;
    const u64 cpacr = bits(t.s.sys.cpacr_el1, 21, 20);
    if (el < 2 && !host && (el == 0 ? cpacr != 3 : (cpacr & 1) == 0)) return ModeBits::kFpToEl1;
    if (!el2_enabled(t)) return 0;
    if (!e2h) return bit(t.s.sys.cptr_el2, 10) ? ModeBits::kFpToEl2 : 0;
    const u64 fpen = bits(t.s.sys.cptr_el2, 21, 20);
    const bool trapped = el == 0 && host ? fpen != 3 : (fpen & 1) == 0;
    return trapped ? ModeBits::kFpToEl2 : 0;
}

constexpr u64 kMdscrMde = 1u << 15;

u64 debug_bits(const TranslateState& t) {
    const Sysregs& sys = t.s.sys;
    if ((sys.mdscr_el1 & (kMdscrMde | 1)) == 0) return 0;
    u64 value = 0;
    if (step_enabled(t)) value |= (t.s.pstate & pstate::kSs) != 0 ? ModeBits::kStepActive : ModeBits::kStepPending;
    if ((sys.mdscr_el1 & kMdscrMde) == 0 || !debug_exceptions_enabled(t)) return value;
    for (const u64 control : sys.dbgbcr_el1) value |= (control & 1) != 0 ? ModeBits::kBreakpoints : 0;
    for (const u64 control : sys.dbgwcr_el1) value |= (control & 1) != 0 ? ModeBits::kWatchpoints : 0;
    return value;
}

// TBI of instruction addresses: TBIx without TBIDx.
u64 tag_bits(const TranslateState& t, bool upper_regime, bool two_ranges) {
    const u64 tcr = upper_regime ? t.s.sys.tcr_el2 : t.s.sys.tcr_el1;
    if (!two_ranges) return bit(tcr, 20) && !bit(tcr, 29) ? ModeBits::kTbi0 : 0;
    u64 value = ModeBits::kTwoRanges;
    if (bit(tcr, 37) && !bit(tcr, 51)) value |= ModeBits::kTbi0;
    if (bit(tcr, 38) && !bit(tcr, 52)) value |= ModeBits::kTbi1;
    return value;
}

}  // namespace

ModeBits ModeBits::of(const TranslateState& t) {
    const State& s = t.s;
    const unsigned el = s.el();
    const u64 hcr = effective_hcr(t);
    const bool host = host_mode(t);
    const bool upper = el == 2 || host;
    const u64 control = upper ? s.sys.sctlr_el2 : s.sys.sctlr_el1;
    u64 value = el;
    if ((s.pstate & pstate::kSp) != 0) value |= kSpSel;
    value |= fp_trap(t, el, hcr);
    value |= tag_bits(t, upper, !upper || host);
    if ((control & sctlr::A) != 0 || stage1_flat(t)) value |= kAlign;
    if ((control & (el == 0 ? sctlr::SA0 : sctlr::SA)) != 0) value |= kSpAlign;
    if ((s.pstate & pstate::kPan) != 0) value |= kPan;
    if ((s.pstate & pstate::kUao) != 0) value |= kUao;
    if ((s.pstate & pstate::kIl) != 0) value |= kIl;
    if (host) value |= kHost;
    if ((hcr & hcr::TGE) != 0) value |= kTge;
    value |= debug_bits(t);
    if (fpu::needs_exact(s.fpcr)) value |= kFpExact;
    if (t.guarded_pages) value |= kBti;
    if (pmu_counts(t)) value |= kCount;
    if (t.multiprocessor) value |= kShared;
    if (t.model->has(Feature::PAuth)) {
        if ((control & sctlr::EnIA) != 0) value |= kPauthIa;
        if ((control & sctlr::EnIB) != 0) value |= kPauthIb;
        if ((control & sctlr::EnDA) != 0) value |= kPauthDa;
        if ((control & sctlr::EnDB) != 0) value |= kPauthDb;
        if (el < 2 && el2_enabled(t) && (hcr & hcr::API) == 0) value |= kPauthTrap;
    }
    return ModeBits{value};
}

}  // namespace tandem::cpu::arm64
