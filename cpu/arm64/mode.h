// What of a PE's state changes the translation of its code: the mode word of a block's key.
#pragma once

#include "base/bits.h"
#include "cpu/arm64/translate_state.h"

namespace tandem::cpu::arm64 {

// Translation regime and privilege of an access, and PSTATE.PAN where it counts.
enum Mmu : unsigned {
    kMmuEl1 = 0,     // EL1&0, privileged
    kMmuEl1Pan = 1,  // the same with PSTATE.PAN = 1
    kMmuEl0 = 2,     // EL1&0, unprivileged
    kMmuEl2 = 3,     // EL2, or EL2&0 privileged
    kMmuEl2Pan = 4,  // EL2&0 with PSTATE.PAN = 1
    kMmuEl20 = 5,    // EL2&0, unprivileged
};
// The translator's MMU indexes (jit::ir::MemFlags) are the first four; under the EL2&0 regime 0 to 2 stand for the last
// three. Whatever enters or leaves that regime flushes the soft TLB.
constexpr unsigned kHostMmuBias = kMmuEl2;

class ModeBits {
public:
    ModeBits() = default;
    explicit ModeBits(u64 value) : value_(value) {}
    static ModeBits of(const TranslateState& t);

    static constexpr u64 kSpSel = 1u << 2;
    static constexpr u64 kFpToEl1 = 1u << 3;  // floating point is trapped to EL1
    static constexpr u64 kFpToEl2 = 1u << 4;
    static constexpr u64 kTbi0 = 1u << 5;  // top byte ignored in instruction addresses, by bit 55
    static constexpr u64 kTbi1 = 1u << 6;
    static constexpr u64 kTwoRanges = 1u << 7;  // the regime has an upper address range
    static constexpr u64 kAlign = 1u << 8;      // SCTLR_ELx.A, or the MMU is off
    static constexpr u64 kSpAlign = 1u << 9;    // SCTLR_ELx.SA or SA0
    static constexpr u64 kPan = 1u << 10;
    static constexpr u64 kUao = 1u << 11;
    static constexpr u64 kHost = 1u << 12;         // the EL2&0 regime is the current one
    static constexpr u64 kStepActive = 1u << 13;   // software step: not pending, one instruction runs
    static constexpr u64 kStepPending = 1u << 14;  // software step: the exception is due before the next instruction
    static constexpr u64 kBreakpoints = 1u << 15;
    static constexpr u64 kWatchpoints = 1u << 16;
    static constexpr u64 kIl = 1u << 17;
    static constexpr u64 kBti = 1u << 18;  // guarded pages exist: PSTATE.BTYPE is kept and checked
    static constexpr u64 kPauthIa = 1u << 19;
    static constexpr u64 kPauthIb = 1u << 20;
    static constexpr u64 kPauthDa = 1u << 21;
    static constexpr u64 kPauthDb = 1u << 22;
    static constexpr u64 kTge = 1u << 23;
    static constexpr u64 kFpExact = 1u << 24;    // fpu::needs_exact(FPCR)
    static constexpr u64 kCount = 1u << 25;      // the performance monitors count: TranslateState::counted
    static constexpr u64 kPauthTrap = 1u << 26;  // HCR_EL2.API is 0: enabled pointer authentication traps to EL2
    static constexpr u64 kShared = 1u << 27;     // other PEs share memory: exclusives and atomics look at each other's marks
    [[nodiscard]] bool has(u64 b) const { return (value_ & b) != 0; }
    [[nodiscard]] u64 value() const { return value_; }
    [[nodiscard]] unsigned el() const { return static_cast<unsigned>(value_ & 3); }
    [[nodiscard]] bool fp_trapped() const { return has(kFpToEl1 | kFpToEl2); }
    [[nodiscard]] unsigned sp_index() const { return has(kSpSel) ? el() : 0; }
    // A block holds one instruction only.
    [[nodiscard]] bool single() const { return has(kStepActive | kStepPending | kBreakpoints | kWatchpoints); }

    // The translator's index of ordinary data accesses, of LDTR and STTR (AArch64.AccessUsesEL), and of fetches.
    [[nodiscard]] unsigned data_mmu() const {
        if (el() == 0) return kMmuEl0;
        if (el() == 2 && !has(kHost)) return kMmuEl2;
        return has(kPan) ? kMmuEl1Pan : kMmuEl1;
    }
    [[nodiscard]] unsigned unprivileged_mmu() const {
        const bool lower = el() == 1 || (el() == 2 && has(kHost) && has(kTge));
        return lower && !has(kUao) ? kMmuEl0 : data_mmu();
    }
    [[nodiscard]] unsigned fetch_mmu() const {
        if (el() == 0) return kMmuEl0;
        return el() == 2 && !has(kHost) ? kMmuEl2 : kMmuEl1;
    }

private:
    u64 value_ = 0;
};

}  // namespace tandem::cpu::arm64
