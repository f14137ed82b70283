#include "devices/virtio/vsock_stream.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace tandem::devices::virtio {

// A byte at a time: what follows the line is for the guest.
VsockStream::Command VsockStream::read_command(u32& port) {
    constexpr std::size_t kLongest = 32;
    constexpr std::string_view kWord = "CONNECT ";
    for (char c = 0; command_.size() < kLongest;) {
        const ssize_t n = ::read(fd_.get(), &c, 1);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return Command::Incomplete;
        if (n <= 0) return Command::Bad;
        if (c != '\n') {
            command_ += c;
            continue;
        }
        if (!command_.starts_with(kWord)) return Command::Bad;
        const char* last = command_.data() + command_.size();
        const auto [end, error] = std::from_chars(command_.data() + kWord.size(), last, port);
        return error == std::errc{} && end == last ? Command::Good : Command::Bad;
    }
    return Command::Bad;
}

bool VsockStream::queue(std::span<const u8> bytes) {
    if (bytes.size() > kBuffer - pending_.size()) return false;
    pending_.insert(pending_.end(), bytes.begin(), bytes.end());
    return true;
}

bool VsockStream::flush() {
    std::array<u8, 16 << 10> piece;
    while (!pending_.empty()) {
        const std::size_t size = std::min(piece.size(), pending_.size());
        std::copy_n(pending_.begin(), size, piece.begin());
        const ssize_t n = ::send(fd_.get(), piece.data(), size, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
        if (n <= 0) return false;
        pending_.erase(pending_.begin(), pending_.begin() + n);
        forwarded_ += static_cast<u32>(n);
    }
    return true;
}

void VsockStream::sign(VsockHeader& header) {
    header.buffer = kBuffer;
    header.forwarded = forwarded_;
    told_ = forwarded_;
}

}  // namespace tandem::devices::virtio
