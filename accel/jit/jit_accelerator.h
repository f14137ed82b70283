// Binds cpu/<isa> to the translator.
#pragma once

#include "accel/accelerator.h"
#include "cpu/x86/model.h"
#include "jit/runtime/translator.h"

namespace tandem::accel {

// Errors as create_translator's. The model is copied.
Result<std::unique_ptr<Accelerator>> create_jit_accelerator(const cpu::x86::CpuModel& model, const jit::Options& options);

}  // namespace tandem::accel
