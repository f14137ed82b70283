#include <catch2/catch.hpp>

#include "devices/irq/ioapic.h"
#include "tests/unit/devices/fabric/device_fuzz.h"
#include "tests/unit/devices/irq/apic_fixture.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::test;

namespace {

constexpr u32 EOI = 0xb0, LDR = 0xd0, DFR = 0xe0, SVR = 0xf0, ICR_LO = 0x300, ICR_HI = 0x310, TPR = 0x80;

struct BusFixture : ApicFixture {
    explicit BusFixture(unsigned count = 4) : ApicFixture(count), ioapic(bus) { enable_all(); }
    // Which APICs have the vector pending; takes it away again.
    std::vector<unsigned> who(u8 vector) {
        std::vector<unsigned> list;
        for (unsigned i = 0; i < apics.size(); ++i) {
            if (apic(i).acknowledge() == vector) {
                list.push_back(i);
                apic(i).io_write(EOI, 0, 4);
                u64 unused = 0;
                if (apic(i).msr_read(0x803, unused)) apic(i).msr_write(0x80b, 0);
            }
        }
        return list;
    }
    u32 ioread(u8 index) {
        ioapic.io_write(0, index, 4);
        return static_cast<u32>(ioapic.io_read(0x10, 4));
    }
    void iowrite(u8 index, u32 value) {
        ioapic.io_write(0, index, 4);
        ioapic.io_write(0x10, value, 4);
    }
    void route(unsigned pin, u32 low, u32 high = 0) {
        iowrite(static_cast<u8>(0x11 + 2 * pin), high);
        iowrite(static_cast<u8>(0x10 + 2 * pin), low);
    }
    Ioapic ioapic;
};

using List = std::vector<unsigned>;

}  // namespace

TEST_CASE("apic bus: physical destinations and shorthands") {
    BusFixture f;
    auto ipi = [&](u32 high, u32 low) {
        f.write(ICR_HI, high, 1);
        f.write(ICR_LO, low, 1);
    };
    ipi(2u << 24, 0x4041);
    CHECK(f.who(0x41) == List{2});
    ipi(0xffu << 24, 0x4041);
    CHECK(f.who(0x41) == List{0, 1, 2, 3});
    ipi(9u << 24, 0x4041);
    CHECK(f.who(0x41).empty());
    ipi(0, 0x44041);
    CHECK(f.who(0x41) == List{1});
    ipi(0, 0x84041);
    CHECK(f.who(0x41) == List{0, 1, 2, 3});
    ipi(0, 0xc4041);
    CHECK(f.who(0x41) == List{0, 2, 3});
    ipi(0, 0xc4400);  // NMI to the others
    CHECK(f.cpu(0).nmis == 1);
    CHECK(f.cpu(1).nmis == 0);
    CHECK(f.cpu(3).nmis == 1);
    ipi(0, 0xc4610);
    CHECK(f.cpu(2).sipis == std::vector<u8>{0x10});
    CHECK(f.cpu(1).sipis.empty());
    ipi(0, 0x84500);  // INIT to oneself is not defined
    CHECK(f.cpu(1).inits == 0);
}

TEST_CASE("apic bus: logical flat and cluster") {
    BusFixture f;
    for (unsigned i = 0; i < 4; ++i) f.write(LDR, 1u << (24 + i), i);
    auto send = [&](u32 destination) {
        return f.bus.send({ApicMessage::widen(static_cast<u8>(destination)), true, DeliveryMode::Fixed, 0x55, false});
    };
    CHECK(send(0x0a) == Delivery::Delivered);
    CHECK(f.who(0x55) == List{1, 3});
    CHECK(send(0xf0) == Delivery::Ignored);
    send(0xff);
    CHECK(f.who(0x55) == List{0, 1, 2, 3});
    for (unsigned i = 0; i < 4; ++i) {
        f.write(DFR, 0, i);
        f.write(LDR, (i / 2 << 4 | 1u << (i % 2)) << 24, i);  // clusters 0 and 1, two members each
    }
    send(0x03);
    CHECK(f.who(0x55) == List{0, 1});
    send(0x12);
    CHECK(f.who(0x55) == List{3});
    CHECK(send(0x23) == Delivery::Ignored);
    send(0xff);
    CHECK(f.who(0x55) == List{0, 1, 2, 3});
}

TEST_CASE("apic bus: x2APIC destinations") {
    ApicFixture g(20);
    g.x2apic_all();
    for (auto& a : g.apics) REQUIRE(a->msr_write(0x80f, 0x1ff));
    auto pending = [&] {
        List list;
        for (unsigned i = 0; i < 20; ++i) {
            if (g.apic(i).acknowledge() >= 0) list.push_back(i);
            g.apic(i).msr_write(0x80b, 0);
        }
        return list;
    };
    g.apic(0).msr_write(0x830, u64{17} << 32 | 0x4060);
    CHECK(pending() == List{17});
    g.apic(0).msr_write(0x830, u64{0x0001'0006} << 32 | 0x4860);  // cluster 1, members 1 and 2
    CHECK(pending() == List{17, 18});
    g.apic(0).msr_write(0x830, u64{0x0000'8001} << 32 | 0x4860);
    CHECK(pending() == List{0, 15});
    g.apic(0).msr_write(0x830, u64{0xffffffff} << 32 | 0x4060);
    CHECK(pending().size() == 20);
    g.apic(0).msr_write(0x830, u64{0xff} << 32 | 0x4060);  // an ID like any other here
    CHECK(pending().empty());
    g.apic(3).msr_write(0x830, 0x000c'4060);
    CHECK(pending().size() == 19);
}

TEST_CASE("apic bus: lowest priority") {
    BusFixture f;
    f.write(TPR, 0x40, 0);
    f.write(TPR, 0x20, 1);
    f.write(TPR, 0x60, 2);
    f.write(SVR, 0xff, 3);  // disabled: no candidate although its priority is lowest
    for (const u8 vector : {u8{0x80}, u8{0x81}, u8{0x82}}) {
        CHECK(f.bus.send({ApicMessage::kBroadcast, false, DeliveryMode::LowestPriority, vector, false}) ==
              Delivery::Delivered);
        CHECK(f.who(vector) == List{1});
    }
    for (unsigned i = 0; i < 3; ++i) f.write(TPR, 0, i);
    std::vector<int> hits(4);
    for (unsigned v = 0x80; v < 0x8c; ++v) {
        f.bus.send({ApicMessage::kBroadcast, false, DeliveryMode::LowestPriority, static_cast<u8>(v), false});
        const List list = f.who(static_cast<u8>(v));
        REQUIRE(list.size() == 1);
        ++hits[list[0]];
    }
    CHECK(hits == std::vector<int>{4, 4, 4, 0});  // equals share by vector
    CHECK(f.bus.send({9, false, DeliveryMode::LowestPriority, 0x80, false}) == Delivery::Ignored);
}

TEST_CASE("msi: address and data") {
    BusFixture f;
    CHECK(f.bus.deliver_msi(0xfee02000, 0x4051) == Delivery::Delivered);
    CHECK(f.who(0x51) == List{2});
    CHECK(f.bus.deliver_msi(0xfed02000, 0x51) == Delivery::Ignored);
    CHECK(f.bus.deliver_msi(0x1fee02000, 0x51) == Delivery::Ignored);
    for (unsigned i = 0; i < 4; ++i) f.write(LDR, 1u << (24 + i), i);
    f.bus.send_msi(0xfee06004, 0x51, 0);  // logical
    CHECK(f.who(0x51) == List{1, 2});
    f.bus.send_msi(0xfee0600c, 0x51, 0);  // with redirection hint: one of them
    CHECK(f.who(0x51).size() == 1);
    f.bus.send_msi(0xfee0f004, 0x151, 0);  // lowest priority
    CHECK(f.who(0x51).size() == 1);
    f.bus.send_msi(0xfee01000, 0x400, 0);
    CHECK(f.cpu(1).nmis == 1);
    f.bus.send_msi(0xfeeff000, 0x51, 0);
    CHECK(f.who(0x51).size() == 4);
    CHECK(f.bus.deliver_msi(0xfee00000, 0x8051) == Delivery::Ignored);  // level, de-assert
    CHECK(f.bus.deliver_msi(0xfee00000, 0x51) == Delivery::Delivered);
    CHECK(f.bus.deliver_msi(0xfee00000, 0x51) == Delivery::Coalesced);
}

TEST_CASE("ioapic: registers") {
    BusFixture f;
    CHECK(f.ioread(1) == 0x00170020);
    f.iowrite(0, 0xffffffff);
    CHECK(f.ioread(0) == 0x0f000000);
    CHECK(f.ioread(2) == 0x0f000000);
    for (u8 i = 0x10; i < 0x40; ++i) CHECK(f.ioread(i) == (i % 2 == 0 ? 0x10000u : 0u));
    f.iowrite(0x12, 0xffffffff);
    f.iowrite(0x13, 0xffffffff);
    CHECK(f.ioread(0x12) == 0x1afff);
    CHECK(f.ioread(0x13) == 0xff000000);
    CHECK(f.ioread(0x40) == 0);
    CHECK(f.ioapic.io_read(0x11, 1) == 0);
}

TEST_CASE("ioapic: edge pins") {
    BusFixture f;
    CHECK(f.ioapic.set_pin(4, true) == Delivery::Ignored);  // masked: lost
    f.route(4, 0x44);
    CHECK_FALSE(f.cpu(0).intr);
    CHECK(f.ioapic.set_pin(4, true) == Delivery::Ignored);  // no edge
    f.ioapic.set_pin(4, false);
    CHECK(f.ioapic.set_pin(4, true) == Delivery::Delivered);
    f.ioapic.set_pin(4, false);
    CHECK(f.ioapic.line(4).set(true) == Delivery::Coalesced);
    CHECK(f.who(0x44) == List{0});
    f.route(4, 0x44, 3u << 24);
    CHECK(f.ioapic.line(4).pulse() == Delivery::Ignored);
    CHECK(f.ioapic.line(4).pulse() == Delivery::Delivered);
    CHECK(f.who(0x44) == List{3});
    CHECK(f.ioapic.set_pin(24, true) == Delivery::Ignored);
}

TEST_CASE("ioapic: level pins, remote IRR and EOI") {
    BusFixture f;
    f.route(16, 0x8061);
    CHECK(f.ioapic.set_pin(16, true) == Delivery::Delivered);
    CHECK(f.ioread(0x30) == 0xc061);
    CHECK(f.ioapic.set_pin(16, true) == Delivery::Coalesced);
    CHECK(f.apic().acknowledge() == 0x61);
    f.write(EOI, 0);
    CHECK(f.apic().acknowledge() == 0x61);  // still up
    f.ioapic.set_pin(16, false);
    f.write(EOI, 0);
    CHECK(f.apic().acknowledge() == -1);
    CHECK(f.ioread(0x30) == 0x8061);
    // Up while masked: delivered by unmasking.
    f.route(16, 0x18061);
    f.ioapic.set_pin(16, true);
    CHECK_FALSE(f.cpu().intr);
    f.route(16, 0x8061);
    CHECK(f.apic().acknowledge() == 0x61);
    f.ioapic.set_pin(16, false);
    // Directed EOI, with the broadcast suppressed.
    f.write(SVR, 0x11ff);
    f.write(EOI, 0);
    CHECK(f.ioread(0x30) == 0xc061);
    f.ioapic.io_write(0x40, 0x60, 4);
    CHECK(f.ioread(0x30) == 0xc061);
    f.ioapic.io_write(0x40, 0x61, 4);
    CHECK(f.ioread(0x30) == 0x8061);
    // Edge mode and back clears a stuck remote IRR.
    f.ioapic.set_pin(16, true);
    CHECK(f.ioread(0x30) == 0xc061);
    f.ioapic.set_pin(16, false);
    f.route(16, 0x10061);
    f.route(16, 0x18061);
    CHECK(f.ioread(0x30) == 0x18061);
}

TEST_CASE("ioapic: delivery modes") {
    BusFixture f;
    f.route(1, 0x400, 1u << 24);
    f.ioapic.line(1).pulse();
    CHECK(f.cpu(1).nmis == 1);
    f.apic(0).connect_ext_int([] { return 0x38; });
    f.route(0, 0x700);
    f.ioapic.line(0).pulse();
    CHECK(f.cpu(0).intr);
    CHECK(f.apic(0).acknowledge() == 0x38);
    CHECK_FALSE(f.cpu(0).intr);
}

TEST_CASE("ioapic: save and restore makes no edges") {
    BusFixture f;
    f.route(16, 0x8061);
    f.route(5, 0x45);
    f.ioapic.set_pin(16, true);
    f.ioapic.set_pin(5, true);
    BusFixture g;
    REQUIRE(g.ioapic.restore(f.ioapic.save()));
    CHECK_FALSE(g.cpu().intr);
    CHECK(g.ioapic.set_pin(5, true) == Delivery::Ignored);
    CHECK(g.ioread(0x30) == 0xc061);
    DeviceState bad = f.ioapic.save();
    bad.fields["levels"] = 0x1000000;
    CHECK_FALSE(g.ioapic.restore(bad).ok());
}

TEST_CASE("ioapic: random accesses") {
    for (u32 seed = 1; seed <= 4; ++seed) {
        BusFixture f;
        fuzz_accesses({{&f.ioapic, 0x100, 8}}, f.clock, seed, 20'000, [&](u32 r) {
            f.ioapic.set_pin(r >> 8 & 31, (r & 1) != 0);
            if (r % 8 == 0) f.iowrite(static_cast<u8>(r >> 8), r >> 16);
            if (r % 8 == 1) f.who(static_cast<u8>(r >> 8));
        });
        ApicBus bus;
        Ioapic fresh(bus);
        check_round_trip(f.ioapic, fresh);
    }
}
