// What an engine that counts instructions can do beyond Vcpu: stop at exactly a number of them, and say what memory it
// wrote. vCPU thread, or while nobody runs it.
#pragma once

#include <functional>
#include <vector>

#include "base/types.h"
#include "cpu/arch_state.h"

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

    // From now on run() answers Requested before an instruction that needs something from outside, and step() executes it.
    enum class Held : u8 {
        No,      // run() came back for another reason
        Access,  // to a device, a register of the machine's, a hypercall
        Value,   // that no two processors agree on: time-stamp counter, random number, CPUID
        Sought,  // a state with the pc and the general registers that seek() was given
    };
    virtual void hold_accesses() = 0;
    // Why run() came back last.
    [[nodiscard]] virtual Held held() const = 0;
    // What run() looks for from now on, or null. Whoever calls it tells the engine afterwards that the code at both the old
    // and the new pc was written (devices::GuestMemory::commit), so that it is translated anew.
    virtual void seek(const cpu::ArchState* target) = 0;
    // Where RDRAND and RDSEED take their values from, in place of the host.
    virtual void set_random_source(std::function<u64()> source) = 0;
};

}  // namespace tandem::accel
