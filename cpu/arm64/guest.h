// The AArch64 guest for the translator.
#pragma once

#include <memory>

#include "cpu/arm64/model.h"
#include "cpu/arm64/translate_state.h"
#include "jit/guest/guest.h"

namespace tandem::cpu::arm64 {

// `model` must outlive the guest and every state that runs on it.
std::unique_ptr<jit::Guest> create_guest(const CpuModel& model);

}  // namespace tandem::cpu::arm64
