// Hands the ACPI tables to firmware, which places them: tables, root pointer and a script of what to link and to check-sum,
// as files of the firmware configuration device (the table-loader interface that SeaBIOS and OVMF
// implement).
#pragma once

#include "devices/misc/fw_cfg.h"
#include "machines/pc/acpi_tables.h"

namespace tandem::machines::pc {

// Adds etc/acpi/tables, etc/acpi/rsdp and etc/table-loader.
Result<void> publish_acpi_tables(devices::FwCfg& fw_cfg, const AcpiConfig& config);

}  // namespace tandem::machines::pc
