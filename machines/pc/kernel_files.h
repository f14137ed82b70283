// A kernel for firmware to start: what -kernel, -initrd and -append name, as items of the firmware configuration device.
#pragma once

#include <string>

#include "base/result.h"
#include "devices/misc/fw_cfg.h"
#include "machines/machine.h"

namespace tandem::machines::pc {

// The option ROM by which a BIOS finds the kernel, as its line in "bootorder". Other firmware looks for the items itself.
inline constexpr const char* kKernelRomPath = "/rom@genroms/linux.bin";

// Whether a file is a kernel that only firmware can start: a bzImage whose one entry is the 16-bit one. False for what
// cannot be read.
bool needs_firmware(const std::string& kernel);

// Errors name the file: missing, no bzImage, an initrd that does not fit.
Result<void> publish_kernel(devices::FwCfg& fw_cfg, const MachineConfig& config);

}  // namespace tandem::machines::pc
