// Where everything is on the virt board. The only place with addresses: devices and the device tree are told (contract I1).
// Guests read the device tree; firmware that is built for QEMU's board of the same name expects these addresses.
#pragma once

#include "base/types.h"

namespace tandem::machines::virt::layout {

constexpr u64 kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;

struct Range {
    u64 base;
    u64 size;
    [[nodiscard]] constexpr u64 end() const { return base + size; }
};

// --- Flash: firmware, and its variables. Erased in blocks of two chips.
constexpr Range kFlash[] = {{0x00000000, 64 * kMiB}, {0x04000000, 64 * kMiB}};
constexpr u64 kFlashBlock = 256 * kKiB;
constexpr unsigned kFlashWidth = 4;

// --- Interrupt controllers.
constexpr Range kGicd{0x08000000, 0x10000};
constexpr Range kGicc{0x08010000, 0x10000};   // GICv2
constexpr Range kGicv2m{0x08020000, 0x1000};  // message interrupts without an ITS
constexpr Range kGich{0x08030000, 0x10000};   // GICv2 with virtualization
constexpr Range kGicv{0x08040000, 0x10000};
constexpr Range kIts{0x08080000, 0x20000};      // GICv3
constexpr Range kGicr{0x080a0000, 0x00f60000};  // GICv3: 128 KiB for each processor

// --- Devices.
constexpr Range kUart[] = {{0x09000000, 0x1000}, {0x09040000, 0x1000}};
constexpr Range kRtc{0x09010000, 0x1000};
constexpr Range kFwCfg{0x09020000, 0x18};
constexpr Range kGpio{0x09030000, 0x1000};
constexpr Range kVirtioMmio{0x0a000000, 0x4000};
constexpr u64 kVirtioMmioStride = 0x200;

// --- PCI Express. The configuration window lies above the RAM that 32-bit addresses reach.
constexpr Range kPci32{0x10000000, 0x2eff0000};
constexpr Range kPciIo{0x3eff0000, 0x10000};
constexpr Range kEcam{0x4010000000, 256 * kMiB};
constexpr Range kPci64{0x8000000000, 512 * kGiB};
// The host bridge completes what no function claims: reads are all ones (PCI Local Bus 3.0, 3.3.3.4.1, master abort).
constexpr bool host_bridge_answers(u64 address) {
    for (const Range& window : {kPci32, kPciIo, kPci64}) {
        if (address >= window.base && address < window.end()) return true;
    }
    return false;
}
constexpr unsigned kHostBridgeSlot = 0;
constexpr unsigned kFirstFreeSlot = 1;

// --- Memory, up to the configuration window.
constexpr u64 kRam = 0x40000000;
constexpr u64 kMinRam = 64 * kMiB;  // less cannot hold a kernel
constexpr u64 kMaxRam = 255 * kGiB;

// --- Shared interrupts, counted from 0.
constexpr unsigned kUartSpi[] = {1, 8};
constexpr unsigned kRtcSpi = 2;
constexpr unsigned kPciSpi = 3;  // four: INTA to INTD of slot 0, the other slots rotated
constexpr unsigned kGpioSpi = 7;
constexpr unsigned kVirtioSpi = 16;                      // one for each window
constexpr unsigned kMessageSpi = 48, kMessageSpis = 64;  // GICv2m
constexpr unsigned kSpis = 256;

// --- Private interrupts (Arm Base System Architecture 1.0, table 4 and appendix), as GIC interrupt numbers.
constexpr unsigned kPerformanceMonitorPpi = 23;
constexpr unsigned kMaintenancePpi = 25;
constexpr unsigned kHypervisorTimerPpi = 26;
constexpr unsigned kVirtualTimerPpi = 27;
constexpr unsigned kHypervisorVirtualTimerPpi = 28;
constexpr unsigned kSecureTimerPpi = 29;
constexpr unsigned kPhysicalTimerPpi = 30;

constexpr unsigned kMaxCpus = 16;  // GICv2: 8
// MPIDR_EL1's affinity: one cluster, as ICC_SGI1R_EL1 lists 16 processors of one.
constexpr u64 affinity(unsigned cpu) { return cpu; }

}  // namespace tandem::machines::virt::layout
