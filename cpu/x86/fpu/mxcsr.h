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

// Bracket of one SIMD floating-point instruction while an exception is unmasked. begin() clears the flags; the instruction's
// result then goes to scratch_vec[0]; end() raises #XM (#UD with CR4.OSXMMEXCPT = 0) or lets the instruction complete.
// `tiny`: how the result's elements are examined for an exact denormal, which underflows when underflow is unmasked.
enum class Tiny : u32 { None, PackedSingle, PackedDouble, ScalarSingle, ScalarDouble };
void simd_begin(TranslateState* t);
LeaveReason simd_end(TranslateState* t, u32 tiny);

}  // namespace tandem::cpu::x86
