// Disk images in formats of others (qcow2, ...): a qemu-nbd of its own serves each on a private socket and ends when its
// last connection is closed.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "devices/fabric/backends.h"

namespace tandem::devices::block {

// Whether qemu-nbd reads this format, and the names of those it does.
bool known_image_format(std::string_view format);
std::string image_formats();

// Errors: Unsupported when qemu-nbd is not installed; Io with what it says of the image.
Result<std::unique_ptr<BlockBackend>> open_image(const DriveOptions& options);

}  // namespace tandem::devices::block
