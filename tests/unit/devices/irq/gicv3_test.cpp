// GICv3 against IHI 0069H, with processors that only record their lines.
#include "devices/irq/gicv3.h"

#include <catch2/catch.hpp>

#include "devices/fabric/system_register.h"
#include "tests/unit/devices/irq/gic_fixture.h"

namespace tandem::devices::test {
namespace {

constexpr u64 kD = 0x08000000, kR = 0x080a0000, kSgi = 0x10000;
constexpr u16 icc(unsigned crn, unsigned crm, unsigned op2) { return system_register(3, 0, crn, crm, op2); }
constexpr u16 ich(unsigned crm, unsigned op2) { return system_register(3, 4, 12, crm, op2); }
constexpr u16 kIar0 = icc(12, 8, 0), kEoir0 = icc(12, 8, 1), kIar1 = icc(12, 12, 0), kEoir1 = icc(12, 12, 1);
constexpr u16 kDir = icc(12, 11, 1), kRpr = icc(12, 11, 3), kSgi1r = icc(12, 11, 5), kPmr = icc(4, 6, 0);
constexpr u16 kCtlr = icc(12, 12, 4), kSre = icc(12, 12, 5), kGroup0 = icc(12, 12, 6), kGroup1 = icc(12, 12, 7);
constexpr u16 kBpr0 = icc(12, 8, 3), kBpr1 = icc(12, 12, 3), kHppir1 = icc(12, 12, 2), kAp1r0 = icc(12, 9, 0);
constexpr u16 kSgi0r = icc(12, 11, 7);
constexpr u16 kHcr = ich(11, 0), kVtr = ich(11, 1), kMisr = ich(11, 2), kEisr = ich(11, 3), kElrsr = ich(11, 5);
constexpr u16 kVmcr = ich(11, 7), kLr0 = ich(12, 0);
constexpr unsigned kMaintenance = 25;

struct Bench : GicBench {
    Bench() : Bench(std::make_unique<GuestMemory>()) {}
    explicit Bench(std::unique_ptr<GuestMemory> m)
        : GicBench(std::make_unique<Gicv3>(Gicv3Config{{0, 1, 0x100}, 64, kD, kR, true, true, kMaintenance}, *m), 3),
          memory(std::move(m)) {
        REQUIRE(memory->add("RAM", 0x40000000, 1 << 20).ok());
    }
    Gicv3& v3() { return static_cast<Gicv3&>(*gic); }
    GicRegisterAnswer access(u16 encoding, bool writing, u64& data, unsigned who = 0, u8 level = 2, bool routed = false) {
        GicRegisterAccess a{encoding, level, writing, routed, routed, data};
        const auto answer = gic->system_register(who, a);
        data = a.data;
        return answer;
    }
    u64 get(u16 encoding, unsigned who = 0, u8 level = 2, bool routed = false) {
        u64 data = 0;
        CHECK(access(encoding, false, data, who, level, routed) == GicRegisterAnswer::Done);
        return data;
    }
    void set(u16 encoding, u64 data, unsigned who = 0, u8 level = 2, bool routed = false) {
        CHECK(access(encoding, true, data, who, level, routed) == GicRegisterAnswer::Done);
    }
    // As Linux does it: everything in group 1.
    void start() {
        write(kD, 3);
        for (u64 k = 1; k <= 2; ++k) write(kD + 0x80 + 4 * k, ~0u);
        for (unsigned i = 0; i < 3; ++i) {
            write(kR + i * 0x20000 + kSgi + 0x80, ~0u);
            write(kR + i * 0x20000 + kSgi + 0x100, 0xffff);
            set(kPmr, 0xf8, i);
            set(kGroup1, 1, i);
        }
    }
    void enable(unsigned id) { write(kD + 0x100 + id / 32 * 4, 1u << id % 32); }
    void enable_private(unsigned id) { write(kR + kSgi + 0x100, 1u << id); }
    void route(unsigned id, u64 affinity) { write(kD + 0x6000 + 8 * id, affinity, 0, 8); }
    std::unique_ptr<GuestMemory> memory;
};

}  // namespace

TEST_CASE("GICv3: identification and reset state", "[gic][I2]") {
    Bench b;
    CHECK(b.read(kD) == 0x50);  // affinity routing, one security state
    CHECK((b.read(kD + 4) & 0x1f) == 2);
    CHECK((b.read(kD + 4) >> 19 & 0x1f) == 15);
    CHECK(b.read(kD + 0xffe8) == 0x3b);
    CHECK(b.read(kR + 0xffe8) == 0x3b);
    CHECK(b.read(kR + 8) == 1);
    CHECK(b.read(kR + 0x20000 + 8) == (1 | 1u << 8));
    CHECK(b.read(kR + 0x40000 + 8) == (1 | 2u << 8 | 1u << 4));  // the last one
    CHECK(b.read(kR + 0x40000 + 12) == 0x100);
    CHECK(b.read(kR + 0x14) == 6);
    b.write(kR + 0x14, 0);
    CHECK(b.read(kR + 0x14) == 0);
    CHECK(b.read(kR + kSgi + 0xc00) == 0xaaaaaaaa);
    CHECK(b.read(kD + 0x100) == 0);  // private interrupts are the redistributors'
    b.write(kD + 0x100, ~0u);
    CHECK(b.read(kD + 0x100) == 0);
    CHECK(b.get(kSre, 0, 1) == 7);
    CHECK(b.get(ich(9, 5)) == 15);
    CHECK((b.get(kCtlr) >> 8 & 7) == 4);
    CHECK((b.get(kVtr) & 0x1f) == 3);
    CHECK(b.get(kRpr) == 0xff);
    CHECK(b.get(kIar1) == 1023);
}

TEST_CASE("GICv3: who may use which register", "[gic][I2]") {
    Bench b;
    u64 data = 0;
    CHECK(b.access(kHcr, false, data, 0, 1) == GicRegisterAnswer::Undefined);
    CHECK(b.access(kIar1, false, data, 0, 0) == GicRegisterAnswer::Undefined);
    CHECK(b.access(kIar1, true, data) == GicRegisterAnswer::Undefined);
    CHECK(b.access(kEoir1, false, data) == GicRegisterAnswer::Undefined);
    CHECK(b.access(ich(12, 4), false, data) == GicRegisterAnswer::Undefined);  // there are four list registers
    CHECK(b.access(icc(12, 9, 1), false, data) == GicRegisterAnswer::Undefined);
    CHECK(b.access(kSgi1r, true, data, 0, 1, true) == GicRegisterAnswer::TrapToEl2);
    b.set(kHcr, 1u << 12);  // TALL1
    CHECK(b.access(kIar1, false, data, 0, 1, true) == GicRegisterAnswer::TrapToEl2);
    CHECK(b.access(kIar0, false, data, 0, 1, true) == GicRegisterAnswer::Done);
    b.set(kHcr, 1u << 10);  // TC
    CHECK(b.access(kPmr, false, data, 0, 1, true) == GicRegisterAnswer::TrapToEl2);
    CHECK(b.access(kPmr, false, data, 0, 2, true) == GicRegisterAnswer::Done);
    b.set(kHcr, 1u << 14);  // TDIR
    CHECK(b.access(kDir, true, data, 0, 1, true) == GicRegisterAnswer::TrapToEl2);
}

TEST_CASE("GICv3: shared interrupts follow their route", "[gic][I2]") {
    Bench b;
    b.start();
    b.enable(40);
    b.gic->spi(8).set(true);
    CHECK(b.cpu[0].irq());
    b.route(40, 0x100);
    CHECK_FALSE(b.cpu[0].irq());
    CHECK(b.cpu[2].irq());
    CHECK(b.get(kHppir1, 2) == 40);
    CHECK(b.get(kIar1, 2) == 40);
    CHECK_FALSE(b.cpu[2].irq());
    b.gic->spi(8).set(false);
    b.set(kEoir1, 40, 2);
    CHECK(b.get(kIar1, 2) == 1023);
    b.route(40, 0x500);  // nobody
    b.gic->spi(8).set(true);
    for (const auto& c : b.cpu) CHECK_FALSE(c.irq());
}

TEST_CASE("GICv3: SGIs by affinity, and their groups", "[gic][I2]") {
    Bench b;
    b.start();
    b.set(kSgi1r, u64{3} << 24 | 2, 0);  // cluster 0, number 1
    CHECK(b.cpu[1].irq());
    CHECK_FALSE(b.cpu[0].irq());
    CHECK(b.get(kIar1, 1) == 3);
    b.set(kEoir1, 3, 1);
    b.set(kSgi1r, u64{4} << 24 | u64{1} << 16 | 1, 0);  // cluster 1, number 0
    CHECK(b.cpu[2].irq());
    CHECK(b.get(kIar1, 2) == 4);
    b.set(kEoir1, 4, 2);
    b.set(kSgi1r, u64{5} << 24 | u64{1} << 40, 2);  // all others
    CHECK(b.get(kIar1, 0) == 5);
    CHECK(b.get(kIar1, 1) == 5);
    CHECK(b.get(kIar1, 2) == 1023);
    b.set(kSgi0r, u64{6} << 24 | 2, 0);  // it is a group 1 interrupt there
    CHECK(b.get(kIar1, 1) == 1023);
}

TEST_CASE("GICv3: group 0 is FIQ; preemption and binary points", "[gic][I2]") {
    Bench b;
    b.start();
    b.set(kGroup0, 1);
    for (const unsigned id : {40u, 41u}) b.enable(id);
    b.write(kD + 0x84, ~(1u << 8));  // 40: group 0
    b.write(kD + 0x400 + 40, 0x40, 0, 1), b.write(kD + 0x400 + 41, 0x80, 0, 1);
    b.gic->spi(9).set(true);
    CHECK(b.get(kIar1) == 41);
    CHECK(b.get(kAp1r0) == 1u << 16);
    b.gic->spi(8).set(true);
    CHECK(b.cpu[0].fiq());
    CHECK(b.get(kIar1) == 1023);
    CHECK(b.get(kIar0) == 40);
    CHECK(b.get(kRpr) == 0x40);
    b.set(kEoir0, 40);
    CHECK(b.get(kRpr) == 0x80);
    CHECK(b.get(kBpr0) == 2);
    CHECK(b.get(kBpr1) == 3);
    b.set(kCtlr, 1);  // CBPR
    b.set(kBpr0, 5);
    CHECK(b.get(kBpr1) == 6);
    b.set(kBpr1, 7);
    CHECK(b.get(kBpr1) == 6);
}

TEST_CASE("GICv3: EOI in two steps", "[gic][I2]") {
    Bench b;
    b.start();
    b.set(kCtlr, 2);
    b.enable_private(27);
    b.gic->ppi(0, 27).set(true);
    CHECK(b.get(kIar1) == 27);
    b.set(kEoir1, 27);
    CHECK(b.get(kRpr) == 0xff);
    CHECK(b.read(kR + kSgi + 0x300) == 1u << 27);
    b.set(kDir, 27);
    CHECK(b.read(kR + kSgi + 0x300) == 0);
    CHECK(b.cpu[0].irq());
}

TEST_CASE("GICv3: list registers, the virtual interface and maintenance", "[gic][I3]") {
    Bench b;
    b.start();
    b.enable_private(kMaintenance);
    b.set(kHcr, 1);
    b.set(kVmcr, 0xf8000002);
    const u64 group1 = u64{1} << 60, pending = u64{1} << 62;
    b.set(kLr0, pending | group1 | u64{0x80} << 48 | u64{1} << 41 | 50);
    CHECK(b.cpu[0].virtual_irq());
    CHECK(b.get(kElrsr) == 0xe);
    CHECK(b.get(kIar1, 0, 1, true) == 50);  // EL1 has the virtual one
    CHECK_FALSE(b.cpu[0].virtual_irq());
    CHECK(b.get(kRpr, 0, 1, true) == 0x80);
    CHECK(b.get(kRpr) == 0xff);
    CHECK(b.get(kLr0) >> 62 == 2);
    b.set(kEoir1, 50, 0, 1, true);
    CHECK(b.get(kEisr) == 1);
    CHECK(b.get(kMisr) == 1);
    CHECK(b.get(kIar1) == kMaintenance);
    b.set(kLr0, 0);
    b.set(kEoir1, kMaintenance);
    CHECK_FALSE(b.cpu[0].irq());
    // Group 0 is the virtual FIQ.
    b.set(kVmcr, 0xf8000003);
    b.set(kLr0, pending | 51);
    CHECK(b.cpu[0].virtual_fiq());
    CHECK_FALSE(b.cpu[0].virtual_irq());
    // The guest's mask and enables are the hypervisor's VMCR.
    b.set(kPmr, 0x40, 0, 1, true);
    b.set(kGroup0, 0, 0, 1, true);
    CHECK(b.get(kVmcr) >> 24 == 0x40);
    CHECK((b.get(kVmcr) & 3) == 2);
    // A hardware interrupt ends with the virtual one.
    b.set(kCtlr, 2);
    b.enable_private(27);
    b.gic->ppi(0, 27).set(true);
    CHECK(b.get(kIar1) == 27);
    b.set(kEoir1, 27);
    b.set(kLr0, u64{1} << 61 | group1 | pending | u64{27} << 32 | 27);
    CHECK(b.get(kIar1, 0, 1, true) == 27);
    b.set(kEoir1, 27, 0, 1, true);
    CHECK(b.read(kR + kSgi + 0x300) == 0);
    // A virtual LPI has no active state.
    b.set(kLr0, group1 | pending | 9000);
    CHECK(b.get(kIar1, 0, 1, true) == 9000);
    CHECK(b.get(kLr0) >> 62 == 0);
}

TEST_CASE("GICv3: LPIs take priority and enable from the table in memory", "[gic][lpi]") {
    Bench b;
    b.start();
    const u64 properties = 0x40010000, table = 0x40020000;
    const u8 config[] = {0xa1, 0x40};  // 8192: enabled; 8193: not
    REQUIRE(b.memory->write(properties, config, sizeof config));
    const u8 waiting = 1;
    REQUIRE(b.memory->write(table + 8192 / 8 + 1, &waiting, 1));  // 8200 ...
    const u8 on = 0x01;
    REQUIRE(b.memory->write(properties + 8, &on, 1));
    b.write(kR + 0x70, properties | 15, 0, 8);
    b.write(kR + 0x78, table, 0, 8);
    b.v3().set_lpi(0, 8192, true);  // not yet
    CHECK_FALSE(b.cpu[0].irq());
    b.write(kR, 1);
    CHECK(b.cpu[0].irq());
    CHECK(b.get(kIar1) == 8200);  // ... was pending in the table
    b.set(kEoir1, 8200);
    CHECK(b.get(kIar1) == 1023);
    b.v3().set_lpi(0, 8193, true);
    CHECK_FALSE(b.cpu[0].irq());
    b.v3().set_lpi(0, 8192, true);
    CHECK(b.get(kIar1) == 8192);
    CHECK(b.get(kRpr) == 0xa0);
    b.set(kEoir1, 8192);
    const u8 enabled = 0x41;
    REQUIRE(b.memory->write(properties + 1, &enabled, 1));
    CHECK_FALSE(b.cpu[0].irq());
    b.v3().invalidate_lpi(0, 8193);
    CHECK(b.cpu[0].irq());
    b.v3().move_lpi(0, 1, 8193);  // LPIs are off there
    CHECK_FALSE(b.cpu[0].irq());
    b.v3().set_lpi(0, 8193, true);
    auto saved = b.gic->device().save();
    b.gic->device().reset();
    REQUIRE(b.gic->device().restore(saved).ok());
    CHECK(b.cpu[0].irq());
    b.write(kR, 0);  // what is pending goes into the table
    u8 byte = 0;
    REQUIRE(b.memory->read(table + 8193 / 8, &byte, 1));
    CHECK(byte == 2);
    saved.fields["cpus"][0]["pending_lpis"][0]["id"] = 5;
    CHECK_FALSE(b.gic->device().restore(saved).ok());
}

}  // namespace tandem::devices::test
