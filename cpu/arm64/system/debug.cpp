// Self-hosted debug: software step, hardware breakpoints and watchpoints (DDI 0487, D2), and branch targets (D8.4.6).
#include <algorithm>

#include "base/bits.h"
#include "cpu/arm64/system/system.h"

namespace tandem::cpu::arm64 {
namespace {

constexpr u32 kDebugIfsc = 0x22;  // DFSC and IFSC of every debug exception

unsigned debug_target(const TranslateState& t) {
    constexpr u64 kTde = 1u << 8;
    const bool to_el2 = el2_enabled(t) && ((effective_hcr(t) & hcr::TGE) != 0 || (t.s.sys.mdcr_el2 & kTde) != 0);
    return to_el2 || t.s.el() == 2 ? 2 : 1;
}

Ec from_lower(const TranslateState& t, unsigned target, Ec lower, Ec same) { return t.s.el() < target ? lower : same; }

// SSC, HMC and PxC of a control register against the current level (table D2-12, non-secure state).
bool level_matches(unsigned el, u64 control) {
    const u64 pac = bits(control, 2, 1);
    const bool hmc = bit(control, 13);
    const u64 ssc = bits(control, 15, 14);
    const bool secure_only = ssc == 2 || (ssc == 3 && !hmc);
    if (secure_only) return false;
    switch (el) {
        case 0: return (pac & 2) != 0;
        case 1: return (pac & 1) != 0;
        default: return hmc;
    }
}

// Context and VMID conditions of a linked or context-aware breakpoint (AArch64.BreakpointValueMatch). `type`: BT, bits 23:20
// of the control register; without its lowest bit, which links.
bool context_matches(const TranslateState& t, u64 type, u64 value) {
    constexpr u64 kContext = 2, kContextEl1 = 6, kVmid = 8, kContextVmid = 10, kContextEl2 = 12, kBoth = 14;
    const Sysregs& sys = t.s.sys;
    const u64 kind = type & ~u64{1};
    const bool el2_kind = kind == kContextEl1 || kind == kContextEl2 || kind == kBoth;
    if (el2_kind && !t.model->has(Feature::VHE)) return false;
    if (kind >= kVmid && !el2_enabled(t)) return false;
    const bool host = host_mode(t);
    const u64 own = kind == kContext && host ? sys.contextidr_el2 : sys.contextidr_el1;
    const bool not_in_el2 = kind == kContext ? t.s.el() == 2 && !host : t.s.el() == 2 || host;
    const bool uses_own = kind == kContext || kind == kContextEl1 || kind == kContextVmid || kind == kBoth;
    if (uses_own && (not_in_el2 || (value & mask(32)) != (own & mask(32)))) return false;
    if (kind == kVmid || kind == kContextVmid) {
        const bool wide = t.model->has(Feature::VMID16) && bit(sys.vtcr_el2, 19);
        const u64 different = bits(value, 47, 32) ^ bits(sys.vttbr_el2, 63, 48);
        return !not_in_el2 && (different & mask(wide ? 16 : 8)) == 0;
    }
    if (kind == kContextEl2 || kind == kBoth) return bits(value, 63, 32) == (sys.contextidr_el2 & mask(32));
    return uses_own;
}

bool linked_matches(const TranslateState& t, u64 control) {
    const u64 n = bits(control, 19, 16);
    const u64 other = t.s.sys.dbgbcr_el1[n];
    const u64 type = bits(other, 23, 20);
    return (other & 1) != 0 && (type & 1) != 0 && context_matches(t, type, t.s.sys.dbgbvr_el1[n]);
}

bool breakpoint_hits(const TranslateState& t, unsigned n) {
    const u64 control = t.s.sys.dbgbcr_el1[n];
    const u64 value = t.s.sys.dbgbvr_el1[n];
    if ((control & 1) == 0 || !level_matches(t.s.el(), control)) return false;
    const u64 type = bits(control, 23, 20);
    if ((type & ~u64{1}) == 0) {
        if ((value & mask(49) & ~u64{3}) != (t.s.pc & mask(49))) return false;
        return type == 0 || linked_matches(t, control);
    }
    return (type & 1) == 0 && context_matches(t, type, value);
}

// `el`: whose permissions the access uses.
bool watchpoint_hits(const TranslateState& t, unsigned n, unsigned el, u64 va, u32 size, u64 directions) {
    const u64 control = t.s.sys.dbgwcr_el1[n];
    const u64 value = t.s.sys.dbgwvr_el1[n];
    if ((control & 1) == 0 || !level_matches(el, control)) return false;
    if ((bits(control, 4, 3) & directions) == 0) return false;
    if (bit(control, 20) && !linked_matches(t, control)) return false;
    const u64 address = va & mask(49);
    const unsigned address_mask = static_cast<unsigned>(bits(control, 28, 24));
    if (address_mask != 0) {
        const u64 base = align_down(value & mask(49), u64{1} << address_mask);
        return address < base + (u64{1} << address_mask) && address + size > base;
    }
    const u64 base = value & mask(49) & ~u64{3};
    for (unsigned byte = 0; byte < 8; ++byte) {
        if (bit(control, 5 + byte) && base + byte >= address && base + byte < address + size) return true;
    }
    return false;
}

}  // namespace

LeaveReason software_step(TranslateState* t) {
    constexpr u32 kIsv = 1u << 24, kEx = 1u << 6;
    const unsigned target = debug_target(*t);
    const u32 iss =
        ((t->stepped & kStepped) != 0 ? kIsv : 0) | ((t->stepped & kSteppedExclusive) != 0 ? kEx : 0) | kDebugIfsc;
    return raise(*t, from_lower(*t, target, Ec::StepLower, Ec::Step), iss, target);
}

LeaveReason hardware_breakpoint(TranslateState* t) {
    for (unsigned n = 0; n < kMaxBreakpoints; ++n) {
        if (!breakpoint_hits(*t, n)) continue;
        const unsigned target = debug_target(*t);
        return raise(*t, from_lower(*t, target, Ec::BreakpointLower, Ec::Breakpoint), kDebugIfsc, target);
    }
    return LeaveReason::None;
}

LeaveReason watch_access(TranslateState* t, u64 va, u32 size, u32 access) {
    constexpr u64 kLoads = 1, kStores = 2;
    const u32 kind = access & ~u32{kWatchUnprivileged};
    const u64 directions = kind == kWatchLoad ? kLoads : kind == kWatchStore ? kStores : kLoads | kStores;
    const unsigned el = (access & kWatchUnprivileged) != 0 ? 0 : t->s.el();
    for (unsigned n = 0; n < kMaxWatchpoints; ++n) {
        if (!watchpoint_hits(*t, n, el, va, size, directions)) continue;
        const unsigned target = debug_target(*t);
        const Ec ec = from_lower(*t, target, Ec::WatchpointLower, Ec::Watchpoint);
        const bool write = (bits(t->s.sys.dbgwcr_el1[n], 4, 3) & directions & kStores) != 0;
        return raise_at(*t, ec, kDebugIfsc | (write ? 1u << 6 : 0), target, va);
    }
    return LeaveReason::None;
}

}  // namespace tandem::cpu::arm64
