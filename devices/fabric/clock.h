// The machine's one source of time (contract I9). Devices never ask the host.
#pragma once

#include <functional>
#include <memory>

#include "base/types.h"

namespace tandem::devices {

// A one-shot timer. Owned by the device; its callback runs on the clock's thread with no lock of the clock's held. Destroying
// or cancelling waits for a running callback (never cancel from under a lock that the callback takes).
class Timer {
public:
    virtual ~Timer() = default;
    // Fires once at `deadline_ns` of the clock's time (at once when it has passed). Replaces an earlier deadline.
    virtual void arm(u64 deadline_ns) = 0;
    virtual void cancel() = 0;
};

class Clock {
public:
    virtual ~Clock() = default;
    // Nanoseconds since the machine started; monotonic, stops while the machine is stopped.
    [[nodiscard]] virtual u64 now_ns() const = 0;
    // Wall-clock time in nanoseconds since 1970-01-01 UTC, for RTC and kvmclock.
    [[nodiscard]] virtual u64 wall_ns() const = 0;
    // Guest TSC ticks and their rate. tsc() advances with now_ns().
    [[nodiscard]] virtual u64 tsc() const = 0;
    [[nodiscard]] virtual u64 tsc_hz() const = 0;
    virtual std::unique_ptr<Timer> create_timer(std::function<void()> callback) = 0;
};

// Real time with a timer thread. Implemented in clock.cpp.
std::unique_ptr<Clock> create_real_clock();

}  // namespace tandem::devices
