// The machine's one source of time (contract I9). Devices never ask the host.
#pragma once

#include <functional>
#include <memory>

#include "base/result.h"
#include "base/types.h"

namespace tandem::devices {

// A one-shot timer. Owned by the device; its callback runs on the clock's thread with no lock of the clock's held.
// Destroying or cancelling waits for a running callback (never cancel from under a lock that the callback takes).
class Timer {
public:
    virtual ~Timer() = default;
    static constexpr u64 kNever = ~u64{0};
    // Fires once at `deadline_ns` of the clock's time (at once when it has passed). Replaces an earlier deadline. Never
    // waits, so it may be called under the device's lock; arm(kNever) disarms, but a callback that has begun still runs to
    // its end.
    virtual void arm(u64 deadline_ns) = 0;
    // Disarms and waits for a running callback, unless called from the callback itself.
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

// How guest TSC ticks follow from the host's counter, for engines that execute RDTSC without a call.
struct HostTsc {
    bool usable = false;  // false: ask Clock::tsc(); never while the clock is stopped
    u64 offset = 0;       // tsc() == host RDTSC + offset, until the next stop() or start()
};

struct ClockState {
    static constexpr u32 kVersion = 1;
    u64 tsc = 0;
    u64 tsc_hz = 0;
    void visit(auto& v) {
        v("tsc", tsc);
        v("tsc_hz", tsc_hz);
    }
};

// Real time with a timer thread. Time runs from creation on. now_ns() and tsc() are both derived from the host's TSC where
// that is invariant (CPUID 80000007H EDX[8]), at the rate that CPUID 15H or the hypervisor's timing leaf 40000010H state, or
// a measurement when neither does (logged). Without an invariant TSC both follow CLOCK_MONOTONIC, the guest's TSC at 1 GHz.
class RealClock : public Clock {
public:
    // Freezes and resumes now_ns() and tsc(); timers do not fire in between: stop() waits for a running callback.
    // Idempotent, any thread that holds no lock a callback takes.
    virtual void stop() = 0;
    virtual void start() = 0;
    // The guest's time as it is saved and as it goes on after a restore: now_ns() and tsc() continue from exactly here, at
    // the saved rate whatever the host's is (contract I10). Only while stopped.
    [[nodiscard]] virtual ClockState save() const = 0;
    virtual Result<void> restore(const ClockState& state) = 0;
    [[nodiscard]] virtual HostTsc host_tsc() const = 0;
};

std::unique_ptr<RealClock> create_real_clock();

// floor(a * b / c) without overflow of the product; c is not 0. A quotient beyond 64 bits saturates.
constexpr u64 mul_div(u64 a, u64 b, u64 c) {
    const u128 q = static_cast<u128>(a) * b / c;
    return q > ~u64{0} ? ~u64{0} : static_cast<u64>(q);
}

}  // namespace tandem::devices
