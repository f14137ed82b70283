// The smallest board that can run a test guest: RAM, a debug port, an exit port and an interrupt port, on any engine.
//   out 0xe9, al    one character of output
//   out 0xf4, al    the guest is done (al is its status)
//   out 0xe2, al    starts the second processor at al * 4096 in real mode; guests called smp_* have one
//   out 0xe3, al    raises INIT, after which the processor begins at 0x500 in real mode
//   out 0xe0, al    raises external interrupt vector al; out 0xe1, al raises an NMI
//   in al, 0xe5     0 where the check that the guest has named last ("left out? NAME") is to be left out
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "accel/accelerator.h"
#include "cpu/x86/model.h"
#include "jit/runtime/translator.h"

namespace tandem::tests {

struct GuestRun {
    int status = -1;  // -1: the guest shut down, hung, or the engine failed; `ending` says which
    std::string output;
    std::string ending;
    u64 regions_compiled = 0;  // by the LLVM tier
};

// Runs a flat binary, loaded at 0x7c00 and entered there in real mode with all segments 0, until it writes the exit port.
// `seconds`: after that the guest counts as hung; on tier=llvm, which waits for each compilation, smp_two may take 30.
// `left_out`: beginnings of names of checks.
using EngineMaker = std::function<Result<std::unique_ptr<accel::Accelerator>>(const cpu::x86::CpuModel& model)>;
GuestRun run_guest(const std::string& path, const EngineMaker& make_engine, const std::vector<std::string>& left_out = {},
                   unsigned seconds = 120);
GuestRun run_guest(const std::string& path, const jit::Options& options);

}  // namespace tandem::tests
