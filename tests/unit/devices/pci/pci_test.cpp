#include <catch2/catch.hpp>

#include "devices/pci/host_bridge.h"
#include "devices/pci/lpc_bridge.h"
#include "devices/pci/root.h"
#include "tests/log_capture.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::pci;

namespace {

class Registers final : public IoHandler {
public:
    u64 io_read(u64 offset, unsigned) override { return 0x1000 + offset; }
    void io_write(u64, u64, unsigned) override {}
};

class MsiLog final : public MsiSink {
public:
    void send_msi(u64 address, u32 data, u16) override { sent.emplace_back(address, data); }
    std::vector<std::pair<u64, u32>> sent;
};

struct TestState {
    static constexpr u32 kVersion = 1;
    FunctionState function;
    void visit(auto& v) { v("function", function); }
};

// BAR 0: 64-bit memory, 16 KiB; BAR 2: 32 I/O ports; BAR 3: MSI-X with 3 vectors (capability at 0x40).
class TestFunction final : public StatefulDevice<TestState>, public PciFunction {
public:
    TestFunction()
        : PciFunction("test", {.vendor = 0x1af4,
                               .device = 0x1234,
                               .revision = 0,
                               .class_code = 0x123456,
                               .subsystem_vendor = 0,
                               .subsystem = 0,
                               .interrupt_pin = 1,
                               .multifunction = false}) {
        add_bar(0, BarKind::Memory64, 16384, memory);
        add_bar(2, BarKind::Io, 32, ports);
        add_msix(3, 3);
    }
    using PciFunction::send_msix;
    using PciFunction::set_intx;
    [[nodiscard]] std::string_view name() const override { return "test"; }
    void reset() override { reset_function(); }
    Registers memory, ports;

protected:
    [[nodiscard]] TestState capture() const override { return {capture_function()}; }
    Result<void> apply(const TestState& s) override {
        TANDEM_TRY(check_function(s.function));
        apply_function(s.function);
        return {};
    }
};

struct Fixture {
    AddressSpace memory{"memory"}, io{"io"};
    MsiLog msi;
    std::array<bool, 8> pirq{};
    PcieRoot root{{&memory, &io, &msi, lines()}};
    TestFunction function;

    Fixture() {
        REQUIRE(root.map_ports(0xcf8, nullptr).ok());
        REQUIRE(root.set_ecam(0xb0000000, 256 << 20).ok());
        REQUIRE(root.attach(3, 0, function).ok());
    }
    std::array<IrqLine, 8> lines() {
        std::array<IrqLine, 8> out;
        for (unsigned i = 0; i < 8; ++i) out[i] = IrqLine([this, i](bool level) { pirq[i] = level; });
        return out;
    }
    u64 ecam(unsigned offset, unsigned size = 4) { return memory.read(0xb0000000 + (3u << 15) + offset, size); }
    void ecam_write(unsigned offset, u32 value, unsigned size = 4) {
        memory.write(0xb0000000 + (3u << 15) + offset, value, size);
    }
    void msix_entry(unsigned index, u32 data, bool masked) {
        const u64 base = 0xe0000000 + 16 * index;
        memory.write(base, 0xfee00000, 4);
        memory.write(base + 4, 0, 4);
        memory.write(base + 8, data, 4);
        memory.write(base + 12, masked ? 1 : 0, 4);
    }
    void msix_control(u16 control) { ecam_write(0x42, control, 2); }
};

}  // namespace

TEST_CASE("PCI configuration: ports and window reach the same registers") {
    Fixture f;
    f.io.write(0xcf8, 0x80000000 | 3 << 11, 4);
    CHECK(f.io.read(0xcf8, 4) == (0x80000000 | 3 << 11));
    CHECK(f.io.read(0xcfc, 4) == 0x12341af4);
    CHECK(f.io.read(0xcfe, 2) == 0x1234);
    CHECK(f.ecam(0) == 0x12341af4);
    CHECK(f.ecam(9, 1) == 0x56);
    CHECK(f.ecam(8) == 0x12345600);
    f.io.write(0xcf8, 3 << 11, 4);
    CHECK(f.io.read(0xcfc, 4) == 0xffffffff);
    f.io.write(0xcf8, 0x80000000 | 4 << 11, 4);
    CHECK(f.io.read(0xcfc, 4) == 0xffffffff);
    CHECK(f.memory.read(0xb0000000 + (1 << 20), 4) == 0xffffffff);
}

TEST_CASE("PCI configuration: read-only bits stay; single bytes of the address port are not the address register") {
    Fixture f;
    f.ecam_write(0, 0);
    CHECK(f.ecam(0) == 0x12341af4);
    f.ecam_write(4, 0xffffffff);
    CHECK((f.ecam(4) & 0xffff) == 0x547);
    f.io.write(0xcf8, 0x80000000, 4);
    f.io.write(0xcfb, 0x01, 1);
    CHECK(f.io.read(0xcf8, 4) == 0x80000000);
    CHECK(f.ecam(0xffc) == 0);
}

TEST_CASE("PCI BARs: sizing, decoding by command register, moving") {
    Fixture f;
    f.ecam_write(0x10, 0xffffffff);
    f.ecam_write(0x14, 0xffffffff);
    f.ecam_write(0x18, 0xffffffff);
    CHECK(f.ecam(0x10) == 0xffffc004);
    CHECK(f.ecam(0x14) == 0xffffffff);
    CHECK(f.ecam(0x18) == 0xffffffe1);
    f.ecam_write(0x10, 0xc0000000);
    f.ecam_write(0x14, 0x8);
    f.ecam_write(0x18, 0xc000);
    CHECK(f.memory.read(0x8c0000010, 4) == 0xffffffff);
    f.ecam_write(4, command::kMemory, 2);
    CHECK(f.memory.read(0x8c0000010, 4) == 0x1010);
    CHECK(f.io.read(0xc004, 4) == 0xffffffff);
    f.ecam_write(4, command::kMemory | command::kIo, 2);
    CHECK(f.io.read(0xc004, 4) == 0x1004);
    f.ecam_write(0x14, 0x9);
    CHECK(f.memory.read(0x8c0000010, 4) == 0xffffffff);
    CHECK(f.memory.read(0x9c0000010, 4) == 0x1010);
    f.ecam_write(4, 0, 2);
    CHECK(f.memory.read(0x9c0000010, 4) == 0xffffffff);
}

TEST_CASE("PCI BARs: one that would lie on another region is not decoded until it has room") {
    Fixture f;
    f.ecam_write(4, command::kMemory, 2);
    f.ecam_write(0x10, 0xb0000000);
    CHECK_FALSE(f.function.bar_address(0).has_value());
    CHECK(f.ecam(0) == 0x12341af4);
    f.ecam_write(0x10, 0xc0000000);
    CHECK(f.function.bar_address(0) == u64{0xc0000000});
}

TEST_CASE("PCI slots: taken and missing places are errors, free ones are found") {
    Fixture f;
    TestFunction other;
    CHECK(f.root.attach(3, 0, other).error().code == Errc::Busy);
    CHECK_FALSE(f.root.attach(32, 0, other).ok());
    CHECK(*f.root.free_slot(3) == 4);
    CHECK(*f.root.free_slot(0) == 0);
}

TEST_CASE("PCI resource assignment gives aligned addresses and says when there is no room") {
    Fixture f;
    REQUIRE(f.root.assign_resources({0xe0001000, 0x100000}, {}, {0xc001, 0x1000}).ok());
    f.ecam_write(4, 3, 2);
    REQUIRE(f.function.bar_address(0).has_value());
    CHECK(*f.function.bar_address(0) == 0xe0004000);
    CHECK(*f.function.bar_address(2) == 0xc020);
    CHECK(*f.function.bar_address(3) == 0xe0008000);
    CHECK_FALSE(f.root.assign_resources({0xe0000000, 0x1000}, {}, {0xc000, 0x1000}).ok());
}

TEST_CASE("PCI INTx: shared line, disable bit, live status") {
    Fixture f;
    const unsigned n = pirq_of(3, 1);
    f.function.set_intx(true);
    CHECK(f.pirq[n]);
    CHECK((f.ecam(6, 2) & status::kInterrupt) != 0);
    f.ecam_write(4, command::kIntxDisable, 2);
    CHECK_FALSE(f.pirq[n]);
    CHECK((f.ecam(6, 2) & status::kInterrupt) != 0);
    f.ecam_write(4, 0, 2);
    CHECK(f.pirq[n]);
    f.function.set_intx(false);
    CHECK_FALSE(f.pirq[n]);
}

TEST_CASE("a shared line is up while any source is up") {
    std::vector<bool> edges;
    SharedLine line(IrqLine([&](bool level) { edges.push_back(level); }));
    const IrqLine a = line.source(), c = line.source();
    CHECK(a.set(true) == Delivery::Delivered);
    CHECK(a.set(true) == Delivery::Ignored);
    c.set(true);
    a.set(false);
    CHECK(edges == std::vector<bool>{true});
    c.set(false);
    CHECK(edges == std::vector<bool>{true, false});
}

TEST_CASE("MSI-X: masks, pending bits, enable and bus master") {
    Fixture f;
    f.ecam_write(0x1c, 0xe0000000);
    f.ecam_write(4, command::kMemory | command::kBusMaster, 2);
    CHECK(f.ecam(0x40, 1) == 0x11);
    CHECK((f.ecam(0x42, 2) & 0x7ff) == 2);
    CHECK_FALSE(f.function.send_msix(0));
    f.msix_entry(0, 0x41, false);
    f.msix_entry(1, 0x42, true);
    f.msix_control(0x8000);
    CHECK(f.function.send_msix(0));
    REQUIRE(f.msi.sent.size() == 1);
    CHECK(f.msi.sent[0] == std::pair<u64, u32>{0xfee00000, 0x41});
    CHECK(f.function.send_msix(1));
    CHECK(f.msi.sent.size() == 1);
    const u64 pba = 0xe0000000 + 48;
    CHECK(f.memory.read(pba, 4) == 2);
    f.memory.write(pba, 0, 4);
    CHECK(f.memory.read(pba, 8) == 2);
    f.msix_entry(1, 0x43, false);
    REQUIRE(f.msi.sent.size() == 2);
    CHECK(f.msi.sent[1].second == 0x43);
    CHECK(f.memory.read(pba, 4) == 0);
    f.msix_control(0xc000);
    CHECK(f.function.send_msix(0));
    CHECK(f.function.send_msix(0));
    CHECK(f.msi.sent.size() == 2);
    f.msix_control(0x8000);
    CHECK(f.msi.sent.size() == 3);
    f.ecam_write(4, command::kMemory, 2);
    CHECK(f.function.send_msix(0));
    CHECK(f.msi.sent.size() == 3);
    f.ecam_write(4, command::kMemory | command::kBusMaster, 2);
    CHECK(f.msi.sent.size() == 4);
    CHECK_FALSE(f.function.send_msix(3));
    CHECK(f.memory.read(0xe0000000 + 4096 - 4, 4) == 0);
}

TEST_CASE("PCI function: saved state restores registers, mapping and lines; another device's is refused") {
    Fixture f;
    f.ecam_write(0x1c, 0xe0000000);
    f.ecam_write(0x10, 0xc0000000);
    f.ecam_write(4, command::kMemory | command::kBusMaster, 2);
    f.msix_entry(2, 0x55, true);
    f.msix_control(0x8000);
    f.function.send_msix(2);
    f.function.set_intx(true);
    const DeviceState saved = f.function.save();

    Fixture other;
    REQUIRE(other.function.restore(saved).ok());
    CHECK(other.function.bar_address(0) == u64{0xc0000000});
    CHECK(other.memory.read(0xe0000000 + 48, 4) == 4);
    CHECK(other.pirq[pirq_of(3, 1)]);
    CHECK(other.msi.sent.empty());
    CHECK(other.function.save().fields == saved.fields);

    DeviceState broken = saved;
    broken.fields["function"]["config"][0] = 0;
    CHECK(other.function.restore(broken).error().code == Errc::Corrupt);
    broken = saved;
    broken.fields["function"]["msix"]["data"] = nlohmann::json::array();
    CHECK_FALSE(other.function.restore(broken).ok());
    CHECK(other.function.save().fields == saved.fields);
    other.function.reset();
    CHECK_FALSE(other.function.bar_address(0).has_value());
    CHECK_FALSE(other.pirq[pirq_of(3, 1)]);
}

TEST_CASE("host bridge: PCIEXBAR places the configuration window") {
    AddressSpace memory{"memory"}, io{"io"};
    PcieRoot root({&memory, &io, nullptr, {}});
    HostBridge bridge(root);
    REQUIRE(root.attach(0, 0, bridge).ok());
    REQUIRE(root.map_ports(0xcf8, nullptr).ok());
    io.write(0xcf8, 0x80000000, 4);
    CHECK(io.read(0xcfc, 4) == 0x29c08086);
    bridge.enable_window(0xb0000000);
    CHECK(memory.read(0xb0000000, 4) == 0x29c08086);
    io.write(0xcf8, 0x80000060, 4);
    io.write(0xcfc, 0xc0000001, 4);
    CHECK(memory.read(0xb0000000, 4) == 0xffffffff);
    CHECK(memory.read(0xc0000000, 4) == 0x29c08086);
    io.write(0xcfc, 0, 4);
    CHECK(memory.read(0xc0000000, 4) == 0xffffffff);
    bridge.enable_window(0xb0000000);
    bridge.reset();
    CHECK(memory.regions().empty());
}

TEST_CASE("host bridge: firmware that needs system management mode is told once that there is none") {
    AddressSpace memory{"memory"}, io{"io"};
    PcieRoot root({&memory, &io, nullptr, {}});
    HostBridge bridge(root);
    REQUIRE(root.attach(0, 0, bridge).ok());
    REQUIRE(root.map_ports(0xcf8, nullptr).ok());
    const tests::LogCapture log(0);
    const auto put = [&](u32 at, u32 value) {
        io.write(0xcf8, 0x80000000 | (at & ~3u), 4);
        io.write(0xcfc + (at & 3), value, 1);
    };
    put(0x9d, 0x4a);  // SeaBIOS asks only where SMI_EN says that there is something to set up
    CHECK(log.lines().empty());
    put(0x9c, 0xff);
    put(0x9e, 0x01);
    REQUIRE(log.lines().size() == 1);
    CHECK(log.lines()[0].find("system management mode") != std::string::npos);
}

TEST_CASE("LPC bridge: power-management ports move, PIRQs reach the 8259 as routed and the I/O APIC always") {
    AddressSpace io{"io"};
    Registers pm;
    std::array<bool, 16> pic{};
    std::array<bool, 8> gsi{};
    LpcBridge::Wiring wiring{&io, &pm, {}, {}};
    for (unsigned i = 0; i < 16; ++i) wiring.pic[i] = IrqLine([&pic, i](bool level) { pic[i] = level; });
    for (unsigned i = 0; i < 8; ++i) wiring.gsi[i] = IrqLine([&gsi, i](bool level) { gsi[i] = level; });
    LpcBridge bridge(std::move(wiring));
    bridge.enable_pm(0x600);
    CHECK(io.read(0x608, 4) == 0x1008);
    bridge.config_write(0x40, 0xb00, 4);
    CHECK(io.read(0x608, 4) == 0xffffffff);
    CHECK(io.read(0xb08, 4) == 0x1008);
    bridge.config_write(0x44, 0, 1);
    CHECK(io.read(0xb08, 4) == 0xffffffff);

    const IrqLine a = bridge.pirq_input(0), e = bridge.pirq_input(4);
    a.set(true);
    CHECK(gsi[0]);
    CHECK(pic == std::array<bool, 16>{});
    bridge.config_write(0x60, 10, 1);
    CHECK(pic[10]);
    bridge.config_write(0x68, 10, 1);
    e.set(true);
    a.set(false);
    CHECK(pic[10]);
    e.set(false);
    CHECK_FALSE(pic[10]);
    a.set(true);
    bridge.reset();
    CHECK_FALSE(pic[10]);
}
