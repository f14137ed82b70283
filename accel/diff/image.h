// Between an experiment's registers and a processor's whole state.
#pragma once

#include "accel/diff/test_case.h"
#include "cpu/x86/state.h"

namespace tandem::accel::diff {

// General registers, flags, x87, SSE and AVX; the other registers of `state` stay as they are.
void load_image(const CpuImage& image, cpu::x86::State& state);
void store_image(const cpu::x86::State& state, CpuImage& image);

}  // namespace tandem::accel::diff
