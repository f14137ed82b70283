#include "devices/char/backends.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/log.h"
#include "devices/char/exit_stream.h"
#include "devices/char/mux.h"
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

Created create_file(const std::string& path, bool append) {
    if (path.empty()) return invalid("file: needs a path");
    StreamBackend::Streams s;
    s.out = Fd(open(path.c_str(), O_WRONLY | O_CREAT | (append ? O_APPEND : O_TRUNC) | O_CLOEXEC, 0666));
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

// "PATH[,server[=on|off]][,nowait|,wait=on|off]" or "HOST:PORT[,...]".
Result<void> parse_socket_flags(std::string_view kind, std::string_view text, CharSpec& spec) {
    struct Row {
        std::string_view word;
        bool CharSpec::* field;
        bool value;
    };
    static constexpr Row kRows[] = {
        {"server", &CharSpec::server, true},      {"server=on", &CharSpec::server, true},
        {"server=off", &CharSpec::server, false}, {"nowait", &CharSpec::wait, false},
        {"wait=on", &CharSpec::wait, true},       {"wait=off", &CharSpec::wait, false},
        {"nodelay", &CharSpec::nodelay, true},    {"nodelay=on", &CharSpec::nodelay, true},
    };
    while (text.find(',') != std::string_view::npos) {
        text.remove_prefix(text.find(',') + 1);
        const auto word = text.substr(0, text.find(','));
        const auto* row = std::ranges::find(kRows, word, &Row::word);
        if (row == std::end(kRows)) {
            return invalid(fmt::format("{}: unknown option '{}' (known: server, nowait, wait=on|off, nodelay)", kind, word));
        }
        spec.*row->field = row->value;
    }
    return {};
}

struct AddressListDeleter {
    void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using AddressList = std::unique_ptr<addrinfo, AddressListDeleter>;

// Where a socket listens or connects to.
struct Endpoint {
    std::string name;  // for messages
    int family = AF_UNIX;
    sockaddr_storage address{};
    socklen_t length = 0;
};

Result<Endpoint> resolve_unix(const CharSpec& spec) {
    if (spec.path.empty()) return invalid("unix: needs a path");
    Endpoint e{spec.path};
    sockaddr_un address{};
    if (spec.path.size() >= sizeof address.sun_path) return invalid(fmt::format("unix: path '{}' is too long", spec.path));
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, spec.path.c_str(), spec.path.size() + 1);
    std::memcpy(&e.address, &address, sizeof address);
    e.length = sizeof address;
    return e;
}

Result<Endpoint> resolve_tcp(const CharSpec& spec) {
    Endpoint e{fmt::format("{}:{}", spec.host, spec.port)};
    if (spec.port.empty()) return invalid("tcp: needs HOST:PORT");
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = spec.server ? AI_PASSIVE : 0;
    addrinfo* found = nullptr;
    const int rc = getaddrinfo(spec.host.empty() ? nullptr : spec.host.c_str(), spec.port.c_str(), &hints, &found);
    if (rc != 0) return Error{Errc::NotFound, fmt::format("tcp: address '{}': {}", e.name, gai_strerror(rc))};
    const AddressList list(found);
    e.family = list->ai_family;
    std::memcpy(&e.address, list->ai_addr, list->ai_addrlen);
    e.length = list->ai_addrlen;
    return e;
}

Created launch_client(Fd client, const CharSpec& spec, StreamBackend::Streams s, std::function<void()> cleanup) {
    const int on = 1;
    if (spec.nodelay) setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(client.get(), F_SETFL, O_NONBLOCK);
    s.out = Fd(fcntl(client.get(), F_DUPFD_CLOEXEC, 0));
    s.in = std::move(client);
    return launch(std::move(s), std::move(cleanup));
}

Created create_socket(const CharSpec& spec) {
    const bool local = spec.kind == CharSpec::Kind::Unix;
    TANDEM_TRY_ASSIGN(const Endpoint e, local ? resolve_unix(spec) : resolve_tcp(spec));
    const auto* generic = reinterpret_cast<const sockaddr*>(&e.address);
    Fd socket_fd(socket(e.family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket_fd.valid()) return io_error("cannot create a socket");

    if (!spec.server) {
        if (connect(socket_fd.get(), generic, e.length) != 0) return io_error(fmt::format("cannot connect to '{}'", e.name));
        return launch_client(std::move(socket_fd), spec, {}, {});
    }
    std::function<void()> cleanup;
    if (local) {
        if (connect(socket_fd.get(), generic, e.length) == 0) {
            return Error{Errc::Busy, fmt::format("'{}' has a listening server already", e.name)};
        }
        // A socket that nobody listens on is left over from an earlier run.
        if (errno == ECONNREFUSED) unlink(spec.path.c_str());
        cleanup = [path = spec.path] { unlink(path.c_str()); };
    } else {
        const int on = 1;
        setsockopt(socket_fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    if (bind(socket_fd.get(), generic, e.length) != 0 || listen(socket_fd.get(), 1) != 0) {
        return io_error(fmt::format("cannot listen on '{}'", e.name));
    }
    StreamBackend::Streams s;
    s.listener = std::move(socket_fd);
    if (!spec.wait) return launch(std::move(s), std::move(cleanup));
    log::info("waiting for a connection on '{}'", e.name);
    Fd client(accept4(s.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client.valid()) return io_error(fmt::format("cannot accept on '{}'", e.name));
    return launch_client(std::move(client), spec, std::move(s), std::move(cleanup));
}

// PATH.in and PATH.out, or PATH for both directions. A FIFO is opened for reading and writing, so that it does not wait for
// the other side.
Created create_pipe(const std::string& path) {
    if (path.empty()) return invalid("pipe: needs a path");
    StreamBackend::Streams s;
    s.in = Fd(open((path + ".in").c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
    s.out = Fd(open((path + ".out").c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
    if (s.in.valid() && s.out.valid()) return launch(std::move(s));
    s.in = Fd(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
    if (!s.in.valid()) return io_error(fmt::format("cannot open '{}' (nor '{}.in' and '{}.out')", path, path, path));
    s.out = Fd(fcntl(s.in.get(), F_DUPFD_CLOEXEC, 0));
    return launch(std::move(s));
}

}  // namespace

Result<CharSpec> parse_char_description(std::string_view text) {
    using Kind = CharSpec::Kind;
    struct Row {
        std::string_view prefix;
        Kind kind;
    };
    static constexpr Row kWords[] = {{"stdio", Kind::Stdio}, {"null", Kind::Null}, {"none", Kind::Null}, {"pty", Kind::Pty}};
    static constexpr Row kPaths[] = {
        {"file:", Kind::File}, {"pipe:", Kind::Pipe}, {"unix:", Kind::Unix}, {"tcp:", Kind::Tcp}};
    constexpr std::string_view kShared = "mon:";
    CharSpec spec;
    spec.mux = text.starts_with(kShared);
    if (spec.mux) text.remove_prefix(kShared.size());
    for (const Row& row : kWords) {
        if (text != row.prefix) continue;
        spec.kind = row.kind;
        return spec;
    }
    const auto* row = std::ranges::find_if(kPaths, [&](const Row& r) { return text.starts_with(r.prefix); });
    if (row == std::end(kPaths)) {
        return invalid(
            fmt::format("unknown character device '{}' (known: stdio, file:PATH, null, pty, pipe:PATH, "
                        "unix:PATH, tcp:HOST:PORT, each with mon: before it to share it with a monitor)",
                        text));
    }
    spec.kind = row->kind;
    text.remove_prefix(row->prefix.size());
    if (spec.kind == Kind::File || spec.kind == Kind::Pipe) {
        spec.path = text;
        return spec;
    }
    const std::string_view place = text.substr(0, text.find(','));
    if (spec.kind == Kind::Unix) {
        spec.path = place;
    } else if (const auto colon = place.rfind(':'); colon != std::string_view::npos) {
        spec.host = place.substr(0, colon);
        spec.port = place.substr(colon + 1);
    }
    TANDEM_TRY(parse_socket_flags(row->prefix.substr(0, row->prefix.size() - 1), text, spec));
    return spec;
}

namespace {

Created create_stream(const CharSpec& spec, const ConsoleEvents& events) {
    switch (spec.kind) {
        case CharSpec::Kind::Stdio: return create_stdio_backend();
        case CharSpec::Kind::Null: return std::unique_ptr<CharBackend>(std::make_unique<NullBackend>());
        case CharSpec::Kind::Pty: return create_pty();
        case CharSpec::Kind::File: return create_file(spec.path, spec.append);
        case CharSpec::Kind::Pipe: return create_pipe(spec.path);
        case CharSpec::Kind::Unix:
        case CharSpec::Kind::Tcp: return create_socket(spec);
        case CharSpec::Kind::Exit: return std::unique_ptr<CharBackend>(std::make_unique<ExitStream>(events.exit));
    }
    return invalid("unknown kind of character device");
}

}  // namespace

Created create_char_backend(const CharSpec& spec, const ConsoleEvents& events) {
    TANDEM_TRY_ASSIGN(auto stream, create_stream(spec, events));
    // Somebody who types at our own terminal has no other way out than the keys.
    const bool person = spec.kind == CharSpec::Kind::Stdio && isatty(STDIN_FILENO) != 0;
    if (!spec.mux && !person) return stream;
    auto mux = std::make_unique<Mux>(std::move(stream), events, person);
    if (spec.mux) return std::unique_ptr<CharBackend>(std::move(mux));
    return mux->share();
}

Created create_char_backend(std::string_view description, const ConsoleEvents& events) {
    TANDEM_TRY_ASSIGN(const CharSpec spec, parse_char_description(description));
    return create_char_backend(spec, events);
}

}  // namespace tandem::devices
