// What a drive's options make of a disk, whatever it is kept in: cache mode, discard, detection of zeros.
#pragma once

#include <memory>

#include "devices/fabric/backends.h"

namespace tandem::devices::block {

// `disk` itself when the options ask for nothing special.
std::unique_ptr<BlockBackend> apply_policy(std::unique_ptr<BlockBackend> disk, const DriveOptions& options);

}  // namespace tandem::devices::block
