// A device's own thread, which waits for bells, host descriptors and times.
#pragma once

#include <poll.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "devices/char/stream_backend.h"

namespace tandem::devices::virtio {

// An event descriptor for a DeviceLoop. Io: the host has no descriptors left.
Result<Fd> create_wake_descriptor();

class DeviceLoop {
public:
    struct Work {
        // Adds the descriptors to wait for, and lowers the time limit (milliseconds, -1: none).
        std::function<void(std::vector<pollfd>& fds, int& timeout_ms)> watch;
        // What has to be done; `fds` are those that watch() added.
        std::function<void(std::span<const pollfd> fds)> round;
    };
    // Both functions are called on the loop's thread only. `name` is the thread's, up to 15 characters.
    DeviceLoop(Fd wake, const char* name, Work work);
    // Waits for a round that is under way.
    ~DeviceLoop();
    DeviceLoop(const DeviceLoop&) = delete;
    DeviceLoop& operator=(const DeviceLoop&) = delete;

    // Another round, soon. Any thread.
    void wake() const;
    // Writing to it does the same.
    [[nodiscard]] int wake_descriptor() const { return wake_.get(); }
    // Waits until one whole round has begun and ended. Any other thread.
    void drain() const;

private:
    void run(const char* name);
    [[nodiscard]] bool round_is_owed() const;

    Fd wake_;
    Work work_;
    std::atomic<bool> quit_{false};
    mutable std::mutex rounds_lock_;  // guards the counts; a leaf
    mutable std::condition_variable rounds_changed_;
    u64 rounds_begun_ = 0, rounds_ended_ = 0;
    mutable u64 rounds_wanted_ = 0;  // somebody waits for this one
    std::thread thread_;             // last: it uses everything above
};

}  // namespace tandem::devices::virtio
