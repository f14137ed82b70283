// The x86 guest for the translator.
#pragma once

#include <atomic>
#include <memory>

#include "cpu/x86/model.h"
#include "cpu/x86/translate_state.h"
#include "jit/guest/guest.h"

namespace tandem::cpu::x86 {

// `model` must outlive the guest and every state that runs on it; so must `sought_pc`, where given: blocks are lifted so
// that they can be left before the instruction there (jit::Hold). Who changes it drops what was translated of that
// instruction.
std::unique_ptr<jit::Guest> create_guest(const CpuModel& model, const std::atomic<u64>* sought_pc = nullptr);

}  // namespace tandem::cpu::x86
