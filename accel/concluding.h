// What an engine that finds things out beside the guest's run can do beyond Vcpu once the guest has ended by itself.
#pragma once

#include <functional>

#include "base/result.h"

namespace tandem::accel {

class ConcludingVcpu {
public:
    virtual ~ConcludingVcpu() = default;
    // Finishes what is still to be found out, unless `stop`, which is asked often, says true meanwhile. The error is what
    // was found. While nobody runs the vCPU.
    virtual Result<void> conclude(const std::function<bool()>& stop) = 0;
};

}  // namespace tandem::accel
