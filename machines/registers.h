// The registers of a machine's processors by number (contracts R1 to R3).
#pragma once

#include "accel/state_registers.h"
#include "machines/machine.h"

namespace tandem::machines {

// In while_stopped() or, by the main thread, before run(), and for as long as that lasts. InvalidArgument: there is no such
// processor; Unsupported: the machine was made without a CPU model.
Result<accel::StateRegisters> registers_of(Machine& machine, unsigned cpu);

}  // namespace tandem::machines
