#include "devices/char/terminal.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

namespace tandem::devices {
namespace {

// The one terminal of the process. Static because a signal handler must reach it.
struct SavedTerminal {
    termios mode{};
    std::atomic<bool> raw{false};
    std::atomic<bool> taken{false};
};
constinit SavedTerminal g_terminal;

void enter_raw_mode() {
    if (isatty(STDIN_FILENO) == 0 || tcgetpgrp(STDIN_FILENO) != getpgrp()) return;
    if (tcgetattr(STDIN_FILENO, &g_terminal.mode) != 0) return;
    static const int at_exit = std::atexit(restore_terminal);
    (void)at_exit;
    termios raw = g_terminal.mode;
    cfmakeraw(&raw);
    raw.c_oflag |= OPOST;  // the host's own messages still end their lines
    g_terminal.raw = true;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

}  // namespace

void restore_terminal() noexcept {
    const int saved_errno = errno;
    if (g_terminal.raw.exchange(false)) tcsetattr(STDIN_FILENO, TCSANOW, &g_terminal.mode);
    errno = saved_errno;
}

Result<std::unique_ptr<CharBackend>> create_stdio_backend() {
    if (g_terminal.taken.exchange(true)) return Error{Errc::Busy, "stdio is in use by another character device"};
    StreamBackend::Streams streams;
    // Closed descriptors duplicate to invalid ones, which is a stream without that direction.
    streams.in = Fd(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
    streams.out = Fd(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
    streams.drop_input = isatty(STDIN_FILENO) != 0;
    auto created = StreamBackend::create(std::move(streams));
    if (!created) {
        g_terminal.taken = false;
        return std::move(created).error();
    }
    auto backend = std::move(created).value();
    backend->set_cleanup([] {
        restore_terminal();
        g_terminal.taken = false;
    });
    enter_raw_mode();
    backend->start();
    return std::unique_ptr<CharBackend>(std::move(backend));
}

}  // namespace tandem::devices
