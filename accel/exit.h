// Why a vCPU stopped running guest code, and what it needs before it can go on. One closed sum type for every engine.
// Reads carry an `answer` slot: whoever handles the exit fills it in, and the engine completes the instruction on the next
// run.
#pragma once

#include <string>
#include <variant>

#include "base/types.h"

namespace tandem::accel {

struct PortExit {
    u16 port = 0;
    u8 size = 1;  // 1, 2 or 4
    bool write = false;
    bool string = false;  // INS/OUTS
    bool rep = false;
    u32 data = 0;            // written value, or the answer
    bool immediate = false;  // x86: the port is in the instruction, not in DX
};
struct MmioExit {
    u64 address = 0;  // guest-physical
    u8 size = 1;      // 1, 2, 4 or 8
    bool write = false;
    u64 data = 0;
};
struct MsrExit {
    u32 index = 0;
    bool write = false;
    bool fault = true;  // answer: raise #GP(0)
    u64 data = 0;
};
struct HypercallExit {
    u64 number = 0;
    u64 args[4] = {};
    u64 result = 0;          // answer
    bool long_mode = false;  // from 64-bit code: all 64 bits of the numbers count
};
struct HaltExit {
    // A request_exit() came while the vCPU was on its way to this exit, which answers it (contract U3): do not sleep on it.
    bool requested = false;
};
// A processor reached the shutdown state (x86: triple fault).
struct ShutdownExit {
    u64 pc = 0;
};
struct DebugExit {
    enum class Reason : u8 { Breakpoint, Watchpoint, SingleStep } reason = Reason::SingleStep;
    u64 pc = 0;
    u64 address = 0;  // Watchpoint: the data address
};
// Vcpu::request_exit() was called (contract U2).
struct RequestedExit {};
struct SystemEventExit {
    enum class Kind : u8 { Reset, PowerOff, Crash } kind = Kind::Reset;
};
// The engine cannot execute the instruction at pc.
struct EmulationFailureExit {
    u64 pc = 0;
    std::string why;
};
struct InternalErrorExit {
    std::string why;
};

using Exit = std::variant<PortExit, MmioExit, MsrExit, HypercallExit, HaltExit, ShutdownExit, DebugExit, RequestedExit,
                          SystemEventExit, EmulationFailureExit, InternalErrorExit>;

// Whether a machine's ExitHandler completes this exit, after which the vCPU can go on.
inline bool is_access(const Exit& exit) {
    return std::holds_alternative<PortExit>(exit) || std::holds_alternative<MmioExit>(exit) ||
           std::holds_alternative<MsrExit>(exit) || std::holds_alternative<HypercallExit>(exit);
}

}  // namespace tandem::accel
