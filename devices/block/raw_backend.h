// Raw images: the file is the disk.
#pragma once

#include <memory>

#include "base/result.h"
#include "devices/fabric/backends.h"

namespace tandem::devices::block {

// Looks at file, readonly, direct and io_uring. Errors as open_drive().
Result<std::unique_ptr<BlockBackend>> open_raw(const DriveOptions& options);

}  // namespace tandem::devices::block
