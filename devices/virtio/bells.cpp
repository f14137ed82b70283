#include "devices/virtio/bells.h"

#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/log.h"
#include "devices/virtio/device_loop.h"

namespace tandem::devices::virtio {

Result<std::unique_ptr<Bells>> Bells::create(VirtioDevice& device) {
    std::vector<Fd> events;
    for (u16 queue = 0; queue < device.queue_count(); ++queue) {
        Fd event;
        if (device.own_bell(queue) < 0) {
            TANDEM_TRY_ASSIGN(event, create_wake_descriptor());
        }
        events.push_back(std::move(event));
    }
    TANDEM_TRY_ASSIGN(Fd quit, create_wake_descriptor());
    return std::unique_ptr<Bells>(new Bells(device, std::move(events), std::move(quit)));
}

Bells::Bells(VirtioDevice& device, std::vector<Fd> events, Fd quit)
    : device_(device), events_(std::move(events)), quit_(std::move(quit)) {
    if (std::ranges::any_of(events_, &Fd::valid)) thread_ = std::thread([this] { run(); });
}

Bells::~Bells() {
    if (!thread_.joinable()) return;
    const u64 one = 1;
    (void)!::write(quit_.get(), &one, sizeof one);
    thread_.join();
}

int Bells::event(u16 queue) const { return events_[queue].valid() ? events_[queue].get() : device_.own_bell(queue); }

void Bells::run() {
    // Signals are for the program's own threads.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    prctl(PR_SET_NAME, "tandem-bells", 0UL, 0UL, 0UL);
    std::vector<pollfd> fds{{quit_.get(), POLLIN, 0}};
    for (const Fd& event : events_) fds.push_back({event.get(), POLLIN, 0});  // poll() passes over those below 0
    for (;;) {
        if (::poll(fds.data(), fds.size(), -1) < 0) continue;
        if (fds[0].revents != 0) return;
        for (std::size_t queue = 0; queue < events_.size(); ++queue) {
            if (fds[queue + 1].revents == 0) continue;
            u64 count = 0;
            (void)!::read(fds[queue + 1].fd, &count, sizeof count);
            device_.notify(static_cast<u16>(queue));
        }
    }
}

std::vector<Doorbell> queue_doorbells(VirtioDevice& device, std::unique_ptr<Bells>& bells,
                                      const std::function<Doorbell(u16 queue)>& place) {
    if (!bells) {
        auto created = Bells::create(device);
        if (!created) {
            log::warn("{}: {}; its notifications leave the guest", device.name(), created.error().message);
            return {};
        }
        bells = std::move(*created);
    }
    std::vector<Doorbell> all;
    for (u16 queue = 0; queue < device.queue_count(); ++queue) {
        all.push_back(place(queue));
        all.back().event = bells->event(queue);
    }
    return all;
}

}  // namespace tandem::devices::virtio
