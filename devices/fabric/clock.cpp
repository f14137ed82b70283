#include "devices/fabric/clock.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

#include "devices/fabric/host_tsc.h"

namespace tandem::devices {
namespace {

constexpr u64 kSecond = 1'000'000'000;

u64 host_ns(clockid_t id) {
    timespec t{};
    clock_gettime(id, &t);
    return static_cast<u64>(t.tv_sec) * kSecond + static_cast<u64>(t.tv_nsec);
}

class ThreadClock;

class ThreadTimer final : public Timer {
public:
    ThreadTimer(ThreadClock& clock, std::function<void()> callback) : clock_(clock), callback_(std::move(callback)) {}
    ~ThreadTimer() override { cancel(); }
    void arm(u64 deadline_ns) override;
    void cancel() override;

private:
    friend class ThreadClock;
    ThreadClock& clock_;
    std::function<void()> callback_;
    u64 deadline_ = kNever;  // under the clock's lock
};

class ThreadClock final : public RealClock {
public:
    ThreadClock() : rate_(detect_host_tsc()), host_hz_(rate_.hz != 0 ? rate_.hz : kSecond), hz_(host_hz_) {
        start();
        thread_ = std::thread([this] { serve(); });
    }
    ~ThreadClock() override {
        {
            std::lock_guard guard(lock_);
            quit_ = true;
        }
        wake_.notify_one();
        thread_.join();
    }
    ThreadClock(const ThreadClock&) = delete;
    ThreadClock& operator=(const ThreadClock&) = delete;

    u64 now_ns() const override { return mul_div(tsc(), kSecond, tsc_hz()); }
    u64 wall_ns() const override { return host_ns(CLOCK_REALTIME); }
    u64 tsc() const override {
        // Sequence lock: `change_` is odd while stop(), start() or restore() replaces what is read. While stopped, offset_
        // is the frozen count.
        for (;;) {
            const u32 before = change_.load(std::memory_order_acquire);
            const bool running = running_.load(std::memory_order_acquire);
            const u64 hz = hz_.load(std::memory_order_acquire);
            const u64 base = base_.load(std::memory_order_acquire);
            const u64 ticks = offset_.load(std::memory_order_acquire) + (running ? counter() : 0);
            const u64 value = hz == host_hz_ ? base + ticks : base + mul_div(ticks, hz, host_hz_);
            if ((before & 1) == 0 && change_.load(std::memory_order_acquire) == before) return value;
        }
    }
    u64 tsc_hz() const override { return hz_.load(std::memory_order_acquire); }
    HostTsc host_tsc() const override {
        return {rate_.hz != 0 && tsc_hz() == host_hz_,
                base_.load(std::memory_order_acquire) + offset_.load(std::memory_order_acquire)};
    }

    void stop() override {
        std::unique_lock guard(lock_);
        if (running_) switch_to(false, offset_ + counter());
        if (std::this_thread::get_id() == thread_.get_id()) return;
        idle_.wait(guard, [&] { return running_timer_ == nullptr; });
    }
    void start() override {
        std::lock_guard guard(lock_);
        if (!running_) switch_to(true, offset_ - counter());
        wake_.notify_one();
    }

    ClockState save() const override { return {tsc(), tsc_hz()}; }
    Result<void> restore(const ClockState& state) override {
        constexpr u64 kSlowest = 1'000'000, kFastest = 100'000'000'000;
        if (state.tsc_hz < kSlowest || state.tsc_hz > kFastest) {
            return Error{Errc::Corrupt, fmt::format("clock: a TSC of {} Hz is out of range", state.tsc_hz)};
        }
        std::lock_guard guard(lock_);
        if (running_) return Error{Errc::Busy, "clock: the time is restored while the clock runs"};
        ++change_;
        offset_ = 0;
        base_ = state.tsc;
        hz_ = state.tsc_hz;
        ++change_;
        return {};
    }

    std::unique_ptr<Timer> create_timer(std::function<void()> callback) override {
        return std::make_unique<ThreadTimer>(*this, std::move(callback));
    }

    void arm(ThreadTimer& timer, u64 deadline) {
        std::lock_guard guard(lock_);
        unlink(timer);
        timer.deadline_ = deadline;
        if (deadline == Timer::kNever) return;
        const auto at = queue_.emplace(deadline, &timer).first;
        if (at == queue_.begin()) wake_.notify_one();
    }
    void cancel(ThreadTimer& timer) {
        std::unique_lock guard(lock_);
        unlink(timer);
        if (std::this_thread::get_id() == thread_.get_id()) return;
        idle_.wait(guard, [&] { return running_timer_ != &timer; });
    }

private:
    u64 counter() const { return rate_.hz != 0 ? read_host_tsc() : host_ns(CLOCK_MONOTONIC); }

    void switch_to(bool running, u64 offset) {
        ++change_;
        offset_ = offset;
        running_ = running;
        ++change_;
    }

    void unlink(ThreadTimer& timer) {
        if (timer.deadline_ != Timer::kNever) queue_.erase({timer.deadline_, &timer});
        timer.deadline_ = Timer::kNever;
    }

    void serve() {
        // Timers of guests are microseconds apart; the default slack is 50.
        prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
        prctl(PR_SET_NAME, "tandem-timer", 0UL, 0UL, 0UL);
        std::unique_lock guard(lock_);
        while (!quit_) {
            if (!running_ || queue_.empty()) {
                wake_.wait(guard);
                continue;
            }
            const auto [deadline, timer] = *queue_.begin();
            const u64 now = now_ns();
            if (now < deadline) {
                // A second at most, so that the rates of TSC and host clock cannot drift apart unnoticed.
                wake_.wait_for(guard, std::chrono::nanoseconds(std::min(deadline - now, kSecond)));
                continue;
            }
            unlink(*timer);
            running_timer_ = timer;
            guard.unlock();
            timer->callback_();
            guard.lock();
            running_timer_ = nullptr;
            idle_.notify_all();
        }
    }

    const HostTscRate rate_;
    const u64 host_hz_;
    // tsc() = base_ + (offset_ + host counter) * hz_ / host_hz_; the rates differ after a restore from another host.
    std::atomic<u64> hz_;
    std::atomic<u64> base_{0};
    std::atomic<u64> offset_{0};
    std::atomic<bool> running_{false};
    std::atomic<u32> change_{0};

    std::mutex lock_;
    std::condition_variable wake_, idle_;
    std::set<std::pair<u64, ThreadTimer*>> queue_;
    ThreadTimer* running_timer_ = nullptr;
    bool quit_ = false;
    std::thread thread_;
};

void ThreadTimer::arm(u64 deadline_ns) { clock_.arm(*this, deadline_ns); }
void ThreadTimer::cancel() { clock_.cancel(*this); }

}  // namespace

std::unique_ptr<RealClock> create_real_clock() { return std::make_unique<ThreadClock>(); }

}  // namespace tandem::devices
