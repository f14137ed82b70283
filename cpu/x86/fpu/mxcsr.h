// MXCSR, and SIMD floating-point exceptions.
//
// While guest code runs, the host's MXCSR holds the guest's with all exceptions masked (FrameHeader::guest_mxcsr), and
// collects its exception flags; State::mxcsr holds the guest's masks and controls and the flags up to the last
// synchronisation.
#pragma once

#include "cpu/x86/system/system.h"
#include "cpu/x86/translate_state.h"

namespace tandem::cpu::x86 {

namespace mxcsr {
constexpr u32 Flags = 0x3f, DAZ = 1u << 6, Masks = 0x3fu << 7, RC = 3u << 13, FZ = 1u << 15;
constexpr u32 Defined = 0xffff;  // MXCSR_MASK
constexpr u32 IE = 1u << 0, DE = 1u << 1, ZE = 1u << 2, OE = 1u << 3, UE = 1u << 4, PE = 1u << 5;
constexpr u32 Default = 0x1f80;
}  // namespace mxcsr

// The value to run guest code under.
constexpr u32 host_image(u32 guest) { return guest | mxcsr::Masks; }
// True when blocks must watch for SIMD floating-point exceptions; part of BlockKey::mode.
constexpr bool unmasked_exceptions(u32 guest) { return (guest & mxcsr::Masks) != mxcsr::Masks; }

// Outside run(): takes the flags that guest code left in FrameHeader::guest_mxcsr into State::mxcsr / the reverse after an
// import.
void mxcsr_from_frame(TranslateState& t);
void mxcsr_to_frame(TranslateState& t);

// In helpers, on the vCPU's thread: the current value; a write, which changes the host's register (`value` has no reserved
// bit).
u32 read_mxcsr(const TranslateState& t);
void write_mxcsr(TranslateState& t, u32 value);

// LDMXCSR (#GP(0) for reserved bits), after the load. Ends the block: the mode may have changed.
LeaveReason ldmxcsr(TranslateState* t, u32 value);
// STMXCSR's value.
u32 stmxcsr(TranslateState* t);

// What an operation's elements are and how they are made, as far as unmasked overflow and underflow ask for it: those look
// at the result with an unbounded exponent (SDM volume 1, 4.9.1.4 and 4.9.1.5), which the host does not show while they are
// masked.
enum class SimdElements : u8 { None, PackedSingle, PackedDouble, ScalarSingle, ScalarDouble };
enum class SimdArith : u8 { None, Add, Sub, Mul, Div, AddSub, HorizontalAdd, HorizontalSub, Narrow, Dot, NarrowHalf, Fused };
struct SimdCheck {
    u32 value = 0;  // as IR passes it
    static constexpr SimdCheck make(SimdElements elements, SimdArith arith, u8 imm = 0) {
        return {static_cast<u32>(elements) | static_cast<u32>(arith) << 3 | u32{imm} << 8};
    }
    [[nodiscard]] constexpr SimdElements elements() const { return static_cast<SimdElements>(value & 7); }
    [[nodiscard]] constexpr SimdArith arith() const { return static_cast<SimdArith>((value >> 3) & 31); }
    // The instruction's immediate (Dot, NarrowHalf), or its opcode byte (Fused).
    [[nodiscard]] constexpr u8 imm() const { return static_cast<u8>(value >> 8); }
    // Of 32-byte operands.
    [[nodiscard]] constexpr SimdCheck widened() const { return {value | 1u << 16}; }
    [[nodiscard]] constexpr bool wide() const { return (value >> 16 & 1) != 0; }
    [[nodiscard]] constexpr bool is_single() const {
        return elements() == SimdElements::PackedSingle || elements() == SimdElements::ScalarSingle;
    }
    [[nodiscard]] constexpr bool is_packed() const {
        return elements() == SimdElements::PackedSingle || elements() == SimdElements::PackedDouble;
    }
};

// Bracket of one SIMD floating-point instruction while an exception is unmasked. begin() clears the flags; end() raises #XM
// (#UD with CR4.OSXMMEXCPT = 0) or lets the instruction complete. Before end(), when there is something to check: the
// operands in TranslateState::simd_operand.
void simd_begin(TranslateState* t);
LeaveReason simd_end(TranslateState* t, u32 check);

// The flags that the operation on t.simd_operand raises under `control`, whose masks count. For simd_end.
u32 simd_flags(const TranslateState& t, SimdCheck check, u32 control);
// The host's MXCSR for a watched operation: all exceptions masked, flags clear. Flush-to-zero needs underflow masked (SDM
// volume 1, 10.2.3.3).
u32 watched_image(u32 control);
// Exceptions found before an operation; when one of them is unmasked, those found after it are not reported (SDM volume
// 1, 11.5.3.2).
constexpr u32 kPreComputation = mxcsr::IE | mxcsr::DE | mxcsr::ZE;

}  // namespace tandem::cpu::x86
