// The common run loop: every exit of every engine passes through dispatch(), which is the one trace point and the one way to
// the machine.
#pragma once

#include "accel/accelerator.h"

namespace tandem::accel {

// Traces `exit` (contract T1, when log category Exits is on) and lets the handler perform it. vCPU thread.
void dispatch(Vcpu& vcpu, ExitHandler& handler, Exit& exit);

// Runs the vCPU, dispatching what the handler completes and sleeping through halts, until an exit that ends or interrupts
// the run: Requested, Shutdown, Debug, SystemEvent, EmulationFailure or InternalError. vCPU thread.
Exit run_until_event(Vcpu& vcpu, ExitHandler& handler);

}  // namespace tandem::accel
