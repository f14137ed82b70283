// PL031 real-time clock (Arm PrimeCell Real Time Clock technical reference manual, DDI 0224C): seconds since 1970, UTC.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "devices/fabric/address_space.h"
#include "devices/fabric/clock.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/register_bank.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

struct Pl031State {
    static constexpr u32 kVersion = 1;
    std::vector<u64> registers;
    u32 offset = 0;  // the guest's time minus the host's, in seconds
    bool raised = false;
    void visit(auto& v) {
        v("registers", registers);
        v("offset", offset);
        v("raised", raised);
    }
};

class Pl031 final : public StatefulDevice<Pl031State>, public IoHandler {
public:
    static constexpr u64 kFrameSize = 0x1000;

    Pl031(Clock& clock, IrqLine irq);

    u64 io_read(u64 offset, unsigned size) override;
    void io_write(u64 offset, u64 value, unsigned size) override;

    [[nodiscard]] std::string_view name() const override { return "pl031"; }
    void reset() override;

private:
    using Reg = Register<Pl031>;
    enum Row : std::size_t { kData, kMatch, kLoad, kControl, kMask, kRaw, kMasked, kClear };
    static std::span<const Reg> rows();

    [[nodiscard]] Pl031State capture() const override;
    Result<void> apply(const Pl031State& state) override;

    u64 read_data(const Reg&, u64 stored);
    void write_load(const Reg&, u64 old, u64 written);
    void write_match(const Reg&, u64 old, u64 written);
    u64 read_raw(const Reg&, u64 stored);
    u64 read_masked(const Reg&, u64 stored);
    void clear(const Reg&, u64 old, u64 written);

    [[nodiscard]] u32 seconds() const;
    void arm();
    void on_timer();
    void update();

    Clock& clock_;
    IrqLine irq_;
    mutable std::mutex lock_;
    RegisterBank<Pl031> registers_;
    u32 offset_ = 0;
    bool raised_ = false;
    std::unique_ptr<Timer> timer_;
};

}  // namespace tandem::devices
