// For whoever runs a vCPU behind another engine (accel/lockstep): generated code leaves before an instruction that asks for
// something from outside, so that its answer can be at hand when VcpuTranslator::step() executes it.
#pragma once

#include "jit/guest/frame.h"

namespace tandem::jit {

// One per vCPU; lives as long as the header points at it. vCPU thread.
struct Hold {
    enum class Reason : u8 {
        None,
        Access,  // of a port, a device's memory, a register of the machine's; a hypercall
        Value,   // that differs from one processor to the next: time-stamp counter, random number, CPUID
        Sought,  // the state that is looked for
    };
    Reason reason = Reason::None;    // why run() has come back
    bool stepping = false;           // one instruction is executed, whatever it is
    const u64* registers = nullptr;  // what is looked for: the guest's general registers
};

inline Hold* hold_of(const FrameHeader& header) { return reinterpret_cast<Hold*>(header.spare2[0]); }
// Null: the vCPU does not leave. run() then returns Attention, with the reason set, and the instruction has done nothing.
inline void set_hold(FrameHeader& header, Hold* hold) { header.spare2[0] = reinterpret_cast<u64>(hold); }

inline bool was_held(const FrameHeader& header) {
    const Hold* const hold = hold_of(header);
    return hold != nullptr && hold->reason != Hold::Reason::None;
}

// Whether the instruction that executes is to be left, by LeaveReason::Interpret.
inline bool held_before(const FrameHeader& header, Hold::Reason reason) {
    Hold* const hold = hold_of(header);
    if (hold == nullptr || hold->stepping) return false;
    hold->reason = reason;
    return true;
}

}  // namespace tandem::jit
