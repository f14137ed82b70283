// Firmware images: SeaBIOS, OVMF and their like, mapped below 4 GiB where the processor starts.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "devices/fabric/backends.h"
#include "devices/fabric/guest_memory.h"

namespace tandem::machines::pc {

class Firmware {
public:
    // `name` is a path, or a file in `directories` or where Debian installs firmware; empty stands for SeaBIOS. Errors name
    // the file: not found (and where it was looked for), empty, or not a multiple of 64 KiB up to 8 MiB.
    static Result<Firmware> load(const std::string& name, const std::vector<std::string>& directories);

    // The same from a flash chip's contents. `chip` names it in errors.
    static Result<Firmware> read(devices::BlockBackend& backend, const std::string& chip);

    // Adds the ROM below 4 GiB to the memory map; once.
    Result<void> map(devices::GuestMemory& memory) const;
    // Contents as after reset: the ROM, and a copy of its last 128 KiB below 1 MiB. There it lies in RAM: the host bridge's
    // PAM registers are kept, but every setting reads and writes RAM.
    Result<void> place(devices::GuestMemory& memory) const;

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] u64 size() const { return image_.size(); }

private:
    std::string path_;
    std::vector<u8> image_;
};

}  // namespace tandem::machines::pc
