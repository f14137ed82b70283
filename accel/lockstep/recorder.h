// The machine as the engine that leads sees it: accesses go to the machine, and what it answers into the journal. Between
// the machine's memory, on which devices work, and the leader's own, changes are carried over where the leader can see the
// difference: at its accesses, and where it takes an interrupt.
#pragma once

#include <array>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "accel/exact.h"
#include "accel/lockstep/image.h"
#include "accel/lockstep/journal.h"

namespace tandem::accel::lockstep {

// Who is asked before an access of a leader that counts no instructions reaches the machine.
class Gate {
public:
    virtual ~Gate() = default;
    // False: the leader is to come back, and what it did since the last agreement is void.
    virtual bool before_access(const Exit& exit) = 0;
    // Whether the leader has not gone into guest code since both agreed.
    [[nodiscard]] virtual bool stands() const = 0;
    // Appends pages that the leader has written.
    virtual void collect_written(std::vector<u64>& pages) = 0;
};

class Recorder final : public ExitHandler, public devices::CpuInterruptController {
public:
    // `machine` must outlive it; exits are handled in the name of `outer`.
    Recorder(ExitHandler& machine, Vcpu& outer) : machine_(machine), outer_(outer) {}

    struct Memories {
        devices::GuestMemory* machine = nullptr;
        devices::GuestMemory* leader = nullptr;
        const devices::GuestMemory* agreed = nullptr;  // as the stretch began
        std::vector<u64>* written = nullptr;           // pages, by the leader
    };
    // Before the first stretch.
    void attach(Vcpu& leader, ExactVcpu& exact, const Memories& memories);
    // The same for a leader that counts no instructions: interrupts are taken only where the follower knows the place, and
    // what such a leader does not leave the guest for (the time-stamp counter, CR8) is not recorded.
    void attach(Vcpu& leader, Gate& gate, const Memories& memories);

    // A stretch begins: an empty journal.
    void begin();
    // With a gate: the leader stands where both agree. It may take one interrupt before it goes on: what waits, or `again`
    // once more, which the machine has acknowledged already.
    void allow_interrupt(std::optional<int> again = {});
    // The same at a stretch's beginning, after one that was given up: the interrupt is its journal's first event.
    void retake_interrupt(int vector);
    // Until it is allowed again no interrupt is seen to wait.
    void hide_interrupts() { hidden_ = true; }
    [[nodiscard]] const Journal& journal() const { return journal_; }
    // With a gate: what the leader's CR8 is now, from outside.
    void take_cr8(u8 value) { cr8_ = value; }
    // With a gate: CR8 as the stretch began.
    [[nodiscard]] u8 agreed_cr8() const { return agreed_cr8_; }
    // Carries what devices have written into the leader's memory and the journal, and what the leader has written into the
    // machine's memory, byte by byte, so that what devices write beside it stays.
    void publish();

    // A device wrote the machine's memory. Any thread.
    void device_wrote(u64 address, u64 size);
    // What devices have written since they were last asked.
    std::vector<std::pair<u64, u64>> take_device_writes();

    u64 random();

    // ExitHandler
    void handle(Vcpu& vcpu, Exit& exit) override;
    devices::CpuInterruptController& interrupt_controller(unsigned) override { return *this; }
    u64 tsc(unsigned index) override;
    void tsc_offset_changed(unsigned index, u64 offset) override { machine_.tsc_offset_changed(index, offset); }
    void fpu_error(unsigned index) override { machine_.fpu_error(index); }
    u64 tsc_hz() override { return machine_.tsc_hz(); }
    unsigned cpu_count() override { return machine_.cpu_count(); }

    // CpuInterruptController
    [[nodiscard]] bool interrupt_pending() const override;
    int acknowledge() override;
    [[nodiscard]] u8 cr8() const override;
    void set_cr8(u8 value) override;

private:
    using Page = std::array<u8, kPage>;

    void note(Event::Kind kind, u64 value) const;
    [[nodiscard]] devices::CpuInterruptController& controller() const { return machine_.interrupt_controller(0); }
    [[nodiscard]] u64 position() const { return exact_ != nullptr ? exact_->instructions() - base_ : 0; }
    void take_in();
    // A page as leader and machine both had it last.
    Page& published(u64 page);

    ExitHandler& machine_;
    Vcpu& outer_;
    Vcpu* leader_ = nullptr;
    ExactVcpu* exact_ = nullptr;
    Gate* gate_ = nullptr;
    bool may_take_ = false, hidden_ = false;
    std::optional<int> again_;
    u8 agreed_cr8_ = 0;
    u8 cr8_ = 0;  // with a gate: the leader's, which the machine is told when it sees what the leader did
    Memories memories_;
    mutable Journal journal_;  // reading CR8 is an event too
    u64 base_ = 0;
    std::unordered_map<u64, Page> published_;

    std::mutex lock_;  // guards what follows; a leaf
    std::vector<std::pair<u64, u64>> device_writes_;
};

}  // namespace tandem::accel::lockstep
