// The virt machine: the board, its AArch64 processors on an engine, and the kernel that starts on it.
#pragma once

#include <memory>

#include "machines/machine.h"

namespace tandem::machines::virt {

Result<std::unique_ptr<Machine>> create_virt(MachineConfig config, std::unique_ptr<accel::Accelerator> accelerator);

// Devices that -device may add, one "name  properties" per line.
std::string device_help();

}  // namespace tandem::machines::virt
