// Character back ends on the host: terminal, file, pseudo-terminal, socket.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "base/result.h"
#include "devices/fabric/backends.h"

namespace tandem::devices {

struct CharHooks {
    // Ctrl-A x was typed. Called on the back end's thread; must not destroy the back end.
    std::function<void()> quit;
};

// Spelled as QEMU's -serial:
//   stdio, mon:stdio   this process's terminal or pipe; Ctrl-A x quits, Ctrl-A h helps, Ctrl-A Ctrl-A is Ctrl-A itself
//   file:PATH          output only, truncated
//   null               nothing
//   pty                a new pseudo-terminal; its name is logged
//   unix:PATH[,server[=on|off]][,nowait|,wait=on|off]
//                      client, or server for one client at a time; without nowait a server waits here for the first
// InvalidArgument names what was not understood, Io what the host refused; Busy: stdio is taken already.
//
// Output is queued (64 KiB) and written by a thread of the back end's own. When the other side does not take it, write()
// waits up to a second once and from then on drops until it does. Destruction flushes for up to two seconds.
Result<std::unique_ptr<CharBackend>> create_char_backend(std::string_view spec, CharHooks hooks);

// Gives the terminal back the mode that it had before stdio put it into raw mode. Async-signal-safe, idempotent, any thread;
// also runs at exit(). A program that dies by a signal calls it from its handler.
void restore_terminal() noexcept;

}  // namespace tandem::devices
