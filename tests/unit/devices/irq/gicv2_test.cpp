// GICv2 against IHI 0048B, with processors that only record their lines.
#include "devices/irq/gicv2.h"

#include <catch2/catch.hpp>

#include "devices/irq/gicv2m.h"
#include "tests/unit/devices/irq/gic_fixture.h"

namespace tandem::devices::test {
namespace {

constexpr u64 kD = 0x08000000, kC = 0x08010000, kH = 0x08030000, kV = 0x08040000;
constexpr u64 kCtlr = 0, kPmr = 4, kBpr = 8, kIar = 0xc, kEoir = 0x10, kRpr = 0x14, kHppir = 0x18, kAbpr = 0x1c;
constexpr u64 kAiar = 0x20, kAeoir = 0x24, kApr = 0xd0, kDir = 0x1000;
constexpr u64 kTargets = 0x800, kPriority = 0x400, kConfig = 0xc00, kSgir = 0xf00;
constexpr u64 kHcr = 0, kVtr = 4, kVmcr = 8, kMisr = 0x10, kEisr = 0x20, kElrsr = 0x30, kLr = 0x100;
constexpr unsigned kMaintenance = 25;

struct Bench : GicBench {
    explicit Bench(unsigned cpus = 2)
        : GicBench(std::make_unique<Gicv2>(Gicv2Config{cpus, 64, kD, kC, true, kH, kV, kMaintenance}), cpus) {}
    // Distributor and interfaces on, everything unmasked, group 0.
    void start() {
        write(kD, 1);
        for (unsigned i = 0; i < cpu.size(); ++i) {
            write(kC + kCtlr, 1, i);
            write(kC + kPmr, 0xff, i);
        }
    }
    void enable(unsigned id, unsigned who = 0) { write(kD + 0x100 + id / 32 * 4, 1u << id % 32, who); }
    void priority(unsigned id, u8 value, unsigned who = 0) { write(kD + kPriority + id, value, who, 1); }
    void edge(unsigned id) {
        const u64 at = kD + kConfig + id / 16 * 4;
        write(at, read(at) | 2u << 2 * (id % 16));
    }
    bool active(unsigned id) { return (read(kD + 0x300 + id / 32 * 4) >> id % 32 & 1) != 0; }
    bool pending(unsigned id, unsigned who = 0) { return (read(kD + 0x200 + id / 32 * 4, who) >> id % 32 & 1) != 0; }
};

}  // namespace

TEST_CASE("GICv2: reset state", "[gic][I2]") {
    Bench b;
    CHECK(b.read(kD) == 0);
    CHECK(b.read(kD + 4) == (2u | 1u << 5));
    CHECK(b.read(kD + 0x100) == 0xffff);  // SGIs are enabled ...
    b.write(kD + 0x180, 0xffffffff);
    CHECK(b.read(kD + 0x100) == 0xffff);              // ... always
    CHECK(b.read(kD + kConfig) == 0xaaaaaaaa);        // and edge triggered
    CHECK(b.read(kD + kTargets + 32) == 0x01010101);  // SPIs go to processor 0
    CHECK(b.read(kD + kTargets, 1) == 0x02020202);    // private ones read as their own processor
    CHECK(b.read(kC + kCtlr) == 0);
    CHECK(b.read(kC + kRpr) == 0xff);
    CHECK(b.read(kC + kIar) == 1023);
    CHECK(b.read(kD + 0xfe8) == 0x2b);
    CHECK(b.read(kH + kVtr) == 0x90000003);
    CHECK(b.read(kD + 0x104 + 8) == 0);  // beyond the implemented interrupts
    b.write(kD + 0x104 + 8, ~0u);
    CHECK(b.read(kD + 0x104 + 8) == 0);
    b.priority(40, 0xff);
    CHECK(b.read(kD + kPriority + 40, 0, 1) == 0xf8);  // five bits
    b.write(kD + kTargets + 40, 0xff, 0, 1);
    CHECK(b.read(kD + kTargets + 40, 0, 1) == 3);  // there are two processors
    CHECK_FALSE((b.read(0x08050000), b.known));
}

TEST_CASE("GICv2: a level interrupt is pending while its line is up", "[gic][I2]") {
    Bench b;
    b.start();
    b.enable(33);
    const IrqLine line = b.gic->spi(1);
    CHECK(line.set(true) == Delivery::Delivered);
    CHECK(line.set(true) == Delivery::Ignored);
    CHECK(b.cpu[0].irq());
    CHECK_FALSE(b.cpu[1].irq());
    CHECK(b.read(kC + kHppir) == 33);
    CHECK(b.read(kC + kIar) == 33);
    CHECK(b.active(33));
    CHECK(b.pending(33));  // active and pending
    CHECK_FALSE(b.cpu[0].irq());
    b.write(kC + kEoir, 33);
    CHECK(b.cpu[0].irq());  // still up: again
    CHECK(b.read(kC + kIar) == 33);
    line.set(false);
    CHECK_FALSE(b.pending(33));
    b.write(kC + kEoir, 33);
    CHECK_FALSE(b.cpu[0].irq());
    CHECK(b.read(kC + kIar) == 1023);
    // Pending by software, too.
    b.write(kD + 0x204, 2);
    CHECK(b.cpu[0].irq());
    b.write(kD + 0x284, 2);
    CHECK_FALSE(b.cpu[0].irq());
}

TEST_CASE("GICv2: an edge is remembered once", "[gic][I2]") {
    Bench b;
    b.start();
    b.enable(34);
    b.edge(34);
    const IrqLine line = b.gic->spi(2);
    CHECK(line.pulse() == Delivery::Delivered);
    CHECK(line.pulse() == Delivery::Coalesced);
    CHECK(b.read(kC + kIar) == 34);
    CHECK(line.pulse() == Delivery::Delivered);  // while active
    CHECK_FALSE(b.cpu[0].irq());
    b.write(kC + kEoir, 34);
    CHECK(b.read(kC + kIar) == 34);
    b.write(kC + kEoir, 34);
    CHECK(b.read(kC + kIar) == 1023);
}

TEST_CASE("GICv2: priorities, mask, preemption and binary point", "[gic][I2]") {
    Bench b;
    b.start();
    for (const unsigned id : {40u, 41u, 42u}) b.enable(id), b.edge(id);
    b.priority(40, 0x80), b.priority(41, 0x40), b.priority(42, 0x48);
    b.write(kC + kPmr, 0x80);
    b.gic->spi(8).pulse();
    CHECK_FALSE(b.cpu[0].irq());  // the mask's own priority is masked
    b.write(kC + kPmr, 0x88);
    CHECK(b.cpu[0].irq());
    CHECK(b.read(kC + kIar) == 40);
    CHECK(b.read(kC + kRpr) == 0x80);
    CHECK(b.read(kC + kApr) == 1u << 16);
    b.write(kC + kBpr, 4);  // groups of 32: 0x40 and 0x48 are one
    b.gic->spi(10).pulse();
    CHECK(b.read(kC + kIar) == 42);  // preempts
    CHECK(b.read(kC + kRpr) == 0x40);
    b.gic->spi(9).pulse();
    CHECK_FALSE(b.cpu[0].irq());
    b.write(kC + kEoir, 42);
    CHECK(b.cpu[0].irq());
    b.write(kC + kBpr, 0);
    CHECK(b.read(kC + kBpr) == 2);  // the least
    CHECK(b.read(kC + kAbpr) == 3);
    CHECK(b.read(kC + kIar) == 41);
    b.write(kC + kEoir, 41);
    CHECK(b.read(kC + kRpr) == 0x80);
    b.write(kC + kEoir, 40);
    CHECK(b.read(kC + kRpr) == 0xff);
    // Of equal priorities the lower number is first.
    b.priority(42, 0x40);
    b.gic->spi(10).pulse(), b.gic->spi(9).pulse();
    CHECK(b.read(kC + kIar) == 41);
}

TEST_CASE("GICv2: SGIs are banked by receiver and by sender", "[gic][I2]") {
    Bench b(3);
    b.start();
    b.write(kD + kSgir, 1u << 24 | 5, 0);  // all others
    b.write(kD + kSgir, 2u << 16 | 5, 2);  // processor 1
    b.write(kD + kSgir, 2u << 24 | 7, 1);  // oneself
    CHECK_FALSE(b.cpu[0].irq());
    CHECK(b.cpu[1].irq());
    CHECK(b.cpu[2].irq());
    CHECK((b.read(kD + 0xf24, 1) & 0xffff) == 0x0500);  // SGI 5 from processors 0 and 2
    b.write(kD + 0x280, ~0u, 1);                        // SGIs are not cleared here
    CHECK(b.read(kC + kIar, 1) == 5);                   // from 0
    CHECK_FALSE(b.cpu[1].irq());                        // 5 is active, 7 has the same priority
    b.write(kC + kEoir, 5, 1);
    CHECK(b.read(kC + kIar, 1) == (5 | 2u << 10));
    b.write(kC + kEoir, 5 | 2u << 10, 1);
    CHECK(b.read(kC + kIar, 1) == (7 | 1u << 10));
    b.write(kC + kEoir, 7 | 1u << 10, 1);
    CHECK(b.read(kC + kIar, 1) == 1023);
    b.write(kD + 0xf14, 0xff00, 2);
    CHECK_FALSE(b.cpu[2].irq());
    b.write(kD + 0xf24, 0x0200, 2);
    CHECK(b.read(kC + kIar, 2) == (5 | 1u << 10));
}

TEST_CASE("GICv2: EOI in two steps", "[gic][I2]") {
    Bench b;
    b.start();
    b.write(kC + kCtlr, 0x201);
    b.enable(40), b.enable(41);
    b.gic->spi(8).set(true);
    CHECK(b.read(kC + kIar) == 40);
    b.write(kC + kEoir, 40);
    CHECK(b.read(kC + kRpr) == 0xff);
    CHECK(b.active(40));
    CHECK_FALSE(b.cpu[0].irq());  // not while it is active
    b.gic->spi(9).set(true);
    CHECK(b.read(kC + kIar) == 41);
    b.write(kC + kDir, 40);
    CHECK_FALSE(b.active(40));
    CHECK(b.active(41));
}

TEST_CASE("GICv2: group 1 and FIQ", "[gic][I2]") {
    Bench b;
    b.write(kD, 3);
    b.write(kC + kCtlr, 0xb);  // both groups, group 0 as FIQ
    b.write(kC + kPmr, 0xff);
    b.enable(40), b.enable(41);
    b.write(kD + 0x84, 1u << 9);
    b.priority(40, 0x80), b.priority(41, 0x40);
    b.gic->spi(8).set(true);
    CHECK(b.cpu[0].fiq());
    CHECK_FALSE(b.cpu[0].irq());
    b.gic->spi(9).set(true);
    CHECK(b.cpu[0].irq());
    CHECK(b.read(kC + kIar) == 1022);
    CHECK(b.read(kC + kAiar) == 41);
    b.write(kC + kAeoir, 41);
    b.gic->spi(9).set(false);
    CHECK(b.read(kC + kAiar) == 1023);
    CHECK(b.read(kC + kIar) == 40);
}

TEST_CASE("GICv2: list registers and their maintenance interrupts", "[gic][I3]") {
    Bench b;
    b.start();
    b.enable(kMaintenance);
    b.write(kH + kHcr, 1);
    b.write(kH + kVmcr, 0xf8000001);
    CHECK(b.read(kV + kCtlr) == 1);
    CHECK(b.read(kV + kPmr) == 0xf8);
    CHECK(b.read(kH + kElrsr) == 0xf);
    b.write(kH + kLr, 1u << 28 | 0x10u << 23 | 1u << 19 | 50);  // pending, asks for a word at its end
    CHECK(b.cpu[0].virtual_irq());
    CHECK(b.read(kH + kElrsr) == 0xe);
    CHECK(b.read(kV + kHppir) == 50);
    CHECK(b.read(kV + kIar) == 50);
    CHECK_FALSE(b.cpu[0].virtual_irq());
    CHECK(b.read(kH + kLr) >> 28 == 2);
    CHECK(b.read(kV + kRpr) == 0x80);
    b.write(kV + kEoir, 50);
    CHECK(b.read(kH + kEisr) == 1);
    CHECK(b.read(kH + kElrsr) == 0xe);
    CHECK(b.read(kH + kMisr) == 1);
    CHECK(b.cpu[0].irq());
    CHECK(b.read(kC + kIar) == kMaintenance);
    b.write(kH + kLr, 0);
    CHECK(b.read(kH + kMisr) == 0);
    b.write(kC + kEoir, kMaintenance);
    CHECK_FALSE(b.cpu[0].irq());
    // Underflow: at most one register in use.
    b.write(kH + kHcr, 3);
    CHECK(b.read(kH + kMisr) == 2);
    b.write(kH + kLr, 1u << 28 | 51), b.write(kH + kLr + 4, 1u << 28 | 52);
    CHECK(b.read(kH + kMisr) == 0);
    CHECK(b.read(kV + kIar) == 51);
    // The end of one that is in no register is counted.
    b.write(kH + kHcr, 5);
    b.write(kV + kEoir, 99);
    CHECK(b.read(kH + kHcr) >> 27 == 1);
    CHECK(b.read(kH + kMisr) == 4);
    // The guest's priority mask is the hypervisor's field.
    b.write(kV + kPmr, 0x40);
    CHECK(b.read(kH + kVmcr) >> 27 == 8);
}

TEST_CASE("GICv2: a hardware interrupt ends with the virtual one and comes again while its line is up", "[gic][I3]") {
    Bench b;
    b.start();
    b.write(kC + kCtlr, 0x201);  // as a hypervisor: drop, deactivate later
    b.enable(27);
    b.write(kH + kHcr, 1);
    b.write(kH + kVmcr, 0xf8000001);
    const IrqLine line = b.gic->ppi(0, 27);
    line.set(true);
    CHECK(b.read(kC + kIar) == 27);
    b.write(kC + kEoir, 27);
    b.write(kH + kLr, 1u << 31 | 1u << 28 | 27u << 10 | 27);
    CHECK(b.read(kV + kIar) == 27);
    CHECK_FALSE(b.cpu[0].irq());
    CHECK(b.active(27));
    b.write(kV + kEoir, 27);
    CHECK_FALSE(b.active(27));
    CHECK(b.cpu[0].irq());
    CHECK(b.read(kH + kLr) >> 28 == 8);  // the register is free
    CHECK((b.read(kH + kElrsr) & 1) == 1);
}

TEST_CASE("GICv2: virtual SGIs keep their sender", "[gic][I3]") {
    Bench b;
    b.write(kH + kHcr, 1);
    b.write(kH + kVmcr, 0xf8000001);
    b.write(kH + kLr, 1u << 28 | 3u << 10 | 4);
    CHECK(b.read(kV + kIar) == (4 | 3u << 10));
    b.write(kV + kEoir, 4 | 3u << 10);
    CHECK((b.read(kH + kLr) >> 28 & 3) == 0);
}

TEST_CASE("GICv2: state survives, lines follow it, and impossible state is refused", "[gic][I2]") {
    Bench b;
    b.start();
    b.enable(40);
    b.gic->spi(8).set(true);
    b.write(kD + kSgir, 1u << 24 | 5, 0);
    auto saved = b.gic->device().save();
    b.gic->device().reset();
    CHECK_FALSE(b.cpu[0].irq());
    REQUIRE(b.gic->device().restore(saved).ok());
    CHECK(b.cpu[0].irq());
    CHECK(b.cpu[1].irq());
    CHECK(b.read(kC + kIar) == 40);
    auto bad = saved;
    bad.fields["cpus"][0]["priorities"]["binary_point"][0] = 200;
    CHECK_FALSE(b.gic->device().restore(bad).ok());
    bad = saved;
    bad.fields["cpus"].erase(0);
    CHECK_FALSE(b.gic->device().restore(bad).ok());
}

TEST_CASE("GICv2m: a message becomes an edge", "[gic]") {
    Bench b;
    b.start();
    b.enable(48), b.edge(48);
    Gicv2m frame(0x08020000, 48, {b.gic->spi(16), b.gic->spi(17)});
    CHECK(frame.io_read(8, 4) == (48u << 16 | 2));
    frame.send_msi(0x08020040, 48, 0);
    CHECK(b.read(kC + kIar) == 48);
    frame.io_write(0x40, 50, 4);  // not one of its own
    frame.send_msi(0x08020044, 48, 0);
    CHECK_FALSE(b.pending(48));
}

}  // namespace tandem::devices::test
