// The pc machine: the board, its processors on an engine, and what boots on it.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "machines/device_properties.h"
#include "machines/machine.h"

namespace tandem::machines::pc {

Result<std::unique_ptr<Machine>> create_pc(MachineConfig config, std::unique_ptr<accel::Accelerator> accelerator);

// Devices that -device may add, one "name  properties" per line.
std::string device_help();

// What -machine may say beside the type.
std::span<const PropertyRow> machine_properties();

}  // namespace tandem::machines::pc
