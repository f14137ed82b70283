// UEFI firmware in the virt board's first flash chip, where its processors start.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "devices/fabric/backends.h"
#include "devices/fabric/guest_memory.h"

namespace tandem::machines::virt {

class Firmware {
public:
    // `name` is a path, or a file in `directories` or where Debian installs firmware; empty stands for Debian's build of
    // EDK II. Errors name the file: not found (and where it was looked for), empty or larger than the chip.
    static Result<Firmware> load(const std::string& name, const std::vector<std::string>& directories);
    // The same from a drive's contents.
    static Result<Firmware> read(devices::BlockBackend& backend);

    // Adds the chip to the memory map; once. It takes no commands: what firmware writes is in the second chip.
    static Result<void> map(devices::GuestMemory& memory);
    Result<void> place(devices::GuestMemory& memory) const;

private:
    std::vector<u8> image_;
};

// Contents of a second chip that nobody keeps: empty at every start of the program.
std::unique_ptr<devices::BlockBackend> create_volatile_flash();

}  // namespace tandem::machines::virt
