// What of a PE's state changes the translation of its code: the mode word of a block's key.
#pragma once

#include "base/bits.h"
#include "cpu/arm64/translate_state.h"

namespace tandem::cpu::arm64 {

// MMU indexes (jit::ir::MemFlags, jit/guest/memory.h): translation regime, privilege, and PSTATE.PAN where it counts.
enum Mmu : unsigned {
    kMmuEl1 = 0,     // EL1&0, privileged
    kMmuEl1Pan = 1,  // the same with PSTATE.PAN = 1
    kMmuEl0 = 2,     // EL1&0, unprivileged
    kMmuEl2 = 3,     // EL2, or EL2&0 privileged
    kMmuEl2Pan = 4,  // EL2&0 with PSTATE.PAN = 1
    kMmuEl20 = 5,    // EL2&0, unprivileged
    kMmuCount = 6,
};

class ModeBits {
public:
    ModeBits() = default;
    explicit ModeBits(u64 value) : value_(value) {}
    static ModeBits of(const TranslateState& t);

    enum Bit : u64 {
        kSpSel = 1u << 2,
        kFpToEl1 = 1u << 3,  // floating point is trapped to EL1
        kFpToEl2 = 1u << 4,
        kTbi0 = 1u << 5,  // top byte ignored in instruction addresses, by bit 55
        kTbi1 = 1u << 6,
        kTwoRanges = 1u << 7,  // the regime has an upper address range
        kAlign = 1u << 8,      // SCTLR_ELx.A
        kSpAlign = 1u << 9,    // SCTLR_ELx.SA or SA0
        kPan = 1u << 10,
        kUao = 1u << 11,
        kHost = 1u << 12,         // the EL2&0 regime is the current one
        kStepActive = 1u << 13,   // software step: not pending, one instruction runs
        kStepPending = 1u << 14,  // software step: the exception is due before the next instruction
        kBreakpoints = 1u << 15,
        kWatchpoints = 1u << 16,
        kIl = 1u << 17,
        kBti = 1u << 18,  // guarded pages exist: PSTATE.BTYPE is kept and checked
        kPauthIa = 1u << 19,
        kPauthIb = 1u << 20,
        kPauthDa = 1u << 21,
        kPauthDb = 1u << 22,
        kLowerTrap = 1u << 23,  // some EL2 trap of EL1 system registers is on: every access asks
        kTge = 1u << 24,
        kFpExact = 1u << 25,  // fpu::needs_exact(FPCR)
        kSysregChecks = kLowerTrap,
    };
    [[nodiscard]] bool has(u64 b) const { return (value_ & b) != 0; }
    [[nodiscard]] u64 value() const { return value_; }
    [[nodiscard]] unsigned el() const { return static_cast<unsigned>(value_ & 3); }
    [[nodiscard]] bool fp_trapped() const { return has(kFpToEl1 | kFpToEl2); }
    [[nodiscard]] unsigned sp_index() const { return has(kSpSel) ? el() : 0; }
    // A block holds one instruction only.
    [[nodiscard]] bool single() const { return has(kStepActive | kStepPending | kBreakpoints | kWatchpoints); }

    [[nodiscard]] unsigned data_mmu() const {
        switch (el()) {
            case 0: return has(kHost) ? kMmuEl20 : kMmuEl0;
            case 1: return has(kPan) ? kMmuEl1Pan : kMmuEl1;
            default: return has(kHost) && has(kPan) ? kMmuEl2Pan : kMmuEl2;
        }
    }
    // LDTR and STTR (AArch64.AccessUsesEL of an unprivileged access).
    [[nodiscard]] unsigned unprivileged_mmu() const {
        if (has(kUao)) return data_mmu();
        if (el() == 1) return kMmuEl0;
        return el() == 2 && has(kHost) && has(kTge) ? kMmuEl20 : data_mmu();
    }
    [[nodiscard]] unsigned fetch_mmu() const {
        switch (el()) {
            case 0: return has(kHost) ? kMmuEl20 : kMmuEl0;
            case 1: return kMmuEl1;
            default: return kMmuEl2;
        }
    }

private:
    u64 value_ = 0;
};

}  // namespace tandem::cpu::arm64
