// The process's terminal.
#pragma once

#include <memory>

#include "devices/char/backends.h"
#include "devices/char/stream_backend.h"

namespace tandem::devices {

// stdin and stdout; stdin's terminal, when it is one and we are in its foreground, goes into raw mode until the back end is
// destroyed. Busy: there is such a back end already.
Result<std::unique_ptr<CharBackend>> create_stdio_backend();

}  // namespace tandem::devices
