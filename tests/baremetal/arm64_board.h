// The smallest board that can run an A64 guest: RAM, a character port and what a guest needs of PSCI and the timers, at the
// places of the virt machine, so that the same files run on other boards of that kind.
//   a store to 0x09000000        one character of output
//   a store to 0x09080000        sets an input of the interrupt controller: GIC number in bits 15:0, level in bit 16
//   SMC with 0x84000008 in X0    SYSTEM_OFF: the guest is done
//   SMC with 0xc4000003 in X0    CPU_ON: starts the second processor at X2; guests called smp_* have one
// Guests with gicv2 or gicv3 in their names have that controller for two processors, with GICv2m or ITS.
// The interrupt of the performance monitors is the IRQ line.
#pragma once

#include "cpu/arm64/model.h"
#include "tests/baremetal/board.h"

namespace tandem::tests {

// Runs a flat binary, loaded at 0x40100000 and entered there at EL2, until SYSTEM_OFF; its status is 0 when its last line is
// "ok". `seconds`: after that the guest counts as hung.
GuestRun run_arm64_guest(const std::string& path, const jit::Options& options, unsigned seconds = 20);

}  // namespace tandem::tests
