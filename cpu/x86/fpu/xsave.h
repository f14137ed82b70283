// FXSAVE, FXRSTOR and the XSAVE family (SDM volume 1, 10.5 and chapter 13). #UD and #NM by CR0 and CR4 are the lifter's.
#pragma once

#include <span>

#include "base/bits.h"
#include "cpu/x86/system/system.h"
#include "cpu/x86/translate_state.h"

namespace tandem::cpu::x86 {

enum class XsaveForm : u8 { Xsave, Xsaveopt, Xsavec, Xsaves };

// Packed instruction description, as IR passes it.
struct XsaveSpec {
    u32 value = 0;

    // `wide`: REX.W, 64-bit instruction and operand pointers.
    static constexpr XsaveSpec make(XsaveForm form, bool wide, unsigned mmu) {
        return {static_cast<u32>(form) | (wide ? 4u : 0u) | mmu << 3};
    }
    [[nodiscard]] constexpr XsaveForm form() const { return static_cast<XsaveForm>(value & 3); }
    [[nodiscard]] constexpr bool wide() const { return bit(value, 2); }
    [[nodiscard]] constexpr unsigned mmu() const { return (value >> 3) & 15; }
};

// `form` is ignored by the first two; for xrstor Xsaves means XRSTORS, anything else XRSTOR. The restoring ones may change
// what blocks depend on (MXCSR's masks, PKRU): they end the block.
LeaveReason fxsave(TranslateState* t, u32 spec, u64 va);
LeaveReason fxrstor(TranslateState* t, u32 spec, u64 va);
LeaveReason xsave(TranslateState* t, u32 spec, u64 va);
LeaveReason xrstor(TranslateState* t, u32 spec, u64 va);

// State components (bits of XCR0) that the model offers.
u64 xsave_components(const CpuModel& model);
// XINUSE: the components that are not in their initial state (SDM volume 1, 13.6).
u64 xsave_in_use(const State& s);
// Offset in the standard format and size of component 2..62; both 0 when there is no such component.
struct XsavePlace {
    u32 offset = 0;
    u32 size = 0;
};
XsavePlace xsave_place(unsigned component);
// Bytes of an area that holds `components`, header included.
u32 xsave_area_size(u64 components, bool compacted);

// A processor's x87, SSE and extended state as an area in the standard format (SDM volume 1, 13.4), all of its registers
// whatever its mode, for whoever exchanges state in that form. `area`: at least 576 bytes; components beyond its end are
// left out, and are in their initial state after a read. `components`: what XSTATE_BV may name.
void write_xsave_area(const State& s, u64 components, std::span<u8> area);
void read_xsave_area(std::span<const u8> area, State& s);

}  // namespace tandem::cpu::x86
