// What -machine virt,... chooses.
#pragma once

#include <span>
#include <string>
#include <utility>

#include "base/result.h"
#include "machines/device_properties.h"
#include "machines/machine.h"

namespace tandem::machines::virt {

struct VirtOptions {
    unsigned gic_version = 2;
    bool its = true;
    bool virtualization = false;
};
// Errors name the property and what it may be.
Result<VirtOptions> parse_options(std::span<const std::pair<std::string, std::string>> properties, unsigned cpus);
std::span<const PropertyRow> machine_properties();

}  // namespace tandem::machines::virt
