// The machine as the engine that follows sees it: it answers from the journal, and notices what the journal does not have.
#pragma once

#include "accel/exact.h"
#include "accel/lockstep/journal.h"

namespace tandem::accel::lockstep {

class Replayer final : public ExitHandler, public devices::CpuInterruptController {
public:
    // Reads `journal` from its beginning; device writes go to `memory`. Both must outlive the reading.
    void begin(const Journal& journal, devices::GuestMemory& memory);
    // Runs `vcpu`, whose instructions() was `base` when the journal began, to `count` instructions beyond that, with
    // interrupts where the journal has them. The last exit; a halt before that is one too.
    Exit advance(Vcpu& vcpu, ExactVcpu& exact, u64 base, u64 count);
    // Has `vcpu` take the journal's next event, an interrupt, where it stands.
    void take_interrupt(Vcpu& vcpu, ExactVcpu& exact);
    // Leaves it out: the vCPU's state has it already.
    void skip_interrupt();
    // The journal is of an engine that counts no instructions: time and random numbers read as zero, and CR8 is kept here,
    // but for what accesses make of it.
    void follow_native(u8 cr8) {
        native_ = true;
        cr8_ = cr8;
    }
    // Device writes that the journal has after the last access.
    void finish();
    // What the engine asked that the journal does not answer, or the reverse; empty while they agree.
    [[nodiscard]] const std::string& complaint() const { return complaint_; }
    // What stays after the end of the stretch.
    [[nodiscard]] bool exhausted() const { return journal_ == nullptr || cursor_ == journal_->size(); }
    // How many of the journal's events have been consumed.
    [[nodiscard]] std::size_t position() const { return cursor_; }
    // Pages that devices have written.
    [[nodiscard]] const std::vector<u64>& written() const { return written_; }

    u64 random() { return native_ ? 0 : take(Event::Kind::Random); }
    // What does not change while the machine runs.
    void set_constants(u64 tsc_hz, unsigned cpu_count) {
        tsc_hz_ = tsc_hz;
        cpu_count_ = cpu_count;
    }

    // ExitHandler
    void handle(Vcpu& vcpu, Exit& exit) override;
    devices::CpuInterruptController& interrupt_controller(unsigned) override { return *this; }
    u64 tsc(unsigned) override { return native_ ? 0 : take(Event::Kind::Tsc); }
    u64 tsc_hz() override { return tsc_hz_; }
    unsigned cpu_count() override { return cpu_count_; }

    // CpuInterruptController
    [[nodiscard]] bool interrupt_pending() const override { return armed_; }
    int acknowledge() override;
    [[nodiscard]] u8 cr8() const override;
    void set_cr8(u8 value) override;

private:
    // The event that is next, if it is of this kind; else complains.
    const Event* next(Event::Kind kind, const std::string& asked) const;
    u64 take(Event::Kind kind) const;
    [[nodiscard]] const Event* next_interrupt() const;
    void write_memory();
    void complain(const std::string& what) const;

    const Journal* journal_ = nullptr;
    devices::GuestMemory* memory_ = nullptr;
    mutable std::size_t cursor_ = 0;  // reading CR8 is an event too
    mutable std::string complaint_;
    bool armed_ = false;
    bool native_ = false;
    u8 cr8_ = 0;
    std::vector<u64> written_;
    u64 tsc_hz_ = 0;
    unsigned cpu_count_ = 1;
};

}  // namespace tandem::accel::lockstep
