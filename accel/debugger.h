// Breakpoints of a debugger beside those of the guest (contracts D2 and D3): what an x86 engine's vCPU can do beyond Vcpu.
#pragma once

#include <span>

#include "base/result.h"
#include "base/types.h"

namespace tandem::accel {

struct Breakpoint {
    enum class Kind : u8 { Execute, Write, Access };
    u64 address = 0;  // linear; a multiple of the size
    u8 size = 1;      // bytes: 1, 2, 4 or 8; Execute: 1
    Kind kind = Kind::Execute;
};

class DebuggedVcpu {
public:
    static constexpr unsigned kMost = 4;  // as many as an engine may need the processor's registers for
    virtual ~DebuggedVcpu() = default;
    // Replaces what the debugger has set. run() then answers Debug{Breakpoint} before an instruction, and goes on with it
    // when it is called again; run() and step() answer Debug{Watchpoint} behind an instruction that has accessed data, with
    // the breakpoint's address. What the guest sets in its own debug registers keeps its meaning, and neither sees the
    // other's; where both want the same instruction or data, the debugger is told first. An engine that has the processor's
    // four registers only gives them to the guest first: what does not fit into the others is said in the log and does not
    // stop. The guest's state does not have these breakpoints. InvalidArgument: more than kMost, or one that is not
    // as above. vCPU thread, or while nobody runs it.
    virtual Result<void> set_debugger(std::span<const Breakpoint> breakpoints) = 0;
};

// The check that every engine makes.
Result<void> check_breakpoints(std::span<const Breakpoint> breakpoints);

}  // namespace tandem::accel
