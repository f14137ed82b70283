#include "devices/virtio/device_loop.h"

#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>

namespace tandem::devices::virtio {

Result<Fd> create_wake_descriptor() {
    Fd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake.valid()) return io_error("cannot create an event descriptor");
    return wake;
}

DeviceLoop::DeviceLoop(Fd wake, const char* name, Work work)
    : wake_(std::move(wake)), work_(std::move(work)), thread_([this, name] { run(name); }) {}

DeviceLoop::~DeviceLoop() {
    quit_ = true;
    wake();
    thread_.join();
}

void DeviceLoop::wake() const {
    const u64 one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
}

void DeviceLoop::drain() const {
    std::unique_lock guard(rounds_lock_);
    const u64 wanted = rounds_begun_ + 1;
    rounds_wanted_ = wanted;
    wake();
    rounds_changed_.wait(guard, [&] { return rounds_ended_ >= wanted; });
}

// Someone waits for another round: the one that was under way may have taken its wake-up for its own.
bool DeviceLoop::round_is_owed() const {
    std::lock_guard guard(rounds_lock_);
    return rounds_begun_ < rounds_wanted_;
}

void DeviceLoop::run(const char* name) {
    // Signals are for the program's own threads.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    prctl(PR_SET_NAME, name, 0UL, 0UL, 0UL);
    std::vector<pollfd> fds;
    while (!quit_) {
        int timeout_ms = -1;
        fds.assign(1, {wake_.get(), POLLIN, 0});
        work_.watch(fds, timeout_ms);
        if (round_is_owed()) timeout_ms = 0;
        if (poll(fds.data(), fds.size(), timeout_ms) < 0) {
            for (auto& fd : fds) fd.revents = 0;
        }
        {
            std::lock_guard guard(rounds_lock_);
            ++rounds_begun_;
        }
        if (fds[0].revents != 0) {
            u64 count = 0;
            (void)!::read(wake_.get(), &count, sizeof count);
        }
        work_.round(std::span<const pollfd>(fds).subspan(1));
        {
            std::lock_guard guard(rounds_lock_);
            ++rounds_ended_;
        }
        rounds_changed_.notify_all();
    }
}

}  // namespace tandem::devices::virtio
