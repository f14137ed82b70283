// A leader on the host's processor: it counts no instructions and does not leave the guest for the time-stamp counter.
#pragma once

#include <optional>
#include <vector>

#include "accel/lockstep/lockstep_vcpu.h"
#include "accel/native.h"
#include "cpu/x86/decode/instruction.h"

namespace tandem::accel::lockstep {

// The leader runs to its next access, halt or request. The access waits until the follower has come to it too. Where the
// leader stopped elsewhere, the follower looks for the same pc and general registers. Where the follower comes to an
// instruction whose result is the processor's own, the leader goes back to what both agreed on last, runs up to a breakpoint
// there, and gives its result. Interrupts enter where both agree.
class NativeLeader final : public LockstepVcpu, Gate {
public:
    NativeLeader(Pair& pair, ExitHandler& machine) : LockstepVcpu(pair, machine) {}

    // Gate
    bool before_access(const Exit& exit) override;
    [[nodiscard]] bool stands() const override { return native_->entries() == agreed_entries_; }
    void collect_written(std::vector<u64>& pages) override;

private:
    // Where the follower stopped. Requested: somebody wants the vCPU back, before it came anywhere.
    enum class Place : u8 { Access, Value, Sought, Stopped, Lost, Requested };

    Result<void> open() override;
    Result<Exit> stretch(bool stepping) override;
    Result<void> begin();
    Result<Exit> finish_stretch(Exit exit);
    // The leader, until it comes back with the interrupt delivered that it was given.
    Result<Exit> lead();
    // Both go on with what the leader has.
    Result<Exit> take_open(Exit exit, cpu::x86::State now, const std::vector<u64>& pages);
    // The follower runs on, with `target` up to that state.
    Result<Place> follow(const cpu::x86::State* target);
    Result<void> look_for(const cpu::x86::State* target);
    Result<bool> stands_at(const cpu::x86::State& target);
    // Executes the access that the follower waits before.
    Result<void> follow_access();
    // Both execute one instruction; results that are the processor's own are the leader's.
    Result<Exit> single();
    Result<Exit> catch_up(Exit exit);
    Result<void> go_back();
    // Both go back: what they did is done once more with the next run.
    Result<Exit> give_up();
    // To where the follower waits, and what it has done by then is compared.
    Result<Exit> rerun_to_value();
    Result<Exit> complete_repetition(Exit exit);
    // The follower executes what the leader cannot.
    Result<Exit> help(const EmulationFailureExit& failure);
    Result<void> add_breakpoint(const cpu::x86::State& at);
    Result<std::optional<cpu::x86::Instruction>> next_instruction(Side& side);

    NativeVcpu* native_ = nullptr;
    ExactVcpu* exact_ = nullptr;  // the follower
    bool stepping_ = false;
    u64 agreed_entries_ = 0;        // of the leader into guest code, when both agreed
    std::optional<int> retake_;     // an interrupt of a stretch that was given up
    std::optional<Place> waits_;    // the follower, since before_access()
    bool accessed_ = false;         // the leader, in this stretch
    std::string problem_;           // what the follower did instead
    std::vector<u64> breakpoints_;  // the oldest first
    std::optional<u64> sought_;     // guest-physical, of the code that is being looked for
};

}  // namespace tandem::accel::lockstep
