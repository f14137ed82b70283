#include "devices/char/backends.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/log.h"
#include "devices/char/stream_backend.h"
#include "devices/char/terminal.h"

namespace tandem::devices {
namespace {

using Created = Result<std::unique_ptr<CharBackend>>;

class NullBackend final : public CharBackend {
public:
    void write(std::span<const u8>) override {}
    void set_receiver(std::function<std::size_t(std::span<const u8>)>) override {}
    void resume_input() override {}
};

Created launch(StreamBackend::Streams streams, std::function<void()> cleanup = {}) {
    TANDEM_TRY_ASSIGN(auto backend, StreamBackend::create(std::move(streams)));
    backend->set_cleanup(std::move(cleanup));
    backend->start();
    return std::unique_ptr<CharBackend>(std::move(backend));
}

Created create_file(const std::string& path) {
    if (path.empty()) return invalid("file: needs a path");
    StreamBackend::Streams s;
    s.out = Fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (!s.out.valid()) return io_error(fmt::format("cannot open '{}'", path));
    return launch(std::move(s));
}

Created create_pty() {
    Fd master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    if (!master.valid() || grantpt(master.get()) != 0 || unlockpt(master.get()) != 0) {
        return io_error("cannot create a pseudo-terminal");
    }
    char path[128];
    if (ptsname_r(master.get(), path, sizeof path) != 0) return io_error("cannot name the pseudo-terminal");
    // Our own hold on the slave side keeps the master usable while nobody is attached.
    const int slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0) return io_error(fmt::format("cannot open '{}'", path));
    termios mode{};
    if (tcgetattr(slave, &mode) == 0) {
        cfmakeraw(&mode);
        tcsetattr(slave, TCSANOW, &mode);
    }
    StreamBackend::Streams s;
    s.out = Fd(fcntl(master.get(), F_DUPFD_CLOEXEC, 0));
    s.in = std::move(master);
    s.wait_for_room = false;
    log::info("character device on {}", path);
    return launch(std::move(s), [slave] { close(slave); });
}

struct SocketOptions {
    std::string path;
    bool server = false;
    bool wait = true;
};

Result<SocketOptions> parse_socket(std::string_view text) {
    SocketOptions o;
    const auto comma = text.find(',');
    o.path = text.substr(0, comma);
    if (o.path.empty()) return invalid("unix: needs a path");
    if (o.path.size() >= sizeof(sockaddr_un::sun_path)) return invalid(fmt::format("unix: path '{}' is too long", o.path));
    struct Row {
        std::string_view word;
        bool SocketOptions::* field;
        bool value;
    };
    static constexpr Row kRows[] = {
        {"server", &SocketOptions::server, true},      {"server=on", &SocketOptions::server, true},
        {"server=off", &SocketOptions::server, false}, {"nowait", &SocketOptions::wait, false},
        {"wait=on", &SocketOptions::wait, true},       {"wait=off", &SocketOptions::wait, false},
    };
    while (text.find(',') != std::string_view::npos) {
        text.remove_prefix(text.find(',') + 1);
        const auto word = text.substr(0, text.find(','));
        bool known = false;
        for (const Row& row : kRows) {
            if (row.word != word) continue;
            o.*row.field = row.value;
            known = true;
        }
        if (!known) return invalid(fmt::format("unix: unknown option '{}' (known: server, nowait, wait=on|off)", word));
    }
    return o;
}

Created create_socket(std::string_view text) {
    TANDEM_TRY_ASSIGN(const SocketOptions o, parse_socket(text));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, o.path.c_str(), o.path.size() + 1);
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    Fd socket_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket_fd.valid()) return io_error("cannot create a socket");

    StreamBackend::Streams s;
    const bool answered = connect(socket_fd.get(), generic, sizeof address) == 0;
    if (!o.server) {
        if (!answered) return io_error(fmt::format("cannot connect to '{}'", o.path));
        s.in = std::move(socket_fd);
        fcntl(s.in.get(), F_SETFL, O_NONBLOCK);
        s.out = Fd(fcntl(s.in.get(), F_DUPFD_CLOEXEC, 0));
        return launch(std::move(s));
    }
    if (answered) return Error{Errc::Busy, fmt::format("'{}' has a listening server already", o.path)};
    // A socket that nobody listens on is left over from an earlier run.
    if (errno == ECONNREFUSED) unlink(o.path.c_str());
    if (bind(socket_fd.get(), generic, sizeof address) != 0 || listen(socket_fd.get(), 1) != 0) {
        return io_error(fmt::format("cannot listen on '{}'", o.path));
    }
    s.listener = std::move(socket_fd);
    if (o.wait) {
        log::info("waiting for a connection on '{}'", o.path);
        s.in = Fd(accept4(s.listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!s.in.valid()) return io_error(fmt::format("cannot accept on '{}'", o.path));
        s.out = Fd(fcntl(s.in.get(), F_DUPFD_CLOEXEC, 0));
    }
    return launch(std::move(s), [path = o.path] { unlink(path.c_str()); });
}

}  // namespace

Created create_char_backend(std::string_view spec, const ConsoleEvents& events) {
    const auto after = [&](std::string_view prefix) { return spec.substr(prefix.size()); };
    if (spec == "stdio" || spec == "mon:stdio") return create_stdio_backend(events);
    if (spec == "null" || spec == "none") return std::unique_ptr<CharBackend>(std::make_unique<NullBackend>());
    if (spec == "pty") return create_pty();
    if (spec.starts_with("file:")) return create_file(std::string(after("file:")));
    if (spec.starts_with("unix:")) return create_socket(after("unix:"));
    return invalid(
        fmt::format("unknown character device '{}' (known: stdio, mon:stdio, file:PATH, null, pty, unix:PATH)", spec));
}

}  // namespace tandem::devices
