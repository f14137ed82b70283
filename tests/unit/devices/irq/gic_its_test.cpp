// The ITS against IHI 0069H, 5.3: commands through the queue, tables in memory, messages that become LPIs.
#include "devices/irq/gic_its.h"

#include <catch2/catch.hpp>
#include <random>

#include "devices/fabric/system_register.h"
#include "tests/unit/devices/irq/gic_fixture.h"

namespace tandem::devices::test {
namespace {

constexpr u64 kRam = 0x40000000, kIts = 0x08080000, kTranslater = kIts + 0x10040, kR = 0x080a0000;
constexpr u64 kQueue = kRam + 0x10000, kDevices = kRam + 0x20000, kCollections = kRam + 0x30000, kItt = kRam + 0x40000;
constexpr u64 kProperties = kRam + 0x100000, kPending = kRam + 0x120000, kValid = u64{1} << 63;
constexpr u16 kIar1 = system_register(3, 0, 12, 12, 0), kEoir1 = system_register(3, 0, 12, 12, 1);
constexpr u16 kPmr = system_register(3, 0, 4, 6, 0), kGroup1 = system_register(3, 0, 12, 12, 7);

struct Bench {
    Bench() : gic({{0, 1}, 64, 0x08000000, kR, true, false, 25}, memory()), its(kIts, gic, ram) {
        gic.connect(0, cpu[0]), gic.connect(1, cpu[1]);
        mmio(0x08000000, 3);
        for (u64 i = 0; i < 2; ++i) {
            reg(kPmr, 0xf8, static_cast<unsigned>(i)), reg(kGroup1, 1, static_cast<unsigned>(i));
            mmio(kR + i * 0x20000 + 0x70, kProperties | 15, 8);
            mmio(kR + i * 0x20000 + 0x78, (kPending + i * 0x10000) | kValid >> 1, 8);
            mmio(kR + i * 0x20000, 1);
        }
        const std::vector<u8> enabled(57344, 0xa1);
        REQUIRE(ram.write(kProperties, enabled.data(), enabled.size()));
        its.io_write(0x80, kValid | kQueue, 8);     // one page of commands
        its.io_write(0x100, kValid | kDevices, 8);  // one page each
        its.io_write(0x108, kValid | kCollections, 8);
        its.io_write(0, 1, 4);
    }
    GuestMemory& memory() {
        REQUIRE(ram.add("RAM", kRam, 4 << 20).ok());
        return ram;
    }
    void mmio(u64 address, u64 value, unsigned size = 4) { REQUIRE(gic.mmio_write(0, address, value, size)); }
    u64 reg(u16 encoding, std::optional<u64> value, unsigned who) {
        GicRegisterAccess a{encoding, 1, value.has_value(), false, false, value.value_or(0)};
        REQUIRE(gic.system_register(who, a) == GicRegisterAnswer::Done);
        return a.data;
    }
    u64 take(unsigned who) {
        const u64 id = reg(kIar1, {}, who);
        if (id != 1023) reg(kEoir1, id, who);
        return id;
    }
    void command(u64 a, u64 b = 0, u64 c = 0, u64 d = 0) {
        const u64 words[] = {a, b, c, d};
        REQUIRE(ram.write(kQueue + tail, words, sizeof words));
        tail = (tail + 32) % 4096;
        its.io_write(0x88, tail, 8);
        CHECK(its.io_read(0x90, 8) == tail);
    }
    void map(u64 device, u64 event, u64 lpi, u64 collection) { command(0x0a | device << 32, event | lpi << 32, collection); }
    void map_all() {
        command(0x08 | u64{8} << 32, 4, kValid | kItt);  // MAPD device 8, 32 events
        command(0x09, 0, kValid | 0u << 16 | 1);         // MAPC 1: processor 0
        command(0x09, 0, kValid | 1u << 16 | 2);         // MAPC 2: processor 1
        map(8, 3, 8195, 1);
    }
    GuestMemory ram;
    std::array<GicCpu, 2> cpu;
    Gicv3 gic;
    GicIts its;
    u64 tail = 0;
};

}  // namespace

TEST_CASE("ITS: identification", "[gic][lpi]") {
    Bench b;
    const u64 typer = b.its.io_read(8, 8);
    CHECK((typer & 1) == 1);
    CHECK((typer >> 4 & 15) == 7);
    CHECK((typer >> 13 & 31) == 15);
    CHECK((b.its.io_read(0x100, 8) >> 56 & 7) == 1);
    CHECK((b.its.io_read(0x108, 8) >> 56 & 7) == 4);
    CHECK(b.its.io_read(0x110, 8) == 0);
    CHECK(b.its.io_read(0xffe8, 4) == 0x3b);
}

TEST_CASE("ITS: a message becomes an LPI", "[gic][lpi]") {
    Bench b;
    b.its.send_msi(kTranslater, 3, 8);  // nothing is mapped
    CHECK(b.take(0) == 1023);
    b.map_all();
    b.its.send_msi(kTranslater, 3, 8);
    CHECK(b.cpu[0].irq());
    CHECK(b.take(0) == 8195);
    b.its.send_msi(kTranslater, 3, 9);   // another device
    b.its.send_msi(kTranslater, 4, 8);   // another event
    b.its.send_msi(kTranslater, 40, 8);  // more than it has
    b.its.send_msi(kIts, 3, 8);
    CHECK(b.take(0) == 1023);
}

TEST_CASE("ITS: INT, CLEAR, MOVI, MOVALL, DISCARD and the end of mappings", "[gic][lpi]") {
    Bench b;
    b.map_all();
    b.command(0x03 | u64{8} << 32, 3);
    CHECK(b.cpu[0].irq());
    b.command(0x04 | u64{8} << 32, 3);
    CHECK_FALSE(b.cpu[0].irq());
    b.command(0x03 | u64{8} << 32, 3);
    b.command(0x01 | u64{8} << 32, 3, 2);  // what is pending moves along
    CHECK_FALSE(b.cpu[0].irq());
    CHECK(b.take(1) == 8195);
    b.its.send_msi(kTranslater, 3, 8);
    CHECK(b.cpu[1].irq());
    b.command(0x0e, 0, 1u << 16, 0);
    CHECK_FALSE(b.cpu[1].irq());
    CHECK(b.take(0) == 8195);
    b.command(0x0f | u64{8} << 32, 3);
    b.its.send_msi(kTranslater, 3, 8);
    CHECK(b.take(1) == 1023);
    b.command(0x0b | u64{8} << 32, 5, 1);  // MAPI of event 5: no such LPI
    b.map(8, 6, 70000, 1);
    b.command(0x03 | u64{8} << 32, 6);
    CHECK(b.take(0) == 1023);
    b.map(8, 3, 8196, 1);
    b.command(0x08 | u64{8} << 32, 0, 0);  // the device goes
    b.its.send_msi(kTranslater, 3, 8);
    CHECK(b.take(0) == 1023);
}

TEST_CASE("ITS: INV and INVALL see a changed configuration", "[gic][lpi]") {
    Bench b;
    b.map_all();
    u8 config = 0xa0;
    REQUIRE(b.ram.write(kProperties + 3, &config, 1));
    b.its.send_msi(kTranslater, 3, 8);
    CHECK_FALSE(b.cpu[0].irq());
    config = 0xa1;
    REQUIRE(b.ram.write(kProperties + 3, &config, 1));
    CHECK_FALSE(b.cpu[0].irq());
    b.command(0x0c | u64{8} << 32, 3);
    CHECK(b.cpu[0].irq());
    config = 0xa0;
    REQUIRE(b.ram.write(kProperties + 3, &config, 1));
    b.command(0x0d, 0, 1);
    CHECK_FALSE(b.cpu[0].irq());
}

TEST_CASE("ITS: two-level device tables, and the queue waits until it is enabled", "[gic][lpi]") {
    Bench b;
    b.its.io_write(0, 0, 4);
    const u64 second = kRam + 0x80000;
    const u64 first = kValid | second;
    REQUIRE(b.ram.write(kDevices + 8, &first, 8));  // devices 512 to 1023
    b.its.io_write(0x100, kValid | kValid >> 1 | kDevices, 8);
    const u64 words[] = {0x08 | u64{600} << 32, 4, kValid | kItt, 0};
    REQUIRE(b.ram.write(kQueue, words, sizeof words));
    b.its.io_write(0x88, 32, 8);
    CHECK(b.its.io_read(0x90, 8) == 0);
    b.its.io_write(0, 1, 4);
    CHECK(b.its.io_read(0x90, 8) == 32);
    b.tail = 32;
    b.command(0x09, 0, kValid | 1);
    b.map(600, 0, 8192, 1);
    b.its.send_msi(kTranslater, 0, 600);
    CHECK(b.take(0) == 8192);
    auto saved = b.its.save();
    b.its.reset();
    REQUIRE(b.its.restore(saved).ok());
    b.its.send_msi(kTranslater, 0, 600);
    CHECK(b.take(0) == 8192);
    saved.fields["command_read"] = 3;
    CHECK_FALSE(b.its.restore(saved).ok());
}

TEST_CASE("ITS: hostile commands and registers", "[gic][lpi]") {
    Bench b;
    std::mt19937_64 random(3);
    for (unsigned round = 0; round < 4000; ++round) {
        u64 words[] = {random(), random(), random(), random()};
        if (round % 2 == 0) words[0] = (words[0] & ~u64{0xff}) | random() % 16;
        (void)b.ram.write(kQueue + random() % 128 * 32, words, sizeof words);
        b.its.io_write(random() % 0x120 & ~u64{7}, random(), 8);
        b.its.io_write(0x88, random() % 128 * 32, 8);
        b.its.send_msi(kTranslater, static_cast<u32>(random() % 64), static_cast<u16>(random() % 64));
        if (round % 16 == 0) {
            b.its.io_write(0, 0, 4);
            b.its.io_write(0x80, kValid | kQueue, 8);
            b.its.io_write(0x100, kValid | kDevices | (random() & (kValid >> 1)), 8);
            b.its.io_write(0, 1, 4);
        }
    }
}

}  // namespace tandem::devices::test
