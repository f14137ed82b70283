// What an x86 processor does with the signals that reach it between instructions, whichever engine runs it.
#pragma once

#include <functional>

#include "accel/vcpu_base.h"
#include "cpu/x86/state.h"

namespace tandem::accel {

// A halt ends with an NMI, by x86_take_unhalt() and, with RFLAGS.IF, with an interrupt; INIT and SIPI come to it through
// x86_take_init_and_sipi(), and a processor that waits for SIPI takes nothing else (SDM vol. 3, 8.4.4).
Rest x86_rest(cpu::x86::Activity activity, bool interrupts_enabled, const SignalWord& signals,
              const devices::CpuInterruptController& controller);

// Takes INIT and SIPI (SDM vol. 3, 8.4.4 and table 9-1). `change` applies a function to the vCPU's state and answers what
// the processor is doing afterwards; it is called at most twice. `bootstrap`, `signature`: as for cpu::x86::init().
using X86Change = std::function<Result<cpu::x86::Activity>(const std::function<void(cpu::x86::State&)>& f)>;
Result<void> x86_take_init_and_sipi(SignalWord& signals, cpu::x86::Activity activity, bool bootstrap, u32 signature,
                                    const X86Change& change);

// Whether a halt ends now on request (UnhaltVcpu), which is taken.
bool x86_take_unhalt(SignalWord& signals, cpu::x86::Activity activity);

// A state that is shown to the outside holds what has arrived and waits; one that is replaced from outside has nothing
// waiting.
void x86_show_signals(const SignalWord& signals, cpu::x86::State& state);
void x86_drop_signals(SignalWord& signals);

}  // namespace tandem::accel
