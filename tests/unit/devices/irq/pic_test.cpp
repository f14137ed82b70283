#include <catch2/catch.hpp>

#include "devices/irq/pic.h"
#include "tests/unit/devices/fabric/device_fuzz.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::test;

namespace {

struct PicFixture {
    PicFixture() { initialise(); }
    void initialise(u8 icw4 = 1, u8 icw1 = 0x11) {
        for (unsigned chip : {0u, 1u}) {
            command(icw1, chip);
            data(chip == 0 ? 0x30 : 0x38, chip);
            data(chip == 0 ? 4 : 2, chip);
            data(icw4, chip);
        }
    }
    IoHandler& ports(unsigned chip) { return chip == 0 ? pic.master_ports() : pic.slave_ports(); }
    void command(u8 v, unsigned chip = 0) { ports(chip).io_write(0, v, 1); }
    void data(u8 v, unsigned chip = 0) { ports(chip).io_write(1, v, 1); }
    u8 irr(unsigned chip = 0) {
        command(0x0a, chip);
        return static_cast<u8>(ports(chip).io_read(0, 1));
    }
    u8 isr(unsigned chip = 0) {
        command(0x0b, chip);
        return static_cast<u8>(ports(chip).io_read(0, 1));
    }
    void pulse(unsigned irq) {
        pic.set_line(irq, true);
        pic.set_line(irq, false);
    }

    bool out = false;
    int edges = 0;
    PicPair pic{IrqLine([this](bool level) {
        out = level;
        edges += level ? 1 : 0;
    })};
};

}  // namespace

TEST_CASE("pic: fully nested priorities, masks, EOI") {
    PicFixture f;
    f.pulse(4);
    CHECK(f.out);
    CHECK(f.irr() == 0x10);
    CHECK(f.pic.acknowledge() == 0x34);
    CHECK_FALSE(f.out);
    CHECK(f.irr() == 0);
    CHECK(f.isr() == 0x10);
    f.pulse(6);
    CHECK_FALSE(f.out);
    f.pulse(1);
    CHECK(f.out);
    CHECK(f.pic.acknowledge() == 0x31);
    f.command(0x20);
    CHECK(f.isr() == 0x10);
    f.command(0x64);  // specific EOI of 4
    CHECK(f.isr() == 0);
    CHECK(f.pic.acknowledge() == 0x36);
    f.command(0x20);
    f.data(0xff);
    CHECK(f.ports(0).io_read(1, 1) == 0xff);
    CHECK(f.pic.set_line(3, true) == Delivery::Ignored);
    CHECK_FALSE(f.out);
    f.data(0xf7);
    CHECK(f.out);
    CHECK(f.pic.acknowledge() == 0x33);
}

TEST_CASE("pic: edges latch once, coalesced requests are reported", "[I8]") {
    PicFixture f;
    CHECK(f.pic.set_line(5, true) == Delivery::Delivered);
    CHECK(f.pic.set_line(5, true) == Delivery::Ignored);
    f.pic.set_line(5, false);
    CHECK(f.pic.set_line(5, true) == Delivery::Coalesced);
    CHECK(f.pic.acknowledge() == 0x35);
    f.command(0x20);
    CHECK_FALSE(f.out);  // still high, but no new edge
}

TEST_CASE("pic: cascade") {
    PicFixture f;
    f.pulse(12);
    CHECK(f.irr(0) == 0x04);
    CHECK(f.irr(1) == 0x10);
    CHECK(f.pic.acknowledge() == 0x3c);
    CHECK(f.isr(0) == 0x04);
    CHECK(f.isr(1) == 0x10);
    f.pulse(8);  // higher on the slave; the master does not nest it
    CHECK_FALSE(f.out);
    f.pulse(3);  // lower than the cascade
    CHECK_FALSE(f.out);
    f.command(0x20, 1);
    f.command(0x20, 0);
    CHECK(f.pic.acknowledge() == 0x38);
    f.command(0x20, 1);
    f.command(0x20, 0);
    CHECK(f.pic.acknowledge() == 0x33);
    CHECK(f.pic.set_line(2, true) == Delivery::Ignored);
}

TEST_CASE("pic: special fully nested mode") {
    PicFixture f;
    f.initialise(0x11);
    f.pulse(12);
    CHECK(f.pic.acknowledge() == 0x3c);
    f.pulse(8);
    CHECK(f.out);
    CHECK(f.pic.acknowledge() == 0x38);
    CHECK(f.isr(1) == 0x11);
}

TEST_CASE("pic: spurious interrupts") {
    PicFixture f;
    CHECK(f.pic.acknowledge() == 0x37);
    CHECK(f.isr() == 0);
    f.initialise();
    f.pic.elcr_ports().io_write(1, 0x02, 1);  // IRQ 9 level
    f.pic.set_line(9, true);
    CHECK(f.out);
    f.pic.set_line(9, false);
    CHECK_FALSE(f.out);
    CHECK(f.irr(0) == 0);
}

TEST_CASE("pic: level triggered inputs through ELCR") {
    PicFixture f;
    f.pic.elcr_ports().io_write(0, 0xff, 1);
    f.pic.elcr_ports().io_write(1, 0xff, 1);
    CHECK(f.pic.elcr_ports().io_read(0, 2) == 0xdef8);
    f.pic.set_line(10, true);
    CHECK(f.pic.acknowledge() == 0x3a);
    CHECK(f.irr(1) == 0x04);
    f.command(0x20, 1);
    f.command(0x20, 0);
    CHECK(f.out);
    CHECK(f.pic.acknowledge() == 0x3a);
    f.pic.set_line(10, false);
    f.command(0x20, 1);
    f.command(0x20, 0);
    CHECK_FALSE(f.out);
}

TEST_CASE("pic: rotation and priority commands") {
    PicFixture f;
    f.pulse(0);
    CHECK(f.pic.acknowledge() == 0x30);
    f.command(0xa0);  // rotate on non-specific EOI: 0 becomes the lowest
    f.pulse(0);
    f.pulse(7);
    CHECK(f.pic.acknowledge() == 0x37);
    f.command(0x20);
    CHECK(f.pic.acknowledge() == 0x30);
    f.command(0xe4);  // rotate on specific EOI of 4: lowest 4
    f.command(0x60);
    f.pulse(4);
    f.pulse(5);
    CHECK(f.pic.acknowledge() == 0x35);
    f.command(0x65);
    CHECK(f.pic.acknowledge() == 0x34);
    f.command(0x64);
    f.command(0xc7);  // set priority: 7 lowest, as after ICW1
    f.pulse(0);
    f.pulse(5);
    CHECK(f.pic.acknowledge() == 0x30);
}

TEST_CASE("pic: automatic EOI, with and without rotation") {
    PicFixture f;
    f.initialise(3);
    f.pulse(1);
    f.pulse(3);
    CHECK(f.pic.acknowledge() == 0x31);
    CHECK(f.isr() == 0);
    CHECK(f.out);
    CHECK(f.pic.acknowledge() == 0x33);
    f.command(0x80);
    f.pulse(0);
    CHECK(f.pic.acknowledge() == 0x30);
    f.pulse(0);
    f.pulse(1);
    CHECK(f.pic.acknowledge() == 0x31);
    f.command(0x00);
    CHECK(f.pic.acknowledge() == 0x30);
}

TEST_CASE("pic: special mask mode lets lower levels through") {
    PicFixture f;
    f.pulse(3);
    CHECK(f.pic.acknowledge() == 0x33);
    f.pulse(6);
    CHECK_FALSE(f.out);
    f.data(0x08);
    CHECK_FALSE(f.out);
    f.command(0x68);
    CHECK(f.out);
    CHECK(f.pic.acknowledge() == 0x36);
    f.command(0x20);  // ends 6, not the hidden 3
    CHECK(f.isr() == 0x08);
    f.command(0x48);
    f.pulse(6);
    CHECK_FALSE(f.out);
}

TEST_CASE("pic: poll command") {
    PicFixture f;
    f.command(0x0c);
    CHECK(f.ports(0).io_read(0, 1) == 0);
    f.pulse(5);
    f.command(0x0c);
    CHECK(f.ports(0).io_read(0, 1) == 0x85);
    CHECK(f.isr() == 0x20);
    CHECK_FALSE(f.out);
}

TEST_CASE("pic: initialisation sequences") {
    PicFixture f;
    f.pulse(3);
    f.data(0x55);
    f.command(0x10);  // ICW4 not needed, cascade
    CHECK(f.irr() == 0);
    f.data(0x47);
    f.data(4);
    CHECK(f.ports(0).io_read(1, 1) == 0);  // mask cleared, operating
    f.data(0x02);
    CHECK(f.ports(0).io_read(1, 1) == 2);
    f.pulse(0);
    CHECK(f.pic.acknowledge() == 0x40);
    f.command(0x12);  // single, no ICW4: one more word only
    f.data(0x50);
    f.data(0xfe);
    CHECK(f.ports(0).io_read(1, 1) == 0xfe);
}

TEST_CASE("pic: save and restore in the middle of an initialisation and of service") {
    PicFixture f;
    f.pulse(4);
    f.pic.acknowledge();
    f.pic.set_line(1, true);
    f.command(0x11, 1);
    f.data(0x70, 1);
    PicFixture g;
    const int edges = g.edges;
    REQUIRE(g.pic.restore(f.pic.save()));
    CHECK(g.edges == edges);
    CHECK(g.pic.output());
    g.data(2, 1);
    g.data(1, 1);
    CHECK(g.pic.acknowledge() == 0x31);
    CHECK(g.pic.set_line(1, true) == Delivery::Ignored);
    g.command(0x20);
    CHECK(g.isr() == 0x10);
    g.pulse(8);
    g.command(0x20);
    CHECK(g.pic.acknowledge() == 0x70);
    DeviceState bad = f.pic.save();
    bad.fields["chip"][0]["lowest"] = 8;
    CHECK_FALSE(g.pic.restore(bad).ok());
}

TEST_CASE("pic: random accesses") {
    for (u32 seed = 1; seed <= 4; ++seed) {
        PicFixture f;
        FakeClock clock;
        fuzz_accesses({{&f.pic.master_ports(), 2}, {&f.pic.slave_ports(), 2}, {&f.pic.elcr_ports(), 2}}, clock, seed, 20'000,
                      [&](u32 r) {
                          f.pic.set_line(r >> 8 & 31, (r & 1) != 0);
                          if (r % 8 == 0) {
                              const int v = f.pic.acknowledge();
                              CHECK((v >= 0 && v <= 255));
                          }
                      });
        PicFixture g;
        check_round_trip(f.pic, g.pic);
    }
}
