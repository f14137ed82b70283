// The flattened device tree that describes a virt board (Devicetree Specification 0.4; bindings of Linux).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "machines/virt/options.h"

namespace tandem::machines::virt {

struct BoardFacts {
    VirtOptions options;
    unsigned cpus = 1;
    std::string cpu_compatible = "arm,armv8";
    u64 ram_bytes = 0;
    bool performance_monitors = true;
    unsigned serial_ports = 1;
    unsigned virtio_mmio = 0;  // devices
    bool firmware = false;     // there is flash
    u64 variables_bytes = 0;   // size of the second chip
    std::string command_line;
    u64 initrd_start = 0, initrd_end = 0;  // equal: none
    std::vector<u8> seed;                  // random bytes for the kernel
};

// Errors when it would not fit into `limit` bytes (a command line that is too long).
Result<std::vector<u8>> build_device_tree(const BoardFacts& facts, u64 limit);

}  // namespace tandem::machines::virt
