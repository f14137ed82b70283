// Where firmware images are found.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace tandem::machines {

// What a machine has where the user names none, and where Debian installs its like.
struct FirmwareDefault {
    const char* name;
    const char* package;
    std::span<const char* const> directories;
};

// `name` as a path, or as a file in `directories` or Debian's; empty stands for the default. NotFound says where it was
// looked for.
Result<std::string> find_firmware(const std::string& name, const std::vector<std::string>& directories,
                                  const FirmwareDefault& fallback);

}  // namespace tandem::machines
