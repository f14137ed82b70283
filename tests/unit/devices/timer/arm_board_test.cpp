// Timers, clock and pins of Arm boards against their manuals, with a fake clock.
#include <catch2/catch.hpp>

#include "devices/fabric/fake_clock.h"
#include "devices/misc/pl061.h"
#include "devices/timer/arm_timers.h"
#include "devices/timer/pl031.h"

namespace tandem::devices::test {
namespace {

constexpr u64 kSecond = 1'000'000'000;

IrqLine recorder(bool& level) {
    return IrqLine([&level](bool l) { level = l; });
}

}  // namespace

TEST_CASE("generic timers: lines follow the counter", "[timer][I9]") {
    FakeClock clock;
    std::array<std::array<bool, kArmTimers>, 2> up{};
    std::vector<std::array<IrqLine, kArmTimers>> lines(2);
    for (unsigned c = 0; c < 2; ++c) {
        for (unsigned t = 0; t < kArmTimers; ++t) lines[c][t] = recorder(up[c][t]);
    }
    ArmTimers timers(clock, std::move(lines));
    clock.advance(kSecond);
    CHECK(timers.counter() == ArmTimers::kFrequency);
    timers.program(1, ArmTimer::Virtual, {true, ArmTimers::kFrequency + 100, 0});
    CHECK_FALSE(up[1][1]);
    clock.advance(99 * 16 + 15);
    CHECK_FALSE(up[1][1]);
    clock.advance(1);
    CHECK(up[1][1]);
    CHECK_FALSE(up[0][1]);
    CHECK_FALSE(up[1][0]);
    timers.program(1, ArmTimer::Virtual, {false, 0, 0});  // masked or disabled
    CHECK_FALSE(up[1][1]);
    timers.program(1, ArmTimer::Virtual, {true, 0, 0});  // met long ago
    CHECK(up[1][1]);
    timers.program(0, ArmTimer::Physical, {true, ~u64{0}, 0});  // never
    CHECK(clock.next_deadline() == Timer::kNever);
    timers.program(0, ArmTimer::Hypervisor, {true, timers.counter() + 10, 0});
    timers.program(0, ArmTimer::Virtual, {true, 50, timers.counter() - 45});  // five ticks from now
    clock.advance(4 * 16);
    CHECK_FALSE(up[0][1]);
    clock.advance(16);
    CHECK(up[0][1]);
    timers.program(0, ArmTimer::Virtual, {true, 50, timers.counter() + 1});  // its count is about to wrap: all ones
    CHECK(up[0][1]);
    const auto saved = timers.save();
    timers.reset();
    CHECK_FALSE(up[1][1]);
    REQUIRE(timers.restore(saved).ok());
    CHECK(up[1][1]);
    clock.advance(5 * 16);
    CHECK(up[0][2]);
    auto bad = saved;
    bad.fields["compare"].erase(0);
    CHECK_FALSE(timers.restore(bad).ok());
}

TEST_CASE("PL031: time, setting it, and the alarm", "[timer]") {
    FakeClock clock(2'000'000'000, 1000 * kSecond);
    bool up = false;
    Pl031 rtc(clock, recorder(up));
    CHECK(rtc.io_read(0, 4) == 1000);
    CHECK(rtc.io_read(0xc, 4) == 1);
    CHECK(rtc.io_read(0xfe0, 4) == 0x31);
    rtc.io_write(8, 5000, 4);
    CHECK(rtc.io_read(0, 4) == 5000);
    rtc.io_write(0x10, 1, 4);
    rtc.io_write(4, 5003, 4);
    clock.advance(kSecond * 5 / 2);
    CHECK_FALSE(up);
    clock.advance(kSecond / 2);
    CHECK(up);
    CHECK(rtc.io_read(0x14, 4) == 1);
    CHECK(rtc.io_read(0x18, 4) == 1);
    rtc.io_write(0x10, 0, 4);
    CHECK_FALSE(up);
    CHECK(rtc.io_read(0x14, 4) == 1);
    CHECK(rtc.io_read(0x18, 4) == 0);
    rtc.io_write(0x1c, 1, 4);
    CHECK(rtc.io_read(0x14, 4) == 0);
    const auto saved = rtc.save();
    rtc.io_write(8, 1, 4);
    REQUIRE(rtc.restore(saved).ok());
    CHECK(rtc.io_read(0, 4) == 5003);
}

TEST_CASE("PL061: the power key is an edge, down and up", "[gpio]") {
    FakeClock clock;
    bool up = false;
    Pl061 gpio(clock, recorder(up));
    gpio.press_power_key();
    CHECK_FALSE(up);  // nobody asked
    CHECK(gpio.io_read(8 << 2, 4) == 8);
    clock.advance(kSecond);
    CHECK(gpio.io_read(0x3fc, 4) == 0);
    gpio.io_write(0x41c, 0xff, 4);
    gpio.io_write(0x408, 8, 4);  // both edges
    gpio.io_write(0x410, 8, 4);
    gpio.press_power_key();
    CHECK(up);
    CHECK(gpio.io_read(0x418, 4) == 8);
    gpio.io_write(0x41c, 8, 4);
    CHECK_FALSE(up);
    const auto saved = gpio.save();
    clock.advance(kSecond / 10);
    CHECK(up);
    REQUIRE(gpio.restore(saved).ok());
    CHECK_FALSE(up);
    clock.advance(kSecond / 10);
    CHECK(up);
    // Levels and outputs.
    gpio.reset();
    gpio.io_write(0x404, 0xff, 4);
    gpio.io_write(0x40c, 1, 4);
    gpio.io_write(0x410, 1, 4);
    gpio.io_write(0x400, 1, 4);
    CHECK_FALSE(up);
    gpio.io_write(0x3fc, 0xff, 4);
    CHECK(up);
    CHECK(gpio.io_read(0x3fc, 4) == 1);  // the others are inputs
    gpio.io_write(0x2 << 2, 0, 4);       // another pin's address
    CHECK(up);
    gpio.io_write(0x1 << 2, 0, 4);
    CHECK_FALSE(up);
}

}  // namespace tandem::devices::test
