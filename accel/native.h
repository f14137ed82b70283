// What an engine that runs guest code on the host's processor can do beyond Vcpu for whoever compares it with another: it
// counts no instructions. vCPU thread, or while nobody runs it.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace tandem::accel {

class NativeVcpu {
public:
    static constexpr unsigned kBreakpoints = 4;
    virtual ~NativeVcpu() = default;
    // run() answers Debug{Breakpoint} before the instructions at these linear addresses, at most kBreakpoints; step() goes
    // on. The guest's own debug registers do not work meanwhile. Errors as the engine's.
    virtual Result<void> set_breakpoints(std::span<const u64> addresses) = 0;
    // How often it has gone into guest code.
    [[nodiscard]] virtual u64 entries() const = 0;
    // Pages that the guest has written since the last call, by guest-physical address, are appended. The first call begins
    // to keep the record.
    virtual Result<void> take_written(std::vector<u64>& pages) = 0;
};

}  // namespace tandem::accel
