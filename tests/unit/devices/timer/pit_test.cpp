#include <catch2/catch.hpp>

#include "devices/timer/pit.h"
#include "tests/unit/devices/fabric/device_fuzz.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::test;

namespace {

struct PitFixture {
    void out(unsigned port, unsigned v) { pit.ports().io_write(port, v, 1); }
    unsigned in(unsigned port) { return static_cast<unsigned>(pit.ports().io_read(port, 1)); }
    unsigned in16(unsigned port) {
        const unsigned low = in(port);
        return low | in(port) << 8;
    }
    void control61(unsigned v) { pit.control_port().io_write(0, v, 1); }
    bool out2() { return (pit.control_port().io_read(0, 1) & 0x20) != 0; }
    // Channel 2 with its gate, mode and a 16-bit count.
    void start2(unsigned mode, unsigned count, bool bcd = false) {
        out(3, 0x80 | 0x30 | mode << 1 | (bcd ? 1u : 0u));
        out(2, count & 0xff);
        out(2, count >> 8);
    }
    unsigned latch2() {
        out(3, 0x80);
        return in16(2);
    }
    // To the first moment of the given tick, counted from here.
    void ticks(u64 n) {
        tick += n;
        clock.advance_to((tick * 1'000'000'000 + 1'193'181) / 1'193'182);
    }

    u64 tick = 0;
    FakeClock clock;
    bool level = false;
    int edges = 0;
    Delivery answer = Delivery::Delivered;
    Pit pit{clock, IrqLine([this](bool l) {
                if (l && !level) ++edges;
                level = l;
                return l ? answer : Delivery::Ignored;
            })};
};

}  // namespace

TEST_CASE("pit: mode 0, interrupt on terminal count") {
    PitFixture f;
    f.control61(1);
    f.start2(0, 100);
    CHECK_FALSE(f.out2());
    f.ticks(1);  // loaded
    CHECK(f.latch2() == 100);
    f.ticks(60);
    CHECK(f.latch2() == 40);
    f.control61(0);  // the gate holds it
    f.ticks(50);
    CHECK(f.latch2() == 40);
    f.control61(1);
    f.ticks(39);
    CHECK_FALSE(f.out2());
    f.ticks(1);
    CHECK(f.out2());
    CHECK(f.latch2() == 0);
    f.ticks(1);
    CHECK(f.latch2() == 0xffff);
    f.ticks(1000);
    CHECK(f.out2());
    f.out(3, 0xb0);  // a control word alone lowers OUT
    CHECK_FALSE(f.out2());
}

TEST_CASE("pit: mode 0 drives IRQ 0 once") {
    PitFixture f;
    f.out(3, 0x30);
    f.out(0, 0xe8);
    f.out(0, 0x03);
    CHECK_FALSE(f.level);
    f.ticks(1000);
    CHECK(f.edges == 0);
    f.ticks(1);
    CHECK(f.level);
    CHECK(f.edges == 1);
    f.ticks(200'000);
    CHECK(f.edges == 1);
    // A first byte stops it, the second starts anew.
    f.out(0, 100);
    CHECK(f.clock.next_deadline() == Timer::kNever);
    f.out(0, 0);
    CHECK_FALSE(f.level);
    f.ticks(101);
    CHECK(f.edges == 2);
}

TEST_CASE("pit: mode 1, retriggerable one-shot") {
    PitFixture f;
    f.start2(1, 50);
    CHECK(f.out2());
    f.ticks(100);
    CHECK(f.out2());
    f.control61(1);  // trigger
    f.ticks(1);
    CHECK_FALSE(f.out2());
    f.ticks(30);
    f.control61(0);
    f.control61(1);  // again: the full time from here
    f.ticks(50);
    CHECK_FALSE(f.out2());
    f.ticks(1);
    CHECK(f.out2());
}

TEST_CASE("pit: mode 2, rate generator") {
    PitFixture f;
    f.control61(1);
    f.start2(2, 10);
    f.ticks(1);
    for (int period = 0; period < 3; ++period) {
        for (unsigned i = 10; i > 0; --i) {
            INFO("period " << period << " count " << i);
            CHECK(f.latch2() == i);
            CHECK(f.out2() == (i != 1));
            f.ticks(1);
        }
    }
    // A new count takes over at the end of the period.
    f.ticks(3);
    f.out(2, 20);
    f.out(2, 0);
    CHECK(f.latch2() == 7);
    f.ticks(6);
    CHECK_FALSE(f.out2());
    f.ticks(1);
    CHECK(f.latch2() == 20);
    // The gate: OUT high at once, and a fresh period afterwards.
    f.ticks(19);
    CHECK_FALSE(f.out2());
    f.control61(0);
    CHECK(f.out2());
    f.control61(1);
    f.ticks(1);
    CHECK(f.latch2() == 20);
}

TEST_CASE("pit: mode 3, square wave, even and odd counts") {
    PitFixture f;
    f.control61(1);
    for (const unsigned count : {8u, 9u}) {
        f.start2(3, count);
        f.ticks(1);
        for (int period = 0; period < 2; ++period) {
            const unsigned high = (count + 1) / 2;
            for (unsigned i = 0; i < count; ++i) {
                INFO("count " << count << " at " << i);
                CHECK(f.out2() == (i < high));
                CHECK(f.latch2() % 2 == 0);
                f.ticks(1);
            }
        }
    }
    f.start2(3, 8);
    f.ticks(1);
    CHECK(f.latch2() == 8);
    f.ticks(2);
    CHECK(f.latch2() == 4);
    // A new count takes over at the half cycle.
    f.out(2, 100);
    f.out(2, 0);
    f.ticks(2);
    CHECK_FALSE(f.out2());
    CHECK(f.latch2() == 100);
    f.ticks(49);
    CHECK_FALSE(f.out2());
    f.ticks(1);
    CHECK(f.out2());
    CHECK(f.latch2() == 100);
}

TEST_CASE("pit: modes 4 and 5, strobes") {
    PitFixture f;
    f.control61(1);
    f.start2(4, 20);
    CHECK(f.out2());
    f.ticks(20);
    CHECK(f.out2());
    f.ticks(1);
    CHECK_FALSE(f.out2());
    f.ticks(1);
    CHECK(f.out2());
    f.control61(0);
    f.start2(5, 20);
    f.ticks(100);
    CHECK(f.out2());
    f.control61(1);
    f.ticks(21);
    CHECK_FALSE(f.out2());
    f.ticks(1);
    CHECK(f.out2());
}

TEST_CASE("pit: BCD counting and the largest counts") {
    PitFixture f;
    f.control61(1);
    f.start2(0, 0x1000, true);
    f.ticks(2);
    CHECK(f.latch2() == 0x0999);
    f.ticks(999);
    CHECK(f.out2());
    f.ticks(1);
    CHECK(f.latch2() == 0x9999);
    f.start2(0, 0, true);
    f.ticks(10'000);
    CHECK_FALSE(f.out2());
    f.ticks(1);
    CHECK(f.out2());
    f.start2(0, 0);
    f.ticks(65'536);
    CHECK_FALSE(f.out2());
    f.ticks(1);
    CHECK(f.out2());
}

TEST_CASE("pit: byte-wise access formats") {
    PitFixture f;
    f.control61(1);
    f.out(3, 0x90);  // low byte only
    f.out(2, 0x40);
    f.ticks(1);
    CHECK(f.in(2) == 0x40);
    CHECK(f.in(2) == 0x40);
    f.out(3, 0xa0);  // high byte only
    f.out(2, 0x12);
    f.ticks(1);
    CHECK(f.in(2) == 0x12);
    f.out(3, 0xb0);
    f.out(2, 0x34);
    f.out(2, 0x12);
    f.ticks(1);
    CHECK(f.in(2) == 0x34);
    CHECK(f.in(2) == 0x12);
    CHECK(f.in(3) == 0xff);
}

TEST_CASE("pit: latch and read-back") {
    PitFixture f;
    f.control61(1);
    f.start2(2, 1000);
    f.ticks(101);
    f.out(3, 0x80);
    f.ticks(50);
    f.out(3, 0x80);  // ignored: the first latch is unread
    CHECK(f.in16(2) == 900);
    CHECK(f.in16(2) == 850);
    f.out(3, 0xc8);  // count and status of channel 2
    f.ticks(10);
    const unsigned status = f.in(2);
    CHECK(status == (0x80 | 0x34));
    CHECK(f.in16(2) == 850);
    f.out(2, 0x55);
    f.out(2, 0x55);
    f.out(3, 0xe8);  // status: the new count is not in use yet
    CHECK((f.in(2) & 0x40) != 0);
    f.ticks(1000);
    f.out(3, 0xe8);
    CHECK((f.in(2) & 0x40) == 0);
    f.out(3, 0xda);  // count only, of channels 0 and 2
    f.ticks(10);
    const unsigned latched = f.in16(2);
    CHECK(latched != f.in16(2));
}

TEST_CASE("pit: periodic interrupts at the right times") {
    PitFixture f;
    f.out(3, 0x34);
    f.out(0, 11932 & 0xff);
    f.out(0, 11932 >> 8);
    f.ticks(1);
    for (int i = 1; i <= 20; ++i) {
        f.ticks(11931);
        CHECK(f.edges == i);  // mode 2's OUT is high from the start
        f.ticks(1);
        CHECK(f.edges == i + 1);
    }
}

TEST_CASE("pit: coalesced ticks are injected later", "[I8]") {
    PitFixture f;
    f.out(3, 0x34);
    f.out(0, 11932 & 0xff);
    f.out(0, 11932 >> 8);
    f.ticks(1);
    const int before = f.edges;
    f.answer = Delivery::Coalesced;
    f.ticks(11932 * 5);
    f.answer = Delivery::Delivered;
    f.ticks(11932 * 5);
    f.edges -= before;
    // Ten periods: every tick was offered and taken, and the failed attempts come on top.
    CHECK(f.edges >= 10 + 4);
    const int settled = f.edges;
    f.ticks(11932 * 10);
    CHECK(f.edges == settled + 10);
}

TEST_CASE("pit: a tiny period does not occupy the host") {
    PitFixture f;
    f.out(3, 0x14);
    f.out(0, 2);
    f.clock.fired = 0;
    f.clock.advance(10'000'000);
    CHECK(f.clock.fired <= 510);
    CHECK(f.clock.fired > 200);
}

TEST_CASE("pit: port 61") {
    PitFixture f;
    f.control61(0xff);
    CHECK((f.pit.control_port().io_read(0, 1) & 0xcf) == 0x0f);
    f.clock.advance_to(1'000'000);
    int toggles = 0;
    u64 last = f.pit.control_port().io_read(0, 1) & 0x10;
    for (int i = 0; i < 1000; ++i) {
        f.clock.advance(1000);
        const u64 now = f.pit.control_port().io_read(0, 1) & 0x10;
        toggles += now != last;
        last = now;
    }
    CHECK(toggles >= 65);  // every 15 microseconds
    CHECK(toggles <= 68);
}

TEST_CASE("pit: save and restore in the middle of counting") {
    PitFixture f;
    f.control61(1);
    f.start2(3, 1000);
    f.ticks(301);
    f.out(3, 0x34);
    f.out(0, 0x10);
    f.out(0, 0x27);  // 10000
    f.ticks(4001);
    f.out(3, 0xb0);  // half a count
    f.out(2, 0x34);
    PitFixture g;
    g.ticks(12'345);
    REQUIRE(g.pit.restore(f.pit.save()));
    CHECK(g.edges == 0);
    f.edges = 0;
    for (auto* x : {&f, &g}) {
        x->out(2, 0x12);
        x->ticks(1);
        CHECK(x->latch2() == 0x1234);
        x->ticks(5998);
        CHECK(x->edges == 0);
        x->ticks(1);
        CHECK(x->edges == 1);
    }
    DeviceState bad = f.pit.save();
    bad.fields["channel"][1]["period"] = 0;
    CHECK_FALSE(g.pit.restore(bad).ok());
}

TEST_CASE("pit: random accesses") {
    for (u32 seed = 1; seed <= 6; ++seed) {
        PitFixture f;
        fuzz_accesses({{&f.pit.ports(), 4}, {&f.pit.control_port(), 1}}, f.clock, seed, 20'000,
                      [&](u32 r) { f.answer = static_cast<Delivery>(r % 3); });
        Pit fresh(f.clock, IrqLine());
        check_round_trip(f.pit, fresh);
    }
}
