// What every engine's vCPU does alike: takes signals from other threads, sleeps, and answers requests to leave the guest
// (contracts U1 to U4). An engine adds how to enter guest code; an architecture adds what its processor does with signals.
#pragma once

#include <optional>

#include "accel/accelerator.h"
#include "accel/signals.h"

namespace tandem::accel {

// What a processor is doing between two instructions.
struct Rest {
    enum class Kind : u8 { Running, Asleep, Shutdown } kind = Kind::Running;
    u32 wake = 0;  // the signals that may end a sleep; looked at when they arrive
};

class VcpuBase : public Vcpu {
public:
    // Vcpu
    [[nodiscard]] unsigned index() const final { return index_; }
    void request_exit() final { signal(SignalWord::ExitRequest); }
    void wait_for_event() final;

    // CpuSignals
    void set_line(devices::CpuLine line, bool level) final;
    void raise_nmi() final { signal(SignalWord::Nmi); }
    void raise_init() final { signal(SignalWord::Init); }
    void raise_sipi(u8 vector) final;

    // Signals have changed: makes the vCPU leave guest code, where it is in it, or not enter it. Any thread,
    // async-signal-safe.
    virtual void prod() = 0;

    // --- For a machine that has this vCPU on several engines, of which one runs it at a time (accel/switch)

    // From now on signals wait in `word`, whose owner raises them and answers the requests to leave that an exit of this
    // vCPU has met. Before the first run; `word` outlives the vCPU.
    void share_signals(SignalWord& word) { word_ = &word; }
    // As export_state() and import_state(), but signals that wait stay where they are.
    virtual Result<void> fetch_state(cpu::ArchState& out) { return export_state(out); }
    virtual Result<void> store_state(const cpu::ArchState& in) { return import_state(in); }
    // Whether the guest could tell that step() did the instruction at hand, or what its exception pushes, while an engine
    // that steps by no means of the guest's does it unseen (contract D1). vCPU thread.
    [[nodiscard]] virtual bool step_shows() { return false; }

protected:
    // `handler` must outlive the vCPU.
    VcpuBase(unsigned index, ExitHandler& handler) : index_(index), handler_(handler) {}

    // run() and step() of an engine, between whatever it does around them. vCPU thread.
    Exit loop(bool stepping);

    // --- The engine. vCPU thread.

    // Goes into guest code once; with `stepping` for exactly one instruction, without delivering interrupts first. Nothing:
    // go on. An exit that is the caller's comes from finish() or halt().
    virtual Result<std::optional<Exit>> enter(bool stepping) = 0;
    // --- The architecture. vCPU thread.

    [[nodiscard]] virtual Rest rest() const = 0;
    // x86: of this vCPU, while it sleeps.
    [[nodiscard]] virtual devices::CpuInterruptController* timekeeper() { return nullptr; }
    // Applies signals that change the processor's state as a whole (x86: INIT and SIPI; Arm: power-on), once they may be
    // taken.
    virtual Result<void> take_events() = 0;

    // A request that came while the vCPU was leaving anyway is answered by this exit (contract U3).
    Exit finish(Exit exit);
    Exit halt();
    Exit failed(const Error& error) { return finish(InternalErrorExit{error.message}); }
    // Raises `bits` of the signal word and has the vCPU look at it. Any thread.
    void signal(u32 bits);

    [[nodiscard]] SignalWord& signals() { return *word_; }
    [[nodiscard]] const SignalWord& signals() const { return *word_; }

    const unsigned index_;
    ExitHandler& handler_;

private:
    SignalWord own_;
    SignalWord* word_ = &own_;
};

}  // namespace tandem::accel
