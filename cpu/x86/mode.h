// BlockKey::mode of the x86 guest: everything besides the code bytes and their address that changes what lift() emits.
// Whatever changes one of these bits ends its block with LeaveReason::Lookup.
#pragma once

#include "base/bits.h"
#include "cpu/x86/decode/instruction.h"
#include "cpu/x86/state.h"

namespace tandem::cpu::x86 {

struct TranslateState;

// How much the lifter knows of a segment outside 64-bit mode.
enum class SegmentClass : u8 {
    Checked,  // every access asks check_segment()
    Simple,   // expand-up, readable (and writable unless CS), limit >= 0xffff: base and limit are applied inline
    Flat,     // Simple with base 0 and limit 4 GiB - 1: offset is linear address
};

class ModeBits {
public:
    enum Bit : u8 {
        kCodeSize = 0,       // 2 bits: Mode
        kCpl = 2,            // 2 bits
        kProtected = 4,      // CR0.PE
        kVm86 = 5,           // EFLAGS.VM
        kLongMode = 6,       // EFER.LMA
        kStack32 = 7,        // SS.B; the stack is 64 bits wide in 64-bit mode
        kSegments = 8,       // 2 bits for each SegReg: SegmentClass; zero in 64-bit mode
        kIoplOk = 20,        // CPL <= IOPL, or real-address mode
        kDebug = 21,         // debug_active(): one-instruction blocks that begin with debug_begin()
        kShadow = 22,        // shadow_active(): a one-instruction block that clears the shadow
        kAlignCheck = 23,    // CR0.AM, EFLAGS.AC and CPL 3
        kSmapOverride = 24,  // EFLAGS.AC at CPL 0..2
        kTs = 25,            // CR0
        kEm = 26,
        kMp = 27,
        kNe = 28,
        kOsFxsr = 29,  // CR4
        kOsXsave = 30,
        kOsXmmExcpt = 31,
        kFsGsBase = 32,
        kTsd = 33,
        kUmip = 34,
        kMxcsrUnmasked = 35,  // at least one SSE exception is unmasked
        kAvx = 36,            // OSXSAVE and XCR0[2:1] = 3
        kAvx512 = 37,         // OSXSAVE and XCR0[7:5,2:1] all set
        kLa57 = 38,           // CR4
        kSvmGuest = 39,       // between VMRUN and #VMEXIT: instructions ask for their intercepts
        kLastBranch = 40,     // DEBUGCTL.LBR: branches are noted
        kPauseWindow = 41,    // Svm::pause_window: one-instruction blocks that count it down
    };

    ModeBits() = default;
    explicit constexpr ModeBits(u64 value) : value_(value) {}
    // The mode that `t` executes in.
    static ModeBits of(const TranslateState& t);

    [[nodiscard]] constexpr u64 value() const { return value_; }
    [[nodiscard]] constexpr bool has(Bit b) const { return bit(value_, b); }
    [[nodiscard]] constexpr Mode code() const { return static_cast<Mode>(bits(value_, kCodeSize + 1, kCodeSize)); }
    [[nodiscard]] constexpr bool is64() const { return code() == Mode::Bits64; }
    [[nodiscard]] constexpr unsigned cpl() const { return static_cast<unsigned>(bits(value_, kCpl + 1, kCpl)); }
    [[nodiscard]] constexpr SegmentClass segment(unsigned seg) const {
        return static_cast<SegmentClass>(bits(value_, kSegments + 2 * seg + 1, kSegments + 2 * seg));
    }
    // Protected mode proper: segmentation by descriptors, privilege levels.
    [[nodiscard]] constexpr bool protected_mode() const { return has(kProtected) && !has(kVm86); }
    [[nodiscard]] constexpr unsigned linear_bits() const { return has(kLa57) ? 57 : 48; }
    // Bytes of the stack pointer that count.
    [[nodiscard]] constexpr unsigned stack_bytes() const { return is64() ? 8 : has(kStack32) ? 4 : 2; }
    // MMU index of explicit data accesses.
    [[nodiscard]] constexpr unsigned data_mmu() const { return cpl() == 3 ? 2 : has(kSmapOverride) ? 1 : 0; }
    [[nodiscard]] constexpr unsigned fetch_mmu() const { return cpl() == 3 ? 2 : 0; }
    // The block holds one instruction and is left through the dispatcher.
    [[nodiscard]] constexpr bool single() const { return has(kDebug) || has(kShadow) || has(kPauseWindow); }

    constexpr ModeBits& put(Bit b, u64 field) {
        value_ |= field << b;
        return *this;
    }

private:
    u64 value_ = 0;
};

}  // namespace tandem::cpu::x86
