// Host ends of character streams, by QEMU-style description.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "devices/fabric/backends.h"

namespace tandem::devices {

// What is asked of the program by way of a stream. Called on the back end's thread; must not destroy it.
struct ConsoleEvents {
    std::function<void()> quit{};     // Ctrl-A x
    std::function<void(u32)> exit{};  // a guest's test suite ends the program with this status; any thread
};

// A host end, as data.
struct CharSpec {
    enum class Kind : u8 { Null, Stdio, Pty, File, Pipe, Unix, Tcp, Exit } kind = Kind::Null;
    std::string path;        // File, Pipe, Unix
    std::string host, port;  // Tcp; an empty host is every local address of a server, the loopback of a client
    bool server = false;     // Unix, Tcp: listens, for one client at a time, rather than connecting
    bool wait = true;        // a server's creation waits for the first client
    bool nodelay = false;    // Tcp
    bool append = false;     // File: not truncated
    bool mux = false;        // several users share it by CharBackend::share() and the Ctrl-A keys
};

// Spelled as QEMU's -serial:
//   stdio              this process's standard input and output. A terminal goes into raw mode and has the keys Ctrl-A x
//                      (quit), Ctrl-A b (break), Ctrl-A h (help), Ctrl-A Ctrl-A (Ctrl-A itself); a pipe or file passes all
//                      bytes
//   file:PATH          output only, truncated
//   null, none         nothing
//   pty                a new pseudo-terminal; its name is logged
//   pipe:PATH          the FIFOs PATH.in and PATH.out, or PATH for both directions
//   unix:PATH[,server[=on|off]][,nowait|,wait=on|off]
//   tcp:HOST:PORT[,server[=on|off]][,nowait|,wait=on|off][,nodelay]
//                      client, or server for one client at a time; without nowait a server waits here for the first
//   mon:ANY OF THEM    the stream shared (mux), with the Ctrl-A keys whatever it is
Result<CharSpec> parse_char_description(std::string_view description);

// Errors name the description and what is wrong: InvalidArgument for what was not understood, Io for what the host refused,
// NotFound for a host name without an address, Busy for stdio used twice.
//
// Output is queued (64 KiB) and written by a thread of the back end's own. When the other side does not take it, write()
// waits up to a second once and from then on drops until it does. Destruction flushes for up to two seconds and restores the
// terminal.
Result<std::unique_ptr<CharBackend>> create_char_backend(const CharSpec& spec, const ConsoleEvents& events);
Result<std::unique_ptr<CharBackend>> create_char_backend(std::string_view description, const ConsoleEvents& events);

// Gives the terminal back the settings that it had before a back end changed them. Async-signal-safe, idempotent, any
// thread; also runs at exit(). A program that dies by a signal calls it from its handler.
void restore_terminal() noexcept;

}  // namespace tandem::devices
