// The board's ACPI tables (ACPI 6.5, chapter 5), built as bytes for a given place in guest memory.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace tandem::machines::pc {

struct AcpiConfig {
    unsigned cpus = 1;
    unsigned serial_ports = 1;  // 0..4
};

struct AcpiTable {
    std::string signature;  // "RSDP", "XSDT", "FACP", ...
    u64 address = 0;
    std::vector<u8> bytes;
};

// All tables, placed from `base` on within `size` bytes; the first is the root pointer, at `base` (a multiple of 64).
// Unsupported when they do not fit.
Result<std::vector<AcpiTable>> build_acpi_tables(const AcpiConfig& config, u64 base, u64 size);

}  // namespace tandem::machines::pc
