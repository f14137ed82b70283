// Where everything is on the pc board. The only place with addresses: devices and tables are told (contract I1).
#pragma once

#include "base/types.h"

namespace tandem::machines::pc::layout {

constexpr u64 kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;

struct Range {
    u64 base;
    u64 size;
    [[nodiscard]] constexpr u64 end() const { return base + size; }
};

// --- Memory. RAM fills [0, 2.75 GiB) first, the rest starts at 4 GiB. The boundary is where the configuration window
// begins: a multiple of its size, low enough to leave 1 GiB of 32-bit address space for BARs.
constexpr Range kEcam{0xb0000000, 256 * kMiB};  // 256 buses, 1 MiB each; PCIEXBAR can only place it at multiples of 256 MiB
constexpr u64 kLowRamMax = kEcam.base;
constexpr u64 kHighRam = 4 * kGiB;
constexpr u64 kMinRam = 16 * kMiB;   // less cannot hold any supported kernel
constexpr u64 kMaxRam = 512 * kGiB;  // below the 64-bit BAR window

// Conventional memory and what PC firmware keeps above it. The reserved part of [640 KiB, 1 MiB) is told in the memory map.
constexpr Range kLowMemory{0, 0x9fc00};  // up to the extended BIOS data area
constexpr Range kEbda{0x9fc00, 0x400};
constexpr Range kFirmware{0xe0000, 0x20000};  // ACPI tables; the root pointer is searched for here (ACPI 6.5, 5.2.5.1)
constexpr Range kSmbios{0xf0000, 0x10000};    // the upper half, where the entry point is searched for (SMBIOS 3.6, 5.2.1)
constexpr Range kAcpiTables{kFirmware.base, kSmbios.base - kFirmware.base};
constexpr u64 kFirmwareMax = 8 * kMiB;   // ROM below 4 GiB, clear of the interrupt controllers
constexpr u64 kFlashFloor = 0xff100000;  // lowest address of a flash chip
constexpr u64 kOneMiB = kMiB;

// Direct kernel boot, all in conventional memory.
constexpr u64 kBootGdt = 0x500;
constexpr u64 kBootParams = 0x7000;  // "zero page"
constexpr u64 kBootStack = 0x8ff0;
constexpr u64 kBootPageTables = 0x9000;  // PML4, PDPT and 4 page directories: 24 KiB
constexpr u64 kCommandLine = 0x20000;
constexpr u64 kCommandLineMax = 0x10000;

// 32-bit BARs: between the configuration window and the interrupt controllers.
constexpr Range kPci32{0xc0000000, 0xfec00000 - 0xc0000000};
// 64-bit BARs: above any RAM, within 40 physical address bits, the least a 64-bit CPU model offers.
constexpr Range kPci64{768 * kGiB, 128 * kGiB};

// Interrupt controllers, at their architectural defaults (SDM volume 3, 10.4.1; 82093AA).
constexpr Range kIoapic{0xfec00000, 0x1000};
constexpr Range kLapic{0xfee00000, 0x1000};

// High precision event timer, where firmware and systems expect it (IA-PC HPET Specification 1.0a, 2.2).
constexpr Range kHpet{0xfed00000, 0x400};

// virtio over MMIO: a window for each device, between the interrupt controllers, where no firmware puts BARs.
constexpr Range kVirtioMmio{0xfec10000, 0x4000};
constexpr u64 kVirtioMmioStride = 0x200;

// --- I/O ports, as on every PC.
constexpr Range kPic1{0x20, 2}, kPic2{0xa0, 2}, kElcr{0x4d0, 2};
constexpr Range kPit{0x40, 4};
constexpr u64 kPort61 = 0x61;  // system control port B: PIT gate and output
constexpr Range kRtc{0x70, 2};
constexpr u64 kPort92 = 0x92;           // system control port A: fast A20 and reset
constexpr Range kKeyboard{0x60, 1};     // keyboard controller: data ...
constexpr u64 kKeyboardCommand = 0x64;  // ... and command
constexpr u64 kPort80 = 0x80;           // POST codes
constexpr Range kFpuError{0xf0, 2};     // clears the x87 error of IRQ 13
constexpr Range kSerial[4] = {{0x3f8, 8}, {0x2f8, 8}, {0x3e8, 8}, {0x2e8, 8}};
constexpr unsigned kSerialIrq[4] = {4, 3, 4, 3};
constexpr u64 kDebugConsole[2] = {0x402, 0xe9};  // firmware's, and everybody's
constexpr Range kFwCfg{0x510, 2}, kFwCfgDma{0x514, 8};
constexpr Range kPm{0x600, 128};         // ACPI power management (PMBASE)
constexpr u8 kSleepTypeS5 = 7;           // SLP_TYP of soft off (ICH9 datasheet, 13.8.3.3)
constexpr u16 kPciConfig = 0xcf8;        // ... 0xcff; reset control is 0xcf9
constexpr Range kPciIo{0x1000, 0xf000};  // I/O BARs: above every port with a fixed meaning

constexpr u64 kPanicPort = 0x505;  // pvpanic's usual place

// pc-testdev, where the conformance suites that use it expect it.
constexpr Range kTestLines{0x2000, 24}, kTestData{0xe0, 4}, kTestFlush{0xe4, 4}, kTestDataBytes{0xe8, 4};
constexpr Range kTestMemory{0xff000000, 0x10000};

// --- Interrupts.
constexpr unsigned kTimerPin = 2;  // IOAPIC pin of ISA IRQ 0; the others are their own pin
constexpr unsigned kKeyboardIrq = 1, kMouseIrq = 12;
constexpr unsigned kRtcIrq = 8;
constexpr unsigned kSciIrq = 9;
constexpr unsigned kFpuIrq = 13;
constexpr unsigned kPirqGsi = 16;  // PIRQA# ... PIRQH# on IOAPIC pins 16..23
constexpr u8 kIoapicId = 0;        // a space of its own: since xAPIC no message carries it
constexpr unsigned virtio_mmio_gsi(unsigned number) { return kPirqGsi + number % 8; }  // shared with the PIRQs

// --- Bus 0.
constexpr unsigned kHostBridgeSlot = 0;
constexpr unsigned kFirstFreeSlot = 1;
constexpr unsigned kLpcSlot = 31;

// APIC ids are below xAPIC's broadcast address, so that every message reaches every processor without interrupt remapping.
constexpr unsigned kMaxCpus = 240;
constexpr u32 kMaxApicId = 0xfe;

}  // namespace tandem::machines::pc::layout
