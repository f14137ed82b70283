// A clock that stands still until a test moves it. Timers fire inside advance(), in order of their deadlines, on the calling
// thread. Not thread-safe.
#pragma once

#include <algorithm>
#include <vector>

#include "devices/fabric/clock.h"

namespace tandem::devices {

class FakeClock final : public Clock {
public:
    explicit FakeClock(u64 tsc_hz = 2'000'000'000, u64 wall_start_ns = 0) : tsc_hz_(tsc_hz), wall_start_ns_(wall_start_ns) {}

    u64 now_ns() const override { return now_; }
    u64 wall_ns() const override { return wall_start_ns_ + now_; }
    u64 tsc() const override { return mul_div(now_, tsc_hz_, 1'000'000'000); }
    u64 tsc_hz() const override { return tsc_hz_; }
    std::unique_ptr<Timer> create_timer(std::function<void()> callback) override {
        auto timer = std::make_unique<FakeTimer>(*this, std::move(callback));
        timers_.push_back(timer.get());
        return timer;
    }

    void advance(u64 ns) { advance_to(now_ + ns); }
    void advance_to(u64 target) {
        for (;;) {
            const auto next = std::ranges::min_element(timers_, {}, &FakeTimer::deadline);
            if (next == timers_.end() || (*next)->deadline > target || (*next)->deadline == Timer::kNever) break;
            FakeTimer& timer = **next;
            now_ = std::max(now_, timer.deadline);
            timer.deadline = Timer::kNever;
            ++fired;
            timer.callback();
        }
        now_ = std::max(now_, target);
    }
    void set_wall_start(u64 ns) { wall_start_ns_ = ns; }
    // The earliest armed deadline, Timer::kNever when none.
    [[nodiscard]] u64 next_deadline() const {
        u64 d = Timer::kNever;
        for (const auto* t : timers_) d = std::min(d, t->deadline);
        return d;
    }

    u64 fired = 0;  // callbacks run so far

private:
    struct FakeTimer final : Timer {
        FakeTimer(FakeClock& c, std::function<void()> f) : clock(c), callback(std::move(f)) {}
        ~FakeTimer() override { std::erase(clock.timers_, this); }
        void arm(u64 deadline_ns) override { deadline = deadline_ns; }
        void cancel() override { deadline = kNever; }
        FakeClock& clock;
        std::function<void()> callback;
        u64 deadline = kNever;
    };

    u64 now_ = 0;
    u64 tsc_hz_;
    u64 wall_start_ns_;
    std::vector<FakeTimer*> timers_;
};

}  // namespace tandem::devices
