#include "devices/block/image_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "base/log.h"
#include "devices/block/nbd.h"

namespace tandem::devices::block {
namespace {

constexpr const char* kProgram = "qemu-nbd";
constexpr std::array<std::string_view, 9> kFormats{"qcow2", "qcow", "qed",       "vdi", "vmdk",
                                                   "vhdx",  "vpc",  "parallels", "luks"};
constexpr int kEndMs = 30'000;     // for what the server still has to write
constexpr int kListenFd = 3;       // the first descriptor of socket activation (sd_listen_fds(3))
constexpr unsigned kClients = 16;  // more than one: the server then allows several connections

bool installed(const std::string& program) {
    const char* path = std::getenv("PATH");
    std::string_view rest = path != nullptr ? path : "/usr/bin:/bin";
    while (!rest.empty()) {
        const auto colon = rest.find(':');
        const std::string directory(rest.substr(0, colon));
        if (::access((directory + "/" + program).c_str(), X_OK) == 0) return true;
        rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
    }
    return false;
}

// A descriptor, closed at the end.
class Descriptor {
public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() { close(); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    [[nodiscard]] int get() const { return fd_; }
    void close() {
        if (fd_ >= 0) ::close(fd_);
        fd_ = -1;
    }

private:
    int fd_;
};

// The running program and the directory of its socket.
class ImageServer {
public:
    static Result<std::shared_ptr<ImageServer>> start(std::vector<std::string> arguments) {
        auto server = std::make_shared<ImageServer>();
        TANDEM_TRY(server->make_socket());
        TANDEM_TRY(server->spawn(std::move(arguments)));
        return server;
    }
    ImageServer() : messages_(::memfd_create("qemu-nbd messages", MFD_CLOEXEC)) {}
    ~ImageServer() {
        remove_socket();
        if (pid_ > 0) end();
    }
    ImageServer(const ImageServer&) = delete;
    ImageServer& operator=(const ImageServer&) = delete;

    [[nodiscard]] const std::string& socket_path() const { return path_; }
    // Once connected nobody else shall be able to.
    void remove_socket() {
        if (directory_.empty()) return;
        ::unlink(path_.c_str());
        ::rmdir(directory_.c_str());
        directory_.clear();
    }
    // What the program has said, on one line.
    [[nodiscard]] std::string messages() const {
        std::array<char, 1024> text{};
        const ssize_t n = ::pread(messages_.get(), text.data(), text.size(), 0);
        std::string line(text.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
        while (line.ends_with('\n')) line.pop_back();
        std::ranges::replace(line, '\n', ' ');
        return line;
    }

private:
    Result<void> make_socket() {
        const char* base = std::getenv("XDG_RUNTIME_DIR");
        std::string name = std::string(base != nullptr && *base != '\0' ? base : "/tmp") + "/tandem-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) return io_error(fmt::format("cannot create a directory '{}'", name));
        directory_ = name;
        path_ = name + "/nbd";
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        if (path_.size() >= sizeof address.sun_path) return invalid(fmt::format("'{}' is too long for a socket", path_));
        path_.copy(address.sun_path, sizeof address.sun_path - 1);
        listener_ = std::make_unique<Descriptor>(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (listener_->get() < 0 ||
            ::bind(listener_->get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
            ::listen(listener_->get(), kClients) != 0) {
            return io_error(fmt::format("cannot listen on '{}'", path_));
        }
        return {};
    }

    // The socket is handed over ready, so that connecting needs no waiting. LISTEN_PID must be the program's own id, which
    // only the new process knows.
    Result<void> spawn(std::vector<std::string> arguments) {
        std::vector<std::string> words{"sh", "-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"", kProgram};
        words.insert(words.end(), arguments.begin(), arguments.end());
        std::vector<char*> argv;
        for (auto& w : words) argv.push_back(w.data());
        argv.push_back(nullptr);

        posix_spawn_file_actions_t files;
        ::posix_spawn_file_actions_init(&files);
        ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDWR, 0);
        ::posix_spawn_file_actions_adddup2(&files, STDIN_FILENO, STDOUT_FILENO);
        ::posix_spawn_file_actions_adddup2(&files, messages_.get(), STDERR_FILENO);
        ::posix_spawn_file_actions_adddup2(&files, listener_->get(), kListenFd);
        posix_spawnattr_t attributes;
        ::posix_spawnattr_init(&attributes);
        // A group of its own: Ctrl-C at the terminal is for the machine, which then ends its servers in order.
        ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        sigset_t none, all;
        ::sigemptyset(&none);
        ::sigfillset(&all);
        ::posix_spawnattr_setsigmask(&attributes, &none);
        ::posix_spawnattr_setsigdefault(&attributes, &all);
        const int rc = ::posix_spawn(&pid_, "/bin/sh", &files, &attributes, argv.data(), environ);
        ::posix_spawnattr_destroy(&attributes);
        ::posix_spawn_file_actions_destroy(&files);
        listener_->close();
        if (rc == 0) return {};
        pid_ = -1;
        errno = rc;
        return io_error(fmt::format("cannot start {}", kProgram));
    }

    // The connections are closed: the program writes what it holds and ends by itself.
    void end() const {
        const Descriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
        pollfd fd{process.get(), POLLIN, 0};
        if (process.get() >= 0 && ::poll(&fd, 1, kEndMs) <= 0) {
            log::warn("{} (process {}) does not end; it is told to", kProgram, pid_);
            ::kill(pid_, SIGTERM);
        }
        ::waitpid(pid_, nullptr, 0);
    }

    Descriptor messages_;
    std::unique_ptr<Descriptor> listener_;
    std::string directory_, path_;
    pid_t pid_ = -1;
};

std::vector<std::string> server_arguments(const DriveOptions& o, const std::string& path) {
    const char* cache = o.no_flush                    ? "unsafe"
                        : o.direct && o.write_through ? "directsync"
                        : o.direct                    ? "none"
                        : o.write_through             ? "writethrough"
                                                      : "writeback";
    std::vector<std::string> words{"--format",
                                   o.format,
                                   fmt::format("--shared={}", kClients),
                                   fmt::format("--cache={}", cache),
                                   fmt::format("--aio={}", o.io_uring ? "io_uring" : "threads"),
                                   fmt::format("--discard={}", o.discard ? "unmap" : "ignore")};
    if (o.readonly) words.emplace_back("--read-only");
    words.push_back(path);
    return words;
}

}  // namespace

bool known_image_format(std::string_view format) { return std::ranges::find(kFormats, format) != kFormats.end(); }

std::string image_formats() { return fmt::format("{}", fmt::join(kFormats, ", ")); }

Result<std::unique_ptr<BlockBackend>> open_image(const DriveOptions& options) {
    if (!installed(kProgram)) {
        return Error{Errc::Unsupported,
                     fmt::format("format={} needs {}, which is not installed (Debian's package qemu-utils)", options.format,
                                 kProgram)};
    }
    // An absolute path is never taken for the name of a protocol.
    std::error_code error;
    const auto path = std::filesystem::absolute(options.file, error);
    if (::access(options.file.c_str(), F_OK) != 0) return io_error(fmt::format("cannot open drive file '{}'", options.file));
    TANDEM_TRY_ASSIGN(auto server, ImageServer::start(server_arguments(options, path.string())));
    NbdAddress address;
    address.unix_path = server->socket_path();
    auto disk = open_nbd(address, options.file, options.readonly, server);
    server->remove_socket();
    if (disk.ok()) return disk;
    // The program knows better than the connection what is wrong with the image.
    const std::string said = server->messages();
    if (said.empty()) return disk;
    return Error{Errc::Io, fmt::format("drive file '{}' ({}): {}", options.file, options.format, said)};
}

}  // namespace tandem::devices::block
