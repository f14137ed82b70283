// A TAP device of the host: frames with the offload header as the kernel and virtio share it.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "base/log.h"

#include "devices/char/stream_backend.h"
#include "devices/net/backends.h"

namespace tandem::devices {
namespace {

constexpr std::size_t kMaxFrame = 65536 + 18;
constexpr unsigned kBurst = 64;  // frames read before the device is served again

Result<void> run_script(const std::string& script, const std::string& interface) {
    std::string program = script, name = interface;
    const std::array<char*, 3> argv{program.data(), name.data(), nullptr};
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    sigset_t none;
    ::sigemptyset(&none);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    pid_t pid = -1;
    const int rc = ::posix_spawn(&pid, script.c_str(), nullptr, &attributes, argv.data(), environ);
    ::posix_spawnattr_destroy(&attributes);
    if (rc != 0) {
        errno = rc;
        return io_error(fmt::format("cannot run the network script '{}'", script));
    }
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return Error{Errc::Io, fmt::format("the network script '{}' failed for '{}' with status {}", script, interface,
                                       WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status))};
}

class Tap final : public NetBackend {
public:
    Tap(Fd fd, const TapOptions& options)
        : fd_(std::move(fd)), buffer_(kMaxFrame), interface_(options.interface), down_script_(options.down_script) {}
    ~Tap() override {
        if (down_script_.empty()) return;
        if (auto done = run_script(down_script_, interface_); !done.ok()) log::warn("{}", done.error().message);
    }
    Tap(const Tap&) = delete;
    Tap& operator=(const Tap&) = delete;

    [[nodiscard]] bool takes_unfinished() const override { return true; }
    [[nodiscard]] bool gives_unfinished() const override { return true; }

    void set_offloads(const Offloads& o) override {
        unsigned flags = 0;
        // The kernel wants the checksum bit with every other.
        if (o.checksum) {
            flags = TUN_F_CSUM | (o.tcp4 ? TUN_F_TSO4 : 0u) | (o.tcp6 ? TUN_F_TSO6 : 0u);
            if (o.ecn && (o.tcp4 || o.tcp6)) flags |= TUN_F_TSO_ECN;
        }
        (void)ioctl(fd_.get(), TUNSETOFFLOAD, flags);
    }

    void send(const FrameHeader& header, std::span<const u8> frame) override {
        FrameHeader copy = header;
        const std::array<iovec, 2> parts{{{&copy, sizeof copy}, {const_cast<u8*>(frame.data()), frame.size()}}};
        (void)!writev(fd_.get(), parts.data(), static_cast<int>(parts.size()));
    }

    void watch(std::vector<pollfd>& fds, int&, bool want_frames) override {
        fds.push_back({want_frames ? fd_.get() : -1, POLLIN, 0});
    }

    void serve(std::span<const pollfd> fds, const Receiver& receiver) override {
        if (fds[0].revents == 0) return;
        for (unsigned i = 0; i < kBurst; ++i) {
            FrameHeader header;
            const std::array<iovec, 2> parts{{{&header, sizeof header}, {buffer_.data(), buffer_.size()}}};
            const ssize_t n = readv(fd_.get(), parts.data(), static_cast<int>(parts.size()));
            if (n <= static_cast<ssize_t>(sizeof header)) return;
            receiver(header, std::span(buffer_).first(static_cast<std::size_t>(n) - sizeof header));
        }
    }

private:
    Fd fd_;
    std::vector<u8> buffer_;
    std::string interface_, down_script_;
};

}  // namespace

Result<std::unique_ptr<NetBackend>> create_tap(const TapOptions& options) {
    ifreq request{};
    if (options.interface.empty() || options.interface.size() >= sizeof request.ifr_name) {
        return invalid(
            fmt::format("ifname '{}' must have 1 to {} characters", options.interface, sizeof request.ifr_name - 1));
    }
    Fd fd(open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
    if (!fd.valid()) return io_error("cannot open '/dev/net/tun'");
    options.interface.copy(request.ifr_name, options.interface.size());
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (ioctl(fd.get(), TUNSETIFF, &request) != 0) {
        return io_error(fmt::format("cannot attach to the TAP device '{}'", options.interface));
    }
    const int header_size = sizeof(FrameHeader);
    if (ioctl(fd.get(), TUNSETVNETHDRSZ, &header_size) != 0) {
        return io_error(fmt::format("TAP device '{}': the kernel has no offload headers", options.interface));
    }
    if (!options.script.empty()) TANDEM_TRY(run_script(options.script, options.interface));
    return std::unique_ptr<NetBackend>(std::make_unique<Tap>(std::move(fd), options));
}

}  // namespace tandem::devices
