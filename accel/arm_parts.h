// What an engine for Arm guests has of the board beside processors, where it is more than the translator's.
#pragma once

#include "base/result.h"
#include "devices/fabric/host_gic.h"

namespace tandem::accel {

// An Accelerator may be one, too. Then PSCI is the engine's: it powers processors on and off by itself, and the machine asks
// processors' states. So are the generic timers.
class ArmParts {
public:
    virtual ~ArmParts() = default;
    // Has the engine run the interrupt controller, from when the model gives it away (devices::Gic::give). Once, before the
    // first vCPU (contract I5; else Busy). Null: the machine's model serves this engine. Unsupported: the engine can do
    // neither. The controller lives as long as the engine.
    virtual Result<devices::HostGic*> create_host_gic(const devices::HostGicConfig& config) = 0;
};

}  // namespace tandem::accel
