// Lifting of one basic block.
#pragma once

#include "cpu/x86/model.h"
#include "jit/guest/guest.h"

namespace tandem::cpu::x86 {

// Guest::lift. Any thread. Before an instruction at `sought_pc` the block may be left (jit::Hold).
jit::LiftStatus lift_block(const CpuModel& model, const jit::ir::BlockKey& key, const jit::CodeWindow& code,
                           unsigned max_insns, jit::ir::Block& out, u64 sought_pc = ~u64{0});

}  // namespace tandem::cpu::x86
