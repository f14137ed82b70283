// HPET against the IA-PC HPET Specification 1.0a.
#include <catch2/catch.hpp>

#include "devices/timer/hpet.h"
#include "tests/unit/devices/fabric/device_fuzz.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::test;

namespace {

constexpr u64 kConfig = 0x10, kStatus = 0x20, kCounter = 0xf0;
constexpr u64 timer_config(unsigned n) { return 0x100 + 0x20 * n; }
constexpr u64 comparator(unsigned n) { return 0x108 + 0x20 * n; }
constexpr u64 fsb_route(unsigned n) { return 0x110 + 0x20 * n; }
constexpr u64 kLevel = 2, kEnabled = 4, kPeriodic = 8, kSetValue = 0x40, k32Bit = 0x100, kFsb = 0x4000;
constexpr u64 route(unsigned pin) { return u64{pin} << 9; }

struct Line {
    bool level = false;
    unsigned edges = 0;
    IrqLine line() {
        return IrqLine([this](bool l) {
            if (l && !level) ++edges;
            level = l;
        });
    }
};

struct Messages final : MsiSink {
    void send_msi(u64 a, u32 d, u16) override {
        address = a;
        data = d;
        ++count;
    }
    u64 address = 0;
    u32 data = 0;
    unsigned count = 0;
};

struct HpetFixture {
    FakeClock clock;
    Line irq0, irq8, pin16, pin23;
    Messages messages;
    IrqLine pit, rtc;
    Hpet hpet{clock, wiring()};

    Hpet::Wiring wiring() {
        Hpet::Wiring w;
        w.legacy = {irq0.line(), irq8.line()};
        w.pit = GatedLine(irq0.line());
        w.rtc = GatedLine(irq8.line());
        pit = w.pit.input();
        rtc = w.rtc.input();
        w.input[16] = pin16.line();
        w.input[23] = pin23.line();
        w.messages = &messages;
        return w;
    }
    u64 get(u64 at, unsigned size = 8) { return hpet.io_read(at, size); }
    void set(u64 at, u64 value, unsigned size = 8) { hpet.io_write(at, value, size); }
    void advance_ticks(u64 ticks) { clock.advance(ticks * Hpet::kNsPerTick); }
};

}  // namespace

TEST_CASE("hpet: capabilities say what there is") {
    HpetFixture f;
    const u64 c = f.get(0);
    CHECK(c >> 32 == 10'000'000);  // femtoseconds
    CHECK((c & 0xff) != 0);        // a revision
    CHECK((c >> 8 & 0x1f) == 2);   // index of the last timer
    CHECK((c & 1u << 13) != 0);    // 64 bits
    CHECK((c & 1u << 15) != 0);    // legacy replacement
    CHECK((c >> 16 & 0xffff) == 0x8086);
    CHECK(f.get(4, 4) == 10'000'000);
    for (unsigned n = 0; n < 3; ++n) {
        CHECK((f.get(timer_config(n)) & 0x8030) == 0x8030);
        CHECK(f.get(timer_config(n)) >> 32 == (1u << 16 | 1u << 23));
        CHECK(f.get(comparator(n)) == ~u64{0});
    }
    f.set(0, 0);
    CHECK(f.get(0) == c);
    CHECK(f.get(timer_config(3)) == 0);
}

TEST_CASE("hpet: the counter runs when enabled and is written when halted") {
    HpetFixture f;
    f.advance_ticks(100);
    CHECK(f.get(kCounter) == 0);
    f.set(kCounter, 0xfffffff0);
    f.set(kConfig, 1);
    f.advance_ticks(0x20);
    CHECK(f.get(kCounter) == 0x100000010);
    CHECK(f.get(kCounter + 4, 4) == 1);
    f.set(kCounter, 0);  // ignored
    CHECK(f.get(kCounter) == 0x100000010);
    f.set(kConfig, 0);
    f.advance_ticks(50);
    CHECK(f.get(kCounter) == 0x100000010);
    f.set(kCounter + 4, 7, 4);
    CHECK(f.get(kCounter) == 0x700000010);
}

TEST_CASE("hpet: one shot, edge triggered, and no more") {
    HpetFixture f;
    f.set(timer_config(2), kEnabled | route(16));
    f.set(comparator(2), 1000);
    f.set(kConfig, 1);
    f.advance_ticks(999);
    CHECK(f.pin16.edges == 0);
    f.advance_ticks(1);
    CHECK(f.pin16.edges == 1);
    CHECK_FALSE(f.pin16.level);
    CHECK(f.get(kStatus) == 0);
    f.advance_ticks(100000);
    CHECK(f.pin16.edges == 1);
    // Without its enable bit nothing arrives.
    f.set(timer_config(2), route(16));
    f.set(comparator(2), f.get(kCounter) + 10);
    f.advance_ticks(20);
    CHECK(f.pin16.edges == 1);
}

TEST_CASE("hpet: a 32-bit one shot matches again after the counter's lower half wraps") {
    HpetFixture f;
    f.set(timer_config(0), kEnabled | k32Bit | route(23));
    f.set(comparator(0), 500);
    f.set(kConfig, 1);
    f.advance_ticks(600);
    CHECK(f.pin23.edges == 1);
    f.advance_ticks(u64{1} << 32);
    CHECK(f.pin23.edges == 2);
}

TEST_CASE("hpet: level triggered until the status bit is cleared") {
    HpetFixture f;
    f.set(timer_config(1), kEnabled | kLevel | route(16));
    f.set(comparator(1), 10);
    f.set(kConfig, 1);
    f.advance_ticks(10);
    CHECK(f.pin16.level);
    CHECK(f.get(kStatus) == 2);
    f.set(kStatus, 1);  // another timer's
    CHECK(f.pin16.level);
    f.set(kStatus, 2, 4);
    CHECK_FALSE(f.pin16.level);
    CHECK(f.get(kStatus) == 0);
    // A level that is up moves with its route and falls with the enable bit.
    f.set(comparator(1), f.get(kCounter) + 10);
    f.advance_ticks(10);
    f.set(timer_config(1), kEnabled | kLevel | route(23));
    CHECK_FALSE(f.pin16.level);
    CHECK(f.pin23.level);
    f.set(kConfig, 0);
    CHECK_FALSE(f.pin23.level);
    f.set(kConfig, 1);
    CHECK(f.pin23.level);
    f.hpet.reset();
    CHECK_FALSE(f.pin23.level);
}

TEST_CASE("hpet: periodic, set up as the specification and Linux do") {
    HpetFixture f;
    f.set(kConfig, 1);
    f.advance_ticks(12345);
    // The first write after the value-set bit is the comparator, the next only the period.
    f.set(timer_config(0), kEnabled | kPeriodic | kSetValue | k32Bit | route(16));
    f.set(comparator(0), f.get(kCounter) + 1000, 4);
    CHECK((f.get(timer_config(0)) & kSetValue) == 0);
    f.set(comparator(0), 1000, 4);
    f.advance_ticks(999);
    CHECK(f.pin16.edges == 0);
    f.advance_ticks(1);
    CHECK(f.pin16.edges == 1);
    CHECK(f.get(comparator(0)) == 12345 + 2000);
    f.advance_ticks(10'000);
    CHECK(f.pin16.edges == 11);
    // Another period counts from the next match on.
    f.set(comparator(0), 100, 4);
    f.advance_ticks(1000 + 900);
    CHECK(f.pin16.edges == 12 + 9);
}

TEST_CASE("hpet: legacy replacement takes the interrupts of the interval timer and the clock") {
    HpetFixture f;
    f.pit.set(true);
    CHECK(f.irq0.level);
    f.set(timer_config(0), kEnabled | route(16));
    f.set(comparator(0), 100);
    f.set(timer_config(1), kEnabled);
    f.set(comparator(1), 200);
    f.set(kConfig, 3);
    CHECK_FALSE(f.irq0.level);
    const unsigned before = f.irq0.edges;
    f.pit.set(false);
    f.pit.set(true);
    f.rtc.set(true);
    CHECK(f.irq0.edges == before);
    CHECK(f.irq8.edges == 0);
    f.advance_ticks(300);
    CHECK(f.irq0.edges == before + 1);
    CHECK(f.irq8.edges == 1);
    CHECK(f.pin16.edges == 0);
    f.set(kConfig, 1);
    CHECK(f.irq0.level);
    CHECK(f.irq8.level);
}

TEST_CASE("hpet: interrupt messages") {
    HpetFixture f;
    f.set(fsb_route(2), 0xfee00000'00000055);
    f.set(timer_config(2), kEnabled | kFsb);
    f.set(comparator(2), 10);
    f.set(kConfig, 1);
    f.advance_ticks(10);
    CHECK(f.messages.count == 1);
    CHECK(f.messages.address == 0xfee00000);
    CHECK(f.messages.data == 0x55);
}

TEST_CASE("hpet: a route that there is not reads back as another") {
    HpetFixture f;
    f.set(timer_config(0), route(5));
    CHECK((f.get(timer_config(0)) & route(31)) == 0);
    f.set(timer_config(0), route(23));
    CHECK((f.get(timer_config(0)) & route(31)) == route(23));
}

TEST_CASE("hpet: saved and restored it goes on where it was, lines included") {
    HpetFixture a;
    a.set(kConfig, 1);
    a.set(timer_config(0), kEnabled | kPeriodic | kSetValue | route(16));
    a.set(comparator(0), 1000);
    a.set(comparator(0), 1000);
    a.set(timer_config(1), kEnabled | kLevel | route(23));
    a.set(comparator(1), 5);
    a.advance_ticks(1500);
    const DeviceState saved = a.hpet.save();
    HpetFixture b;
    b.clock.advance(777'000);
    REQUIRE(b.hpet.restore(saved).ok());
    CHECK(b.get(kCounter) == 1500);
    CHECK(b.pin23.level);
    b.advance_ticks(499);
    CHECK(b.pin16.edges == 0);
    b.advance_ticks(1);
    CHECK(b.pin16.edges == 1);
    DeviceState bad = saved;
    bad.fields["status"] = 8;
    CHECK_FALSE(b.hpet.restore(bad).ok());
    bad = saved;
    bad.fields["timer"][0]["config"] = u64{1} << 40;
    CHECK_FALSE(b.hpet.restore(bad).ok());
}

TEST_CASE("hpet: random accesses leave it in a state that it restores") {
    HpetFixture f;
    fuzz_accesses({{&f.hpet, Hpet::kWindow, 8}}, f.clock, 1, 20000);
    (void)f.get(kCounter);
    HpetFixture g;
    g.clock.advance_to(f.clock.now_ns());
    check_round_trip(f.hpet, g.hpet);
}
