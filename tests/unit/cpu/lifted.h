// One guest instruction: decoded, lifted, verified and run on the interpreter, on a FlatVcpu.
#pragma once

#include <span>
#include <string>

#include "cpu/x86/decode/instruction.h"
#include "cpu/x86/lift/lifter.h"
#include "cpu/x86/model.h"
#include "flat_memory.h"
#include "jit/guest/guest.h"
#include "jit/interp/interpreter.h"

namespace tandem::test {

class LiftedRunner {
public:
    LiftedRunner();

    // 64-bit mode at CPL `cpl`, vector extensions enabled; `mode` adds bits. The result's `error` tells what went wrong in
    // decoding, lifting or verifying; `leave` how the block was left.
    struct Outcome {
        std::string error;
        jit::ir::LeaveReason leave = jit::ir::LeaveReason::None;
    };
    Outcome run(std::span<const u8> instruction, cpu::x86::ModeBits mode);

    FlatVcpu vcpu;
    cpu::x86::State& state() { return vcpu.state().s; }

private:
    cpu::x86::CpuModel model_;
    std::unique_ptr<jit::Guest> guest_;
    jit::interp::Interpreter interpreter_;
    jit::TlbEntry empty_;  // a soft TLB that misses always
};

// 64-bit mode, CPL 0, everything enabled.
cpu::x86::ModeBits mode64();

}  // namespace tandem::test
