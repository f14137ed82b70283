// GICv2m: a frame that turns the message-signalled interrupts of PCI into shared interrupts of a GIC without an ITS (Arm
// Server Base System Architecture 3.0, appendix E).
#pragma once

#include <vector>

#include "devices/fabric/address_space.h"
#include "devices/fabric/interrupts.h"

namespace tandem::devices {

// Stateless. `lines` are `lines.size()` shared interrupts from GIC interrupt number `first` on, which software makes edge
// triggered.
class Gicv2m final : public IoHandler, public MsiSink {
public:
    static constexpr u64 kFrameSize = 0x1000;

    Gicv2m(u64 base, u32 first, std::vector<IrqLine> lines) : base_(base), first_(first), lines_(std::move(lines)) {}

    u64 io_read(u64 offset, unsigned size) override;
    void io_write(u64 offset, u64 value, unsigned size) override;
    void send_msi(u64 address, u32 data, u16 requester) override;

private:
    void raise(u32 number);

    const u64 base_;
    const u32 first_;
    const std::vector<IrqLine> lines_;
};

}  // namespace tandem::devices
