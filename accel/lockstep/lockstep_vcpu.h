// The vCPU that drives the two of a pair: a leader that counts instructions, or one that runs on the host's processor
// (native_leader.h).
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>

#include "accel/concluding.h"
#include "accel/lockstep/compare.h"
#include "accel/lockstep/lockstep.h"
#include "accel/lockstep/recorder.h"
#include "accel/lockstep/search.h"
#include "accel/signals.h"

namespace tandem::accel::lockstep {

// What the pair's vCPU and its accelerator share.
struct Pair {
    LockstepOptions options;
    devices::GuestMemory* machine = nullptr;
    devices::GuestMemory leader_memory, agreed;
    std::unique_ptr<Accelerator> leader;
    std::unique_ptr<Side> follower;
    // Counters for people.
    std::atomic<u64> stretches{0}, instructions{0}, pages{0}, helped{0}, open{0};
};

// That both are not in the same state.
struct Difference {
    std::vector<std::string> found;
    u64 count = 0;  // of the leader's instructions since the last agreement
    // Where a leader that does not count them came to.
    std::optional<cpu::x86::State> end;
    // How to go on where nothing but what manuals leave open explains it; null: that cannot be.
    std::function<Result<Exit>()> if_open;
    // A search that takes long says so, once.
    std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
    bool told = false;
};

class LockstepVcpu : public Vcpu, public ConcludingVcpu {
public:
    ~LockstepVcpu() override;
    Result<void> conclude(const std::function<bool()>& stop) override;
    // Errors: Unsupported where the leader neither counts instructions nor is a NativeVcpu.
    static Result<std::unique_ptr<LockstepVcpu>> create(Pair& pair, ExitHandler& machine);

    // A device wrote the machine's memory. Any thread.
    void device_wrote(u64 address, u64 size) { recorder_.device_wrote(address, size); }

    // Vcpu
    [[nodiscard]] unsigned index() const final { return 0; }
    Exit run() final { return go(false); }
    Exit step() final { return go(true); }
    void request_exit() final;
    void wait_for_event() final;
    [[nodiscard]] u64 exit_pc() const final { return leader_->exit_pc(); }
    Result<void> export_state(cpu::ArchState& out) final { return leader_->export_state(out); }
    Result<void> import_state(const cpu::ArchState& in) final;

    // CpuSignals
    void set_line(devices::CpuLine line, bool level) final { leader_->set_line(line, level); }
    void raise_nmi() final { raise(SignalWord::Nmi); }
    void raise_init() final { raise(SignalWord::Init); }
    void raise_sipi(u8 vector) final;

protected:
    LockstepVcpu(Pair& pair, ExitHandler& machine) : pair_(pair), recorder_(machine, *this) {}

    // Completes construction.
    virtual Result<void> open() = 0;
    // Runs both and compares them. The leader's exit, or InternalError after a difference.
    virtual Result<Exit> stretch(bool stepping) = 0;

    // Signals and device writes that have arrived reach both, and agreed_state_ is known.
    Result<void> settle();
    // `pages`: those the leader wrote; afterwards those that either did.
    Result<std::vector<std::string>> compare(const cpu::x86::State& now, std::vector<u64>& pages);
    // Both have come to `now`, and `pages` are what was written on the way.
    void agree(cpu::x86::State now, const std::vector<u64>& pages);
    // Looks for the place, and saves a reproducer or goes on. Requested: somebody wants the vCPU back, and the search goes
    // on with the next run.
    Result<Exit> explain(Difference difference);
    // Whether somebody wants the vCPU back.
    [[nodiscard]] bool requested() const { return requested_; }
    [[nodiscard]] Names names() const { return {pair_.options.leader.name, pair_.options.follower.name}; }

    Pair& pair_;
    Recorder recorder_;
    std::unique_ptr<Vcpu> leader_;
    std::vector<u64> leader_pages_;
    cpu::x86::State agreed_state_;
    bool state_known_ = false;  // agreed_state_ is what both have

private:
    void raise(u32 bits);
    Exit go(bool stepping);
    // Waits for the search's end; false: `stop` said true before.
    bool search_ended(const std::function<bool()>& stop);
    Result<Exit> await_search();
    // Breaks off and says so.
    void end_search();
    Exit report_finding(Result<Finding> finding, const devices::GuestMemory& memory);
    Result<void> take_signals();
    void take_device_writes();

    std::string failed_;  // why no further stretch is run
    Difference difference_;
    std::unique_ptr<Search> search_;  // for difference_
    std::atomic<bool> requested_{false};
    SignalWord signals_;  // NMI, INIT and SIPI, which both get between two stretches
};

// The follower's accesses have been traced already.
class NoTrace {
public:
    NoTrace();
    ~NoTrace();
    NoTrace(const NoTrace&) = delete;
    NoTrace& operator=(const NoTrace&) = delete;

private:
    u32 before_;
};

}  // namespace tandem::accel::lockstep
