// A debugger's breakpoints beside the guest's (contract D2), as the translator knows them.
#pragma once

#include <optional>
#include <vector>

#include "base/types.h"
#include "cpu/x86/translate_state.h"
#include "jit/guest/frame.h"

namespace tandem::cpu::x86 {

// One per vCPU; outlives its use by a state. vCPU thread.
struct Debugger {
    struct Breakpoint {
        enum class Kind : u8 { Execute, Write, Access } kind = Kind::Execute;
        u8 size = 1;
        u64 address = 0;  // linear
    };
    struct Stop {
        bool data = false;
        u64 address = 0;  // of the breakpoint
    };
    std::vector<Breakpoint> breakpoints;
    std::optional<Stop> stop;   // met: the vCPU has left (LeaveReason::Exit) at an instruction boundary
    std::optional<u64> passed;  // linear address of the instruction that a stop was answered at, until it executes
    bool stepping = false;      // one instruction is executed, also where there is a breakpoint
    u64 data = 0;               // address of the data breakpoint that waits for the boundary
};

// State::debug_trap while the translator has it: a data breakpoint of the debugger's waits for the next boundary, as DR6
// bits do.
constexpr u64 kDebuggerTrap = u64{1} << 32;

// Null: there are no breakpoints. The state is in a translator's frame.
inline Debugger* debugger_of(const TranslateState& t) { return reinterpret_cast<Debugger*>(jit::header_of(&t).spare2[1]); }
// The mode of code depends on whether there is one: state_replaced() follows.
inline void set_debugger(TranslateState& t, Debugger* debugger) {
    jit::header_of(&t).spare2[1] = reinterpret_cast<u64>(debugger);
}

}  // namespace tandem::cpu::x86
