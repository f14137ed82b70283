#include "devices/fabric/clock.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
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

// What one thread sleeps on and others set, without waking it. A host without such timers (seccomp, no descriptors left) is
// asked every millisecond.
class Alarm {
public:
    Alarm() : fd_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) {}
    ~Alarm() {
        if (fd_ >= 0) ::close(fd_);
    }
    Alarm(const Alarm&) = delete;
    Alarm& operator=(const Alarm&) = delete;
    // wait() returns in `ns` nanoseconds, and not before, whatever was set earlier.
    void set(u64 ns) {
        itimerspec when{};
        when.it_value.tv_sec = static_cast<time_t>(ns / kSecond);
        when.it_value.tv_nsec = std::max(static_cast<long>(ns % kSecond), ns < kSecond ? 1L : 0L);  // zero would disarm
        if (fd_ >= 0) ::timerfd_settime(fd_, 0, &when, nullptr);
    }
    // It does not return until it is set again.
    void clear() {
        const itimerspec never{};
        if (fd_ >= 0) ::timerfd_settime(fd_, 0, &never, nullptr);
    }
    void wait() {
        u64 expirations = 0;
        if (fd_ >= 0 && ::read(fd_, &expirations, sizeof expirations) >= 0) return;
        if (fd_ < 0 || errno != EINTR) ::usleep(1000);
    }

private:
    int fd_;
};

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
            alarm_.set(0);
        }
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
        return {rate_.hz != 0 && running_ && tsc_hz() == host_hz_,
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
        sleep_until_first();
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
        if (deadline != Timer::kNever) queue_.emplace(deadline, &timer);
        // One that moves away is not worth a system call: it may move again before the thread would wake for nothing.
        if (first() < alarm_at_ || (deadline == Timer::kNever && first() > alarm_at_)) sleep_until_first();
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

    u64 first() const { return queue_.empty() ? Timer::kNever : queue_.begin()->first; }

    // Has the thread sleep until the first deadline, also when it sleeps already: a guest moves its next tick several times
    // before it halts, which is to wake nobody. Under the lock.
    void sleep_until_first() {
        if (!asleep_ || !running_) return;
        alarm_at_ = first();
        if (alarm_at_ == Timer::kNever) return alarm_.clear();
        // A second at most, so that the rates of TSC and host clock cannot drift apart unnoticed.
        const u64 now = now_ns();
        alarm_.set(alarm_at_ > now ? std::min(alarm_at_ - now, kSecond) : 0);
    }

    void serve() {
        prctl(PR_SET_NAME, "tandem-timer", 0UL, 0UL, 0UL);
        std::unique_lock guard(lock_);
        while (!quit_) {
            const bool due = running_ && !queue_.empty() && queue_.begin()->first <= now_ns();
            if (!due) {
                asleep_ = true;
                sleep_until_first();
                guard.unlock();
                alarm_.wait();
                guard.lock();
                asleep_ = false;
                alarm_at_ = Timer::kNever;
                continue;
            }
            ThreadTimer* const timer = queue_.begin()->second;
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
    std::condition_variable idle_;
    std::set<std::pair<u64, ThreadTimer*>> queue_;
    ThreadTimer* running_timer_ = nullptr;
    bool quit_ = false;
    bool asleep_ = false;
    u64 alarm_at_ = Timer::kNever;  // the deadline that the thread sleeps until
    Alarm alarm_;
    std::thread thread_;
};

void ThreadTimer::arm(u64 deadline_ns) { clock_.arm(*this, deadline_ns); }
void ThreadTimer::cancel() { clock_.cancel(*this); }

}  // namespace

std::unique_ptr<RealClock> create_real_clock() { return std::make_unique<ThreadClock>(); }

}  // namespace tandem::devices
