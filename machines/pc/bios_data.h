// What PC firmware leaves in low memory, for kernels that look there without having been started by firmware: they place
// what runs in real mode below the extended BIOS data area, find serial ports, and ask a BIOS that is not there.
#pragma once

#include "base/result.h"
#include "devices/fabric/guest_memory.h"

namespace tandem::machines::pc {

// Writes the BIOS data area for `serial_ports` (at most 4) ports, the extended one's size, and interrupt vectors whose
// handler refuses every call. No vCPU is in guest code.
// Source: Ralf Brown's Interrupt List, MEMORY.LST (40:00H to 40:FFH).
Result<void> place_bios_data(devices::GuestMemory& memory, unsigned serial_ports);

}  // namespace tandem::machines::pc
