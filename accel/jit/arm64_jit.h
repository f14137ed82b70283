// The AArch64 guest on the translator.
#pragma once

#include "accel/jit/jit_accelerator.h"
#include "cpu/arm64/model.h"

namespace tandem::accel {

// Errors as jit::create_translator's. The model is copied.
Result<std::unique_ptr<Accelerator>> create_jit_accelerator(const cpu::arm64::CpuModel& model, const jit::Options& options);

}  // namespace tandem::accel
