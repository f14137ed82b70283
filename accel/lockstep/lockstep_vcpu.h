// The vCPU that drives the two of a pair.
#pragma once

#include <atomic>
#include <mutex>

#include "accel/lockstep/lockstep.h"
#include "accel/lockstep/recorder.h"
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
    std::atomic<u64> stretches{0}, instructions{0}, pages{0};
};

class LockstepVcpu final : public Vcpu {
public:
    static Result<std::unique_ptr<LockstepVcpu>> create(Pair& pair, ExitHandler& machine);
    ~LockstepVcpu() override;

    // A device wrote the machine's memory. Any thread.
    void device_wrote(u64 address, u64 size) { recorder_.device_wrote(address, size); }

    // Vcpu
    [[nodiscard]] unsigned index() const override { return 0; }
    Exit run() override { return go(false); }
    Exit step() override { return go(true); }
    void request_exit() override;
    void wait_for_event() override;
    [[nodiscard]] u64 exit_pc() const override { return leader_->exit_pc(); }
    Result<void> export_state(cpu::ArchState& out) override { return leader_->export_state(out); }
    Result<void> import_state(const cpu::ArchState& in) override;

    // CpuSignals
    void set_line(devices::CpuLine line, bool level) override { leader_->set_line(line, level); }
    void raise_nmi() override { raise(SignalWord::Nmi); }
    void raise_init() override { raise(SignalWord::Init); }
    void raise_sipi(u8 vector) override;

private:
    LockstepVcpu(Pair& pair, ExitHandler& machine) : pair_(pair), recorder_(machine, *this) {}

    void raise(u32 bits);
    Exit go(bool stepping);
    // Runs both and compares them. The leader's exit, or InternalError after a difference.
    Result<Exit> stretch(bool stepping);
    Result<void> take_signals();
    // What devices have written between two stretches reaches everybody.
    void take_device_writes();
    Result<std::vector<std::string>> compare(const cpu::x86::State& now, std::vector<u64>& pages);
    Exit explain(const std::vector<std::string>& found, u64 count);

    Pair& pair_;
    Recorder recorder_;
    std::unique_ptr<Vcpu> leader_;
    ExactVcpu* exact_ = nullptr;
    std::vector<u64> leader_pages_;
    cpu::x86::State agreed_state_;
    bool state_known_ = false;  // agreed_state_ is what both have
    std::string failed_;        // why no further stretch is run
    std::atomic<bool> requested_{false};
    SignalWord signals_;  // NMI, INIT and SIPI, which both get between two stretches
};

}  // namespace tandem::accel::lockstep
