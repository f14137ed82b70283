#include "frontend/signal_watcher.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

namespace tandem::frontend {

SignalWatcher::SignalWatcher(std::function<void(int)> on_signal) : on_signal_(std::move(on_signal)) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    std::signal(SIGPIPE, SIG_IGN);  // a closed console must not end the machine
    signals_ = signalfd(-1, &set, SFD_CLOEXEC);
    stop_ = eventfd(0, EFD_CLOEXEC);
    thread_ = std::thread([this] { watch(); });
}

SignalWatcher::~SignalWatcher() {
    const u64 one = 1;
    if (write(stop_, &one, sizeof one) == sizeof one) thread_.join();
    close(signals_);
    close(stop_);
}

void SignalWatcher::watch() {
    std::array<pollfd, 2> fds{{{signals_, POLLIN, 0}, {stop_, POLLIN, 0}}};
    while (poll(fds.data(), fds.size(), -1) >= 0 || errno == EINTR) {
        if (fds[1].revents != 0) return;
        signalfd_siginfo info{};
        if (fds[0].revents == 0 || read(signals_, &info, sizeof info) != sizeof info) continue;
        int none = 0;
        received_.compare_exchange_strong(none, static_cast<int>(info.ssi_signo));
        on_signal_(static_cast<int>(info.ssi_signo));
    }
}

}  // namespace tandem::frontend
