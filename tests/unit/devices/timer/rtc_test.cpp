#include <catch2/catch.hpp>
#include <ctime>

#include "devices/timer/rtc.h"
#include "tests/unit/devices/fabric/device_fuzz.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::test;

namespace {

constexpr u64 kSecond = 1'000'000'000;
// 2024-02-28 23:59:57 UTC, a Wednesday.
constexpr u64 kStart = 1709164797;

struct RtcFixture {
    explicit RtcFixture(u64 start_s = kStart, const RtcOptions& o = {})
        : clock(2'000'000'000, start_s * kSecond), options(o) {}
    u8 get(u8 index) {
        rtc.io_write(0, index, 1);
        return static_cast<u8>(rtc.io_read(1, 1));
    }
    void set(u8 index, unsigned value) {
        rtc.io_write(0, index, 1);
        rtc.io_write(1, value, 1);
    }
    FakeClock clock;
    RtcOptions options;
    bool irq = false;
    int edges = 0;
    Rtc rtc{clock, IrqLine([this](bool l) {
                if (l && !irq) ++edges;
                irq = l;
            }),
            options};
};

}  // namespace

TEST_CASE("rtc: calendar agrees with the host's") {
    for (u64 t = 0; t < 5'000'000'000; t += 86400 * 13 + 3671) {
        const auto host_time = static_cast<time_t>(t);
        tm host{};
        gmtime_r(&host_time, &host);
        const RtcTime r = rtc_from_seconds(t);
        REQUIRE(r.year == host.tm_year + 1900);
        REQUIRE(r.month == host.tm_mon + 1);
        REQUIRE(r.day == host.tm_mday);
        REQUIRE(r.hour == host.tm_hour);
        REQUIRE(r.minute == host.tm_min);
        REQUIRE(r.second == host.tm_sec);
        REQUIRE(r.weekday == host.tm_wday + 1);
        REQUIRE(rtc_to_seconds(r) == t);
    }
    RtcTime odd;
    odd.year = 2023, odd.month = 4, odd.day = 31;
    CHECK(rtc_from_seconds(rtc_to_seconds(odd)).month == 5);
}

TEST_CASE("rtc: time in BCD and binary, 24 and 12 hours, over a leap day") {
    RtcFixture f;
    CHECK(f.get(0) == 0x57);
    CHECK(f.get(2) == 0x59);
    CHECK(f.get(4) == 0x23);
    CHECK(f.get(6) == 4);
    CHECK(f.get(7) == 0x28);
    CHECK(f.get(8) == 0x02);
    CHECK(f.get(9) == 0x24);
    CHECK(f.get(0x32) == 0x20);
    f.clock.advance(3 * kSecond);
    CHECK(f.get(0) == 0);
    CHECK(f.get(4) == 0);
    CHECK(f.get(7) == 0x29);
    CHECK(f.get(6) == 5);
    f.set(0xb, 0x06);
    CHECK(f.get(7) == 29);
    CHECK(f.get(9) == 24);
    CHECK(f.get(0x32) == 20);
    f.set(0xb, 0x00);         // BCD, 12 hours
    CHECK(f.get(4) == 0x12);  // midnight
    f.clock.advance(13ull * 3600 * kSecond);
    CHECK(f.get(4) == 0x81);
    f.set(0xb, 0x04);
    CHECK(f.get(4) == (0x80 | 1));
    f.clock.advance(11ull * 3600 * kSecond - kSecond);
    CHECK(f.get(4) == (0x80 | 11));
}

TEST_CASE("rtc: setting the time") {
    RtcFixture f;
    f.set(0xb, 0x82);
    const u8 frozen = f.get(0);
    f.clock.advance(5 * kSecond);
    CHECK(f.get(0) == frozen);
    f.set(0, 0x30);
    f.set(2, 0x45);
    f.set(4, 0x08);
    f.set(7, 0x31);
    f.set(8, 0x12);
    f.set(9, 0x99);
    f.set(0x32, 0x20);
    CHECK(f.get(8) == 0x12);
    f.set(0xb, 0x02);
    f.clock.advance(40 * kSecond);
    CHECK(f.get(0) == 0x10);
    CHECK(f.get(2) == 0x46);
    CHECK(f.get(9) == 0x99);
    // Without SET a field changes in the running clock; the weekday is a counter of its own.
    f.set(4, 0x23);
    CHECK(f.get(4) == 0x23);
    CHECK(f.get(2) == 0x46);
    f.set(6, 7);
    CHECK(f.get(6) == 7);
    f.clock.advance(3600 * kSecond);
    CHECK(f.get(6) == 1);
    CHECK(f.get(0x32) == 0x21);
    CHECK(f.get(9) == 0x00);
}

TEST_CASE("rtc: the divider held in reset stops the clock") {
    RtcFixture f;
    f.set(0xa, 0x76);
    const u8 s = f.get(0);
    f.clock.advance(10 * kSecond);
    CHECK(f.get(0) == s);
    CHECK((f.get(0xa) & 0x80) == 0);
    f.set(0xa, 0x26);
    f.clock.advance(kSecond);
    CHECK(f.get(0) != s);
}

TEST_CASE("rtc: update in progress shortly before the second ends") {
    RtcFixture f;
    f.clock.advance(kSecond - 250'000);
    CHECK((f.get(0xa) & 0x80) == 0);
    f.clock.advance(10'000);
    CHECK(f.get(0xa) == 0xa6);
    f.clock.advance(240'000);
    CHECK(f.get(0xa) == 0x26);
    f.set(0xb, 0x82);
    f.clock.advance(kSecond - 100);
    CHECK(f.get(0xa) == 0x26);
}

TEST_CASE("rtc: update-ended interrupt and flags") {
    RtcFixture f;
    f.get(0xc);
    f.clock.advance(kSecond);
    CHECK(f.get(0xc) == 0x50);  // UF and PF, nobody enabled
    CHECK(f.get(0xc) == 0);
    CHECK_FALSE(f.irq);
    f.set(0xb, 0x12);
    f.clock.advance(kSecond);
    CHECK(f.irq);
    f.clock.advance(3 * kSecond);
    CHECK(f.edges == 1);
    CHECK((f.get(0xc) & 0x90) == 0x90);
    CHECK_FALSE(f.irq);
    f.clock.advance(kSecond);
    CHECK(f.edges == 2);
    f.set(0xb, 0x92);  // SET clears UIE
    CHECK(f.get(0xb) == 0x82);
    CHECK_FALSE(f.irq);
}

TEST_CASE("rtc: periodic rates") {
    struct {
        u8 rate;
        u64 hz;
    } rows[] = {{1, 256}, {2, 128}, {3, 8192}, {6, 1024}, {10, 64}, {15, 2}};
    for (const auto& row : rows) {
        RtcFixture f;
        f.set(0xa, 0x20 | row.rate);
        f.get(0xc);
        f.set(0xb, 0x42);
        u64 count = 0;
        while (f.clock.now_ns() < 2 * kSecond - 50'000) {
            f.clock.advance(50'000);
            if (f.irq) {
                CHECK((f.get(0xc) & 0xc0) == 0xc0);
                ++count;
            }
        }
        INFO("rate " << int{row.rate});
        CHECK(count >= 2 * row.hz - 1);
        CHECK(count <= 2 * row.hz + 1);
        f.get(0xc);
        f.set(0xa, 0x20);  // no rate: none
        f.clock.advance(kSecond);
        CHECK_FALSE(f.irq);
    }
}

TEST_CASE("rtc: alarm, with and without don't-care bytes") {
    RtcFixture f;
    f.set(1, 0x02);
    f.set(3, 0x00);
    f.set(5, 0x00);
    f.get(0xc);
    f.set(0xb, 0x22);
    f.clock.advance(4 * kSecond);
    CHECK_FALSE(f.irq);
    f.clock.advance(kSecond);
    CHECK(f.irq);
    CHECK((f.get(0xc) & 0xa0) == 0xa0);
    f.clock.advance(86'399 * kSecond);
    CHECK_FALSE(f.irq);
    f.clock.advance(kSecond);
    CHECK(f.irq);
    f.get(0xc);
    f.set(5, 0xc0);
    f.set(3, 0xff);  // every minute at second 2
    f.clock.advance(59 * kSecond);
    CHECK_FALSE(f.irq);
    f.clock.advance(kSecond);
    CHECK(f.irq);
    f.get(0xc);
    f.set(1, 0xc0);  // every second
    f.clock.advance(kSecond);
    CHECK(f.irq);
    f.get(0xc);
    f.set(1, 0x99);  // never
    f.clock.advance(200'000 * kSecond);
    CHECK_FALSE(f.irq);
    CHECK((f.get(0xc) & 0x20) == 0);
}

TEST_CASE("rtc: NVRAM, read-only registers, index") {
    RtcFixture f;
    f.rtc.set_nvram(0x15, 0x80);
    f.rtc.set_nvram(0x05, 0x11);  // not memory
    f.rtc.set_nvram(0xff, 0x11);
    CHECK(f.get(0x15) == 0x80);
    f.set(0x7f, 0xab);
    CHECK(f.rtc.nvram(0x7f) == 0xab);
    CHECK(f.get(0xff) == 0xab);  // bit 7 is the NMI mask
    f.set(0xd, 0);
    CHECK(f.get(0xd) == 0x80);
    f.set(0xc, 0xff);
    CHECK_FALSE(f.irq);
    CHECK(f.rtc.io_read(0, 1) == 0xff);
    f.rtc.reset();
    CHECK(f.get(0x15) == 0x80);
}

TEST_CASE("rtc: save and restore") {
    RtcFixture f;
    f.set(4, 0x11);
    f.set(0xb, 0x42);
    f.clock.advance(kSecond);
    REQUIRE(f.irq);
    RtcFixture g(kStart + 100);
    REQUIRE(g.rtc.restore(f.rtc.save()));
    CHECK(g.edges == 0);
    CHECK(g.get(4) == 0x12);  // followed the wall clock over the hour
    CHECK((g.get(0xc) & 0xc0) == 0xc0);
    g.clock.advance(10'000'000);
    CHECK(g.irq);
    DeviceState bad = f.rtc.save();
    bad.fields["index"] = 200;
    CHECK_FALSE(g.rtc.restore(bad).ok());
}

TEST_CASE("rtc: random accesses") {
    for (u32 seed = 1; seed <= 6; ++seed) {
        RtcFixture f;
        fuzz_accesses({{&f.rtc, 2}}, f.clock, seed, 20'000, [&](u32 r) {
            if (r % 32 == 0) f.rtc.io_write(0, r >> 8 & 15, 1);
        });
        Rtc fresh(f.clock, IrqLine());
        check_round_trip(f.rtc, fresh);
    }
}

TEST_CASE("rtc: it may show another time than the host, and stand still with the machine") {
    RtcOptions options;
    options.offset_s = 3600;
    RtcFixture f(kStart, options);
    CHECK(f.get(4) == 0x00);  // 23:59:57 and an hour
    CHECK(f.get(7) == 0x29);
    options.follows_host = false;
    RtcFixture g(kStart, options);
    const u8 before = g.get(0);
    g.clock.set_wall_start((kStart + 30) * kSecond);  // the host's time went on while the machine stood
    CHECK(g.get(0) == before);
    f.clock.set_wall_start((kStart + 30) * kSecond);
    CHECK(f.get(0) != before);
    RtcFixture h(kStart + 100, options);
    REQUIRE(h.rtc.restore(g.rtc.save()).ok());
    CHECK(h.get(0) == before);
    CHECK_FALSE(f.rtc.restore(g.rtc.save()).ok());
}

TEST_CASE("rtc: periodic interrupts that the guest is too late for are made up") {
    const bool made_up = GENERATE(true, false);
    RtcOptions options;
    options.makes_up_ticks = made_up;
    RtcFixture f(kStart, options);
    f.set(0xa, 0x26);  // 1024 Hz
    f.set(0xb, 0x42);
    (void)f.get(0xc);
    const u64 period = kSecond / 1024;
    // For 100 periods nobody answers, then each interrupt is answered at once.
    f.clock.advance(100 * period + 1000);
    unsigned answered = 0;
    for (const u64 end = f.clock.now_ns() + 300 * period; f.clock.now_ns() < end;) {
        if (f.irq && (f.get(0xc) & 0x40) != 0) ++answered;
        f.clock.advance(period / 16);
    }
    CHECK(answered >= (made_up ? 398 : 299));
    CHECK(answered <= (made_up ? 402 : 303));
    // Never faster than twice the rate, and not after the interrupt was switched off.
    f.clock.advance(50 * period);
    f.set(0xb, 0x02);
    (void)f.get(0xc);
    f.set(0xb, 0x42);
    (void)f.get(0xc);
    const int edges = f.edges;
    f.clock.advance(period / 2 + 1000);
    (void)f.get(0xc);
    CHECK(f.edges - edges <= 1);
}
