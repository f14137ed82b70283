// One engine of a pair that runs from a journal: its vCPU, its copy of memory, and what it wrote.
#pragma once

#include <functional>
#include <memory>

#include "accel/lockstep/image.h"
#include "accel/lockstep/replayer.h"
#include "accel/native.h"
#include "cpu/x86/state.h"

namespace tandem::accel::lockstep {

// How an engine of a pair is made. `max_block`: 0 for one that runs a machine; else for short runs, with at most so many
// instructions in a block, and everything compiled as soon as it can be.
struct EngineSpec {
    std::string name;  // as in -accel lockstep,a=NAME
    std::function<Result<std::unique_ptr<Accelerator>>(u32 max_block)> create;
    // It runs on the host's processor and counts no instructions (accel/native.h).
    bool native = false;
};

class Side {
public:
    // An engine with a copy of `memory` and one vCPU. A native one goes step by step. Unsupported: the engine counts no
    // instructions and is not native.
    static Result<std::unique_ptr<Side>> create(const EngineSpec& spec, const devices::GuestMemory& memory, u32 max_block);
    ~Side();
    Side(const Side&) = delete;
    Side& operator=(const Side&) = delete;

    // Memory becomes `memory` again in the pages that were written, and the processor `state`; then runs `journal` to
    // `count` instructions.
    Result<void> restart(const devices::GuestMemory& memory, const cpu::ArchState& state, const Journal& journal, u64 count);
    // Goes on from where it is with another journal.
    Exit follow(const Journal& journal, u64 count);

    [[nodiscard]] Vcpu& vcpu() { return *vcpu_; }
    [[nodiscard]] Replayer& replayer() { return replayer_; }
    [[nodiscard]] devices::GuestMemory& memory() { return memory_; }
    [[nodiscard]] Accelerator& accelerator() { return *accelerator_; }
    Result<cpu::x86::State> state();
    // Null where the engine is native.
    [[nodiscard]] ExactVcpu* exact() { return exact_; }
    // Pages written since the last forget(), by the vCPU and by devices.
    [[nodiscard]] std::vector<u64> written();
    void forget();

private:
    Side() = default;

    Replayer replayer_;
    devices::GuestMemory memory_;
    std::unique_ptr<Accelerator> accelerator_;
    std::unique_ptr<Vcpu> vcpu_;
    ExactVcpu* exact_ = nullptr;
    NativeVcpu* native_ = nullptr;
    std::vector<u64> pages_;
};

Result<cpu::x86::State> state_of(Vcpu& vcpu);
// Steps over the instruction at `state`, all its repetitions included.
Exit step_whole(Vcpu& vcpu, const cpu::x86::State& state, const devices::GuestMemory& memory);

}  // namespace tandem::accel::lockstep
