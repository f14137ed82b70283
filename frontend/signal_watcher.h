// Turns SIGINT and SIGTERM into a callback on an ordinary thread, so that nothing has to be async-signal-safe.
#pragma once

#include <atomic>
#include <functional>
#include <thread>

#include "base/types.h"

namespace tandem::frontend {

// Construct before any other thread: the signals are blocked in the constructing thread and those it makes later.
class SignalWatcher {
public:
    // `on_signal` runs on the watcher's thread, once per signal.
    explicit SignalWatcher(std::function<void(int signal)> on_signal);
    ~SignalWatcher();
    SignalWatcher(const SignalWatcher&) = delete;
    SignalWatcher& operator=(const SignalWatcher&) = delete;

    // The first signal that came, 0 if none.
    [[nodiscard]] int received() const { return received_.load(); }

private:
    void watch();

    std::function<void(int)> on_signal_;
    std::atomic<int> received_{0};
    int signals_ = -1;
    int stop_ = -1;
    std::thread thread_;
};

}  // namespace tandem::frontend
