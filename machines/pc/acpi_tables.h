// The board's ACPI tables (ACPI 6.5, chapter 5), built as bytes for a given place in guest memory.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "cpu/x86/topology.h"

namespace tandem::machines::pc {

struct AcpiConfig {
    cpu::x86::Topology topology;
    unsigned serial_ports = 1;  // 0..4
    unsigned virtio_mmio = 0;   // devices, at layout::kVirtioMmio and following
    bool hpet = false;
    u16 panic_port = 0;  // 0: none
};

struct AcpiTable {
    // A field that holds another table's address.
    struct Link {
        u32 offset = 0;
        u8 width = 4;
    };
    // A byte that makes the sum of the table's first `length` bytes zero.
    struct Checksum {
        u32 at = 0;
        u32 length = 0;
    };
    std::string signature;  // "RSDP", "XSDT", "FACP", ...
    u64 address = 0;
    std::vector<u8> bytes;
    std::vector<Link> links;
    std::vector<Checksum> checksums;  // in the order in which they are to be computed
};

// All tables, placed from `base` on within `size` bytes; the first is the root pointer, at `base` (a multiple of 64).
// Unsupported when they do not fit.
Result<std::vector<AcpiTable>> build_acpi_tables(const AcpiConfig& config, u64 base, u64 size);

}  // namespace tandem::machines::pc
