// Event descriptors as a device's bells, for an engine that rings them without coming to the machine
// (devices/fabric/doorbells.h), and the thread that answers them.
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/result.h"
#include "devices/char/stream_backend.h"
#include "devices/fabric/doorbells.h"
#include "devices/virtio/device.h"

namespace tandem::devices::virtio {

class Bells {
public:
    // One descriptor for each queue, those that the device waits for itself excepted. `device` outlives this. Io: the host
    // has no descriptors left.
    static Result<std::unique_ptr<Bells>> create(VirtioDevice& device);
    // Waits for an answer that is under way.
    ~Bells();
    Bells(const Bells&) = delete;
    Bells& operator=(const Bells&) = delete;

    // Whoever writes to it rings the queue's bell.
    [[nodiscard]] int event(u16 queue) const;

private:
    Bells(VirtioDevice& device, std::vector<Fd> events, Fd quit);
    void run();

    VirtioDevice& device_;
    const std::vector<Fd> events_;  // by queue; not valid: the device's own
    const Fd quit_;
    std::thread thread_;  // last: it uses everything above
};

// A transport's doorbells: `place` tells address, size and value of each queue's. `bells` is made when it is needed.
std::vector<Doorbell> queue_doorbells(VirtioDevice& device, std::unique_ptr<Bells>& bells,
                                      const std::function<Doorbell(u16 queue)>& place);

}  // namespace tandem::devices::virtio
