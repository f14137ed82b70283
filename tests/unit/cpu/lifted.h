// One guest instruction: decoded, lifted, verified and run on the interpreter, on a FlatVcpu.
#pragma once

#include <span>
#include <string>

#include "cpu/x86/model.h"
#include "flat_memory.h"
#include "jit/guest/guest.h"
#include "jit/interp/interpreter.h"

namespace tandem::test {

class LiftedRunner {
public:
    LiftedRunner();

    // The instruction at kPc, in the mode that the state says (64-bit at CPL 0 with all of SSE enabled at first). The
    // result's `error` tells what went wrong in lifting or verifying; `leave` how the block was left.
    static constexpr u64 kPc = 0x100;
    struct Outcome {
        std::string error;
        jit::ir::LeaveReason leave = jit::ir::LeaveReason::None;
    };
    Outcome run(std::span<const u8> instruction);

    FlatVcpu vcpu;
    cpu::x86::State& state() { return vcpu.state().s; }

private:
    cpu::x86::CpuModel model_;
    std::unique_ptr<jit::Guest> guest_;
    jit::interp::Interpreter interpreter_;
    jit::TlbEntry empty_;  // a soft TLB that misses always
};

}  // namespace tandem::test
