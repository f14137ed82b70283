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
    bool unclaimed = false;  // answer: nothing is at that address (Arm: the translator raises an external abort)
};
struct MsrExit {
    u32 index = 0;
    bool write = false;
    bool fault = true;  // answer: raise #GP(0)
    u64 data = 0;
};
// Arm: a system register that the machine has, not the processor (the GIC's ICC_, ICV_ and ICH_ registers).
struct SystemRegisterExit {
    enum class Answer : u8 {
        Undefined,  // there is no such register: the instruction is UNDEFINED
        Done,
        TrapToEl2,  // as a trapped MSR or MRS (ESR_EL2.EC 0x18)
    };
    u16 encoding = 0;  // op0:op1:CRn:CRm:op2, bits 15:14, 13:11, 10:7, 6:3, 2:0 (devices/fabric/system_register.h)
    u8 level = 0;      // exception level of the access
    bool write = false;
    // HCR_EL2.IMO and FMO, or TGE, are in effect: EL1 sees its virtual interrupts.
    bool routes_irq = false, routes_fiq = false;
    Answer answer = Answer::Undefined;
    u64 data = 0;  // written value, or the answer
};
// VMCALL and VMMCALL of x86; HVC and SMC of Arm where no exception level of the guest takes them (SMCCC 1.1: number in W0,
// arguments in X1 to X7, results in X0 to X3).
struct HypercallExit {
    enum class Conduit : u8 { Vmcall, Hvc, Smc };
    static constexpr unsigned kArguments = 7, kMoreResults = 3;
    u64 number = 0;
    u64 args[kArguments] = {};
    u64 result = 0;          // answer
    bool long_mode = false;  // from 64-bit code: all 64 bits of the numbers count
    Conduit conduit = Conduit::Vmcall;
    u16 immediate = 0;                    // Arm: of the instruction; SMCCC uses 0
    u64 more_results[kMoreResults] = {};  // answer, Arm: X1 to X3; the engine presets what they hold
    // Answer: how the processor goes on behind the instruction. Undefined: the machine has nobody on that conduit.
    enum class Then : u8 { Continue, WaitForInterrupt, PowerOff, Undefined } then = Then::Continue;
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

using Exit = std::variant<PortExit, MmioExit, MsrExit, HypercallExit, SystemRegisterExit, HaltExit, ShutdownExit, DebugExit,
                          RequestedExit, SystemEventExit, EmulationFailureExit, InternalErrorExit>;

// Whether a machine's ExitHandler completes this exit, after which the vCPU can go on.
inline bool is_access(const Exit& exit) {
    return std::holds_alternative<PortExit>(exit) || std::holds_alternative<MmioExit>(exit) ||
           std::holds_alternative<MsrExit>(exit) || std::holds_alternative<HypercallExit>(exit) ||
           std::holds_alternative<SystemRegisterExit>(exit);
}

}  // namespace tandem::accel
