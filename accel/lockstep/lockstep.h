// Two engines that run the same machine, one after the other from exit to exit, and are compared at each.
#pragma once

#include "accel/lockstep/side.h"

namespace tandem::accel::lockstep {

struct LockstepOptions {
    EngineSpec leader, follower;
    std::string cpu;        // -cpu, for the reproducer
    std::string directory;  // where a difference's reproducer goes
};

// The leader's exits go to the machine; the follower runs the same instructions with the leader's answers, and interrupts at
// the same ones. After each stretch registers and written memory are compared. A difference ends the run with InternalError,
// whose text says where, and leaves a reproducer. Each engine has its own copy of memory, and what both agreed on last is a
// third. One processor only. Errors as the engines'.
Result<std::unique_ptr<Accelerator>> create_lockstep_accelerator(LockstepOptions options);

}  // namespace tandem::accel::lockstep
