#include "devices/char/stream_backend.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

namespace tandem::devices {
namespace {

constexpr std::size_t kOutputLimit = 64 << 10;
constexpr std::size_t kInputLimit = 4096;
constexpr std::size_t kChunk = 512;  // below PIPE_BUF: a writable pipe takes it without blocking
constexpr int kRetryMs = 200;

}  // namespace

void Fd::reset(int fd) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
}

Result<std::unique_ptr<StreamBackend>> StreamBackend::create(Streams streams) {
    Fd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake.valid()) return io_error("cannot create an event descriptor");
    return std::unique_ptr<StreamBackend>(new StreamBackend(std::move(streams), std::move(wake)));
}

void StreamBackend::start() {
    connected_ = streams_.out.valid();
    thread_ = std::thread([this] { serve(); });
}

StreamBackend::~StreamBackend() {
    if (thread_.joinable()) {
        {
            std::unique_lock guard(lock_);
            drained_.wait_for(guard, std::chrono::seconds(2), [&] { return output_.empty() || !connected_ || congested_; });
            quit_ = true;
        }
        wake();
        thread_.join();
    }
    if (cleanup_) cleanup_();
}

void StreamBackend::wake() {
    const u64 one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
}

void StreamBackend::write(std::span<const u8> bytes) {
    std::unique_lock guard(lock_);
    for (const u8 byte : bytes) {
        if (!connected_) return;
        if (output_.size() >= kOutputLimit && streams_.wait_for_room && !congested_) {
            congested_ = !room_.wait_for(guard, std::chrono::seconds(1), [&] { return output_.size() < kOutputLimit; });
        }
        if (output_.size() >= kOutputLimit) return;
        output_.push_back(byte);
        if (output_.size() == 1) wake();
    }
}

void StreamBackend::set_receiver(Receiver receiver) {
    {
        std::lock_guard guard(receiver_lock_);
        receiver_ = std::move(receiver);
    }
    // Also where an earlier receiver's resume_input() has not been answered: it may have gone before that.
    resumed_ = true;
    wake();
}

void StreamBackend::resume_input() {
    if (!resumed_.exchange(true)) wake();
}

void StreamBackend::on_focus(std::function<void()>&& f) {
    {
        std::lock_guard guard(receiver_lock_);
        on_focus_ = std::move(f);
        announced_ = false;
    }
    wake();
}

bool StreamBackend::wants_output() {
    std::lock_guard guard(lock_);
    return !output_.empty();
}

void StreamBackend::serve() {
    // Signals are for the program's own threads; SIGPIPE then shows as EPIPE.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    prctl(PR_SET_NAME, "tandem-char", 0UL, 0UL, 0UL);
    for (;;) {
        {
            std::lock_guard guard(lock_);
            if (quit_) return;
        }
        const bool read_more = streams_.drop_input || input_.size() < kInputLimit;
        std::array<pollfd, 4> fds{{{wake_.get(), POLLIN, 0},
                                   {read_more ? streams_.in.get() : -1, POLLIN, 0},
                                   {wants_output() ? streams_.out.get() : -1, POLLOUT, 0},
                                   {streams_.out.valid() ? -1 : streams_.listener.get(), POLLIN, 0}}};
        if (poll(fds.data(), fds.size(), -1) < 0) continue;
        if (fds[0].revents != 0) {
            u64 count = 0;
            (void)!::read(wake_.get(), &count, sizeof count);
        }
        if (fds[1].revents != 0) read_input();
        if (fds[2].revents != 0 && streams_.out.valid()) write_output();
        if (fds[3].revents != 0) accept_client();
        offer_input();
    }
}

void StreamBackend::read_input() {
    std::vector<u8> bytes(kChunk);
    const ssize_t n = ::read(streams_.in.get(), bytes.data(), bytes.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (n < 0 && errno == EIO) {
        // A terminal that we are in the background of: not now.
        poll(nullptr, 0, kRetryMs);
        return;
    }
    if (n <= 0) {
        // End of input. A socket's client has gone with both directions.
        if (streams_.listener.valid()) {
            drop_client();
        } else {
            streams_.in.reset();
        }
        return;
    }
    bytes.resize(static_cast<std::size_t>(n));
    const std::size_t room = kInputLimit + kChunk - std::min(input_.size(), kInputLimit + kChunk);
    const auto end = bytes.begin() + static_cast<std::ptrdiff_t>(std::min(room, bytes.size()));
    input_.insert(input_.end(), bytes.begin(), end);
}

void StreamBackend::offer_input() {
    std::lock_guard guard(receiver_lock_);
    if (!announced_ && on_focus_ && streams_.out.valid()) {
        announced_ = true;
        on_focus_();
    }
    // A receiver that keeps something itself hears of resume_input() also when there is nothing new.
    if (input_.empty() && receiver_ && resumed_.exchange(false)) (void)receiver_({});
    while (!input_.empty() && receiver_) {
        resumed_ = false;
        std::array<u8, kChunk> chunk{};
        const std::size_t n = std::min(input_.size(), chunk.size());
        std::copy_n(input_.begin(), n, chunk.begin());
        const std::size_t taken = std::min(receiver_(std::span(chunk).first(n)), n);
        input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(taken));
        // Nothing taken: wait for resume_input(), unless it came meanwhile.
        if (taken == 0 && !resumed_) return;
    }
    // A resume_input() that came since stays: it has woken the thread, and the next round calls the receiver for it.
}

void StreamBackend::write_output() {
    std::array<u8, kChunk> chunk{};
    std::size_t n = 0;
    {
        std::lock_guard guard(lock_);
        n = std::min(output_.size(), chunk.size());
        std::copy_n(output_.begin(), n, chunk.begin());
    }
    const ssize_t written = ::write(streams_.out.get(), chunk.data(), n);
    if (written < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (written < 0 && errno != EIO) return drop_client();
    std::lock_guard guard(lock_);
    if (written > 0) {
        output_.erase(output_.begin(), output_.begin() + written);
        congested_ = false;
    } else {
        output_.clear();
    }
    room_.notify_all();
    if (output_.empty()) drained_.notify_all();
}

void StreamBackend::accept_client() {
    Fd client(accept4(streams_.listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client.valid()) {
        poll(nullptr, 0, kRetryMs);
        return;
    }
    Fd copy(fcntl(client.get(), F_DUPFD_CLOEXEC, 0));
    if (!copy.valid()) return;
    streams_.in = std::move(client);
    streams_.out = std::move(copy);
    {
        std::lock_guard guard(lock_);
        connected_ = true;
    }
    std::lock_guard guard(receiver_lock_);
    announced_ = false;
}

void StreamBackend::drop_client() {
    if (streams_.listener.valid()) streams_.in.reset();
    streams_.out.reset();
    std::lock_guard guard(lock_);
    connected_ = false;
    congested_ = false;
    output_.clear();
    room_.notify_all();
    drained_.notify_all();
}

}  // namespace tandem::devices
