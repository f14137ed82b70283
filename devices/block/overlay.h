// snapshot=on: a disk whose writes go to a temporary file.
#pragma once

#include <memory>

#include "base/result.h"
#include "devices/fabric/backends.h"

namespace tandem::devices::block {

// `base` is only read. The temporary file is in $TMPDIR; Io when it cannot be made.
Result<std::unique_ptr<BlockBackend>> create_overlay(std::unique_ptr<BlockBackend> base);

}  // namespace tandem::devices::block
