// Lifting of a block: Guest::lift for arm64.
#pragma once

#include "cpu/arm64/model.h"
#include "jit/guest/guest.h"

namespace tandem::cpu::arm64 {

jit::LiftStatus lift_block(const CpuModel& model, const jit::ir::BlockKey& key, const jit::CodeWindow& code,
                           unsigned max_insns, jit::ir::Block& out);

}  // namespace tandem::cpu::arm64
