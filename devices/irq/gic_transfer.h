// The state of a GIC model as a controller elsewhere has it: what both generations share.
#pragma once

#include "base/result.h"
#include "devices/fabric/host_gic.h"
#include "devices/irq/gic_bank.h"

namespace tandem::devices::gic {

// Registers of one part of the controller, from `base` on.
struct HostFrame {
    HostGic& host;
    HostGicRegister::Part part;
    unsigned cpu = 0;
    u32 base = 0;

    Result<u32> read(u32 at) const {
        TANDEM_TRY_ASSIGN(const u64 value, host.read({part, cpu, base + at}));
        return static_cast<u32>(value);
    }
    Result<void> write(u32 at, u32 value) const { return host.write({part, cpu, base + at}, value); }
    // Tells the controller that whoever writes it knows its registers as this revision has them.
    Result<void> agree_on_revision() const {
        constexpr u32 kIidr = 8;
        TANDEM_TRY_ASSIGN(const u32 revision, read(kIidr));
        return write(kIidr, revision);
    }
};

// The 32 interrupts of bank `index`. Levels of inputs stay what they are; that software made one pending whose input is up,
// too, is not to be seen in a controller elsewhere. `sgi_sources`: SGIs are made pending elsewhere
// (GICv2).
Result<void> store_bank(const HostFrame& frame, unsigned index, const Bank& bank, bool sgi_sources = false);
Result<void> fetch_bank(const HostFrame& frame, unsigned index, Bank& bank);

}  // namespace tandem::devices::gic
