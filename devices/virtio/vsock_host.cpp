// Unix sockets as the host's end of a vsock device.
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <optional>

#include "devices/virtio/vsock.h"

namespace tandem::devices::virtio {
namespace {

constexpr int kBacklog = 64;

std::optional<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    if (path.empty() || path.size() >= sizeof address.sun_path) return std::nullopt;
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    return address;
}

bool connects(int fd, const sockaddr_un& address) {
    return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

Fd new_socket() { return Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); }

class UnixVsockHost final : public VsockHost {
public:
    UnixVsockHost(std::string path, Fd listener) : path_(std::move(path)), listener_(std::move(listener)) {}
    ~UnixVsockHost() override { ::unlink(path_.c_str()); }
    UnixVsockHost(const UnixVsockHost&) = delete;
    UnixVsockHost& operator=(const UnixVsockHost&) = delete;

    [[nodiscard]] int listener() const override { return listener_.get(); }
    Fd accept() override { return Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)); }
    Fd dial(u32 port) override {
        const auto address = address_of(fmt::format("{}_{}", path_, port));
        Fd fd = new_socket();
        if (!address || !fd.valid() || !connects(fd.get(), *address)) return {};
        return fd;
    }

private:
    const std::string path_;
    const Fd listener_;
};

}  // namespace

Result<std::unique_ptr<VsockHost>> listen_for_vsock(const std::string& path) {
    const auto address = address_of(path);
    if (!address) return invalid(fmt::format("path '{}' is empty or too long for a Unix socket", path));
    if (const Fd probe = new_socket(); probe.valid()) {
        if (connects(probe.get(), *address)) {
            return Error{Errc::Busy, fmt::format("'{}' has a listening server already", path)};
        }
        // A socket that nobody listens on is left over from an earlier run.
        if (errno == ECONNREFUSED) ::unlink(path.c_str());
    }
    Fd listener = new_socket();
    if (!listener.valid() || ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0 ||
        ::listen(listener.get(), kBacklog) != 0) {
        return io_error(fmt::format("cannot listen on '{}'", path));
    }
    return std::unique_ptr<VsockHost>(std::make_unique<UnixVsockHost>(path, std::move(listener)));
}

}  // namespace tandem::devices::virtio
