// Host ends of character streams, by QEMU-style description.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "base/result.h"
#include "devices/fabric/backends.h"

namespace tandem::devices {

// What the user asks for with the terminal's escape key (Ctrl-A x). Called on the back end's thread.
struct ConsoleEvents {
    std::function<void()> quit;
};

// "stdio" (raw terminal with the Ctrl-A escapes when it is one; "mon:stdio" is the same), "null", "pty", "file:PATH",
// "unix:PATH[,server][,nowait]". Errors name the description and what is wrong: unknown kind, path, stdio used twice.
// The terminal is restored when the back end is destroyed.
Result<std::unique_ptr<CharBackend>> create_char_backend(std::string_view description, const ConsoleEvents& events);

// Restores the terminal's settings if a back end changed them. Async-signal-safe.
void restore_terminal();

}  // namespace tandem::devices
