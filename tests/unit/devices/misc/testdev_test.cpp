#include <catch2/catch.hpp>

#include "devices/misc/pc_testdev.h"
#include "devices/misc/pci_testdev.h"
#include "tests/unit/devices/fabric/device_fuzz.h"

using namespace tandem;
using namespace tandem::devices;

TEST_CASE("pc-testdev: lines by port, data at every width, memory") {
    std::array<int, PcTestDev::kLines> level{};
    std::array<IrqLine, PcTestDev::kLines> lines;
    for (unsigned i = 0; i < lines.size(); ++i) lines[i] = IrqLine([&level, i](bool up) { level[i] = up ? 1 : 0; });
    PcTestDev dev(lines);
    dev.line_ports().io_write(14, 1, 1);
    CHECK(level[14] == 1);
    dev.data_ports().io_write(0, 0x11223344, 4);
    dev.data_ports().io_write(1, 0xaa, 1);
    CHECK(dev.data_ports().io_read(0, 4) == 0x1122aa44);
    CHECK(dev.data_ports().io_read(2, 2) == 0x1122);
    dev.memory().io_write(0xfff8, 0x0102030405060708, 8);
    CHECK(dev.memory().io_read(0xfffc, 4) == 0x01020304);
    PcTestDev other(lines);
    level.fill(0);
    test::check_round_trip(dev, other);
    CHECK(level[14] == 1);
    dev.reset();
    CHECK(level[14] == 0);
    CHECK(dev.memory().io_read(0xfffc, 4) == 0);
}

TEST_CASE("pc-testdev and pci-testdev bear random accesses") {
    FakeClock clock;
    PcTestDev dev({});
    const std::vector<test::FuzzTarget> targets{{&dev.line_ports(), 24, 4},
                                                {&dev.data_ports(), 4, 4},
                                                {&dev.flush_ports(), 4, 4},
                                                {&dev.memory(), PcTestDev::kMemorySize, 8}};
    test::fuzz_accesses(targets, clock, 7, 5000);
    PcTestDev other({});
    test::check_round_trip(dev, other);
}

TEST_CASE("pci-testdev: a test is selected, described, and counts its writes") {
    AddressSpace memory{"memory"}, io{"io"};
    PciTestDev dev;
    dev.connect({&memory, &io, nullptr, {}});
    dev.config_write(0x10, 0xe0000000, 4);
    dev.config_write(0x14, 0xc000, 4);
    dev.config_write(4, 3, 2);
    memory.write(0xe0000000, 1, 1);
    CHECK(memory.read(0xe0000001, 1) == 1);
    const u64 target = memory.read(0xe0000004, 4);
    memory.write(0xe0000000 + target, 0, 1);
    memory.write(0xe0000000 + target, 0, 1);
    CHECK(memory.read(0xe000000c, 4) == 2);
    CHECK(memory.read(0xe0000010, 1) == 'm');
    PciTestDev other;
    test::check_round_trip(dev, other);
    memory.write(0xe0000000, 77, 1);
    CHECK(memory.read(0xe0000001, 1) == 0);
    CHECK(io.read(0xc001, 1) == 1);
}
