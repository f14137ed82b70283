// FPCR and FPSR while guest code runs. Floating point in lifted code runs on the host's FPU: the host's control register
// (FrameHeader::guest_mxcsr) has the rounding mode of FPCR with all exceptions masked, and collects the exception flags.
// State::fpsr holds the flags up to the last synchronisation, those of the exact functions, and QC.
#pragma once

#include "cpu/arm64/fpu/control.h"
#include "cpu/arm64/translate_state.h"

namespace tandem::cpu::arm64::fpu {

// Whether FPCR asks for what the host does not do: flushing and default NaNs. Alternative half precision concerns
// conversions only, which look at AHP themselves. Part of BlockKey::mode (ModeBits::kFpExact).
constexpr bool needs_exact(u32 control) { return (control & (fpcr::FZ | fpcr::DN | fpcr::FZ16 | fpcr::AHP)) != 0; }

// Outside run(): takes the flags that guest code left in FrameHeader::guest_mxcsr into State::fpsr / puts FPCR's rounding
// mode there after an import.
void status_from_frame(TranslateState& t);
void control_to_frame(TranslateState& t);

// In helpers, on the vCPU's thread. write_fpcr(): the mode of the code that follows may have changed.
u32 read_fpsr(const TranslateState& t);
void write_fpsr(TranslateState& t, u32 value);
void write_fpcr(TranslateState& t, u32 value);

}  // namespace tandem::cpu::arm64::fpu
