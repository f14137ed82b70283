// What an engine that counts instructions can do beyond Vcpu: stop at exactly a number of them, and say what memory it
// wrote. vCPU thread, or while nobody runs it.
#pragma once

#include <functional>
#include <vector>

#include "base/types.h"

namespace tandem::accel {

class ExactVcpu {
public:
    virtual ~ExactVcpu() = default;
    // Instructions retired and events delivered since the vCPU was made.
    [[nodiscard]] virtual u64 instructions() const = 0;
    // run() answers Requested when instructions() has come to exactly this; an interrupt that is pending then is taken
    // first.
    virtual void set_instruction_limit(u64 limit) = 0;
    // Pages that the vCPU begins to write are appended by guest-physical address, some more than once, each at least once
    // after a call of forget_writes(). Null: no longer.
    virtual void track_writes(std::vector<u64>* pages) = 0;
    virtual void forget_writes() = 0;
    // Where RDRAND and RDSEED take their values from, in place of the host.
    virtual void set_random_source(std::function<u64()> source) = 0;
};

}  // namespace tandem::accel
