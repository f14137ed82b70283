// arm64 Linux kernels: Image, and Image compressed with gzip (Documentation/arch/arm64/booting.rst); and programs without a
// header that start alike, such as test suites.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "devices/fabric/guest_memory.h"

namespace tandem::machines::virt {

struct BootSources {
    std::string kernel;  // path
    std::string initrd;  // path, or empty
};

// A kernel and its initrd with their places in RAM, ready to be put there as often as the machine resets.
class LinuxImage {
public:
    // Reads the files. Errors name the file: missing, truncated, of another format or architecture (and which), big endian,
    // too large for `ram_bytes` of RAM from `ram_base` on.
    static Result<LinuxImage> load(const BootSources& sources, u64 ram_base, u64 ram_bytes);
    // The same for a kernel file's bytes; `name` is told in errors.
    static Result<LinuxImage> parse(std::vector<u8> file, const std::string& name, u64 ram_base, u64 ram_bytes);
    // Behind the kernel, where both and the device tree fit.
    Result<void> add_initrd(std::vector<u8> bytes, const std::string& name);

    [[nodiscard]] u64 entry() const { return load_address_; }
    // Where a device tree of up to kDeviceTreeMax bytes may lie: a 2 MiB block of its own.
    static constexpr u64 kDeviceTreeMax = 0x200000;
    [[nodiscard]] u64 device_tree() const { return device_tree_; }
    [[nodiscard]] u64 initrd_start() const { return initrd_start_; }
    [[nodiscard]] u64 initrd_end() const { return initrd_start_ + initrd_.size(); }

    Result<void> place(devices::GuestMemory& memory) const;

private:
    std::vector<u8> kernel_, initrd_;
    u64 ram_end_ = 0;
    u64 load_address_ = 0, device_tree_ = 0, initrd_start_ = 0;
};

}  // namespace tandem::machines::virt
