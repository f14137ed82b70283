#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "tests/unit/devices/fabric/device_fuzz.h"
#include "tests/unit/devices/irq/apic_fixture.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::test;

// Offsets from SDM volume 3, table 10-1, written out again here on purpose.
namespace {
constexpr u32 ID = 0x20, VERSION = 0x30, TPR = 0x80, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0, SVR = 0xf0, ESR = 0x280,
              ICR_LO = 0x300, ICR_HI = 0x310, LVT_TIMER = 0x320, LVT_THERMAL = 0x330, LVT_PERF = 0x340, LINT0 = 0x350,
              LINT1 = 0x360, LVT_ERROR = 0x370, TMICT = 0x380, TMCCT = 0x390, TDCR = 0x3e0;
}  // namespace

TEST_CASE("lapic: reset values") {
    ApicFixture f(2, 3);
    CHECK(f.apic(0).apic_base() == 0xfee00900);
    CHECK(f.apic(1).apic_base() == 0xfee00800);
    CHECK(f.read(ID, 1) == 4u << 24);
    CHECK((f.read(VERSION) & 0xff) == 0x14);
    CHECK((f.read(VERSION) >> 16 & 0xff) == 5);
    CHECK(f.read(SVR) == 0xff);
    CHECK(f.read(DFR) == 0xffffffff);
    CHECK(f.read(LDR) == 0);
    for (u32 lvt : {LVT_TIMER, LVT_THERMAL, LVT_PERF, LINT0, LINT1, LVT_ERROR}) CHECK(f.read(lvt) == 0x10000);
    CHECK(f.read(TMICT) == 0);
    CHECK_FALSE(f.cpu().intr);
}

TEST_CASE("lapic: register writes keep defined bits only") {
    ApicFixture f;
    f.enable_all();
    struct {
        u32 offset, expected;
    } rows[] = {{TPR, 0xff},         {LDR, 0xff000000},    {DFR, 0xffffffff},
                {SVR, 0x13ff},       {LVT_TIMER, 0x700ff}, {LVT_THERMAL, 0x107ff},
                {LVT_PERF, 0x107ff}, {LVT_ERROR, 0x100ff}, {ICR_HI, 0xff000000},
                {TDCR, 0xb},         {VERSION, 0x1050014}, {ID, 0},
                {LINT0, 0x1a7ff}};
    for (const auto& row : rows) {
        f.write(row.offset, 0xffffffff);
        INFO(std::hex << row.offset);
        CHECK(f.read(row.offset) == row.expected);
    }
    f.write(DFR, 0);
    CHECK(f.read(DFR) == 0x0fffffff);
}

TEST_CASE("lapic: accept, acknowledge, priorities, EOI") {
    ApicFixture f;
    f.enable_all();
    CHECK(f.apic().accept(DeliveryMode::Fixed, 0x51, false) == Delivery::Delivered);
    CHECK(f.cpu().intr);
    CHECK(f.apic().interrupt_pending());
    CHECK(f.apic().accept(DeliveryMode::Fixed, 0x51, false) == Delivery::Coalesced);
    CHECK(f.in_irr(0x51));
    CHECK(f.apic().acknowledge() == 0x51);
    CHECK_FALSE(f.in_irr(0x51));
    CHECK(f.in_isr(0x51));
    CHECK_FALSE(f.cpu().intr);
    CHECK(f.read(PPR) == 0x50);

    // The same class waits, a higher one preempts.
    CHECK(f.apic().accept(DeliveryMode::Fixed, 0x5f, false) == Delivery::Delivered);
    CHECK_FALSE(f.cpu().intr);
    CHECK(f.apic().acknowledge() == -1);
    CHECK(f.apic().accept(DeliveryMode::Fixed, 0xe0, false) == Delivery::Delivered);
    CHECK(f.apic().acknowledge() == 0xe0);
    CHECK(f.read(PPR) == 0xe0);
    f.write(EOI, 0);
    CHECK_FALSE(f.in_isr(0xe0));
    CHECK(f.in_isr(0x51));
    CHECK_FALSE(f.cpu().intr);
    f.write(EOI, 0);
    CHECK(f.cpu().intr);
    CHECK(f.apic().acknowledge() == 0x5f);
    f.write(EOI, 0);
    CHECK(f.read(PPR) == 0);
    f.write(EOI, 0);  // nothing in service: ignored
    CHECK(f.apic().acknowledge() == -1);
}

TEST_CASE("lapic: TPR and CR8 are one value", "[I7]") {
    ApicFixture f;
    f.enable_all();
    f.write(TPR, 0x5a);
    CHECK(f.apic().cr8() == 5);
    CHECK(f.read(PPR) == 0x5a);
    f.apic().set_cr8(9);
    CHECK(f.read(TPR) == 0x90);
    f.apic().accept(DeliveryMode::Fixed, 0x9f, false);
    CHECK_FALSE(f.cpu().intr);
    CHECK(f.apic().acknowledge() == -1);
    f.apic().set_cr8(8);
    CHECK(f.cpu().intr);
    f.write(TPR, 0xf0);
    CHECK_FALSE(f.cpu().intr);
    f.write(TPR, 0);
    CHECK(f.cpu().intr);
    // PPR is the in-service class when that is higher, TPR otherwise.
    CHECK(f.apic().acknowledge() == 0x9f);
    f.write(TPR, 0x34);
    CHECK(f.read(PPR) == 0x90);
    f.write(TPR, 0x93);
    CHECK(f.read(PPR) == 0x93);
}

TEST_CASE("lapic: CR8 works with the APIC disabled", "[I7]") {
    ApicFixture f;
    REQUIRE(f.apic().write_apic_base(0xfee00000));
    f.apic().set_cr8(7);
    CHECK(f.apic().cr8() == 7);
}

TEST_CASE("lapic: software disable masks the LVT, refuses interrupts, keeps pending ones") {
    ApicFixture f;
    f.enable_all();
    f.write(LVT_TIMER, 0x40);
    f.write(LINT1, 0x400);
    f.apic().accept(DeliveryMode::Fixed, 0x60, false);
    f.write(SVR, 0xff);
    CHECK(f.read(LVT_TIMER) == 0x10040);
    CHECK(f.read(LINT1) == 0x10400);
    f.write(LVT_TIMER, 0x40);
    CHECK(f.read(LVT_TIMER) == 0x10040);
    CHECK(f.apic().accept(DeliveryMode::Fixed, 0x70, false) == Delivery::Ignored);
    CHECK(f.apic().accept(DeliveryMode::Nmi, 0, false) == Delivery::Delivered);
    CHECK(f.cpu().nmis == 1);
    CHECK(f.in_irr(0x60));
}

TEST_CASE("lapic: ESR shows errors only after a write") {
    ApicFixture f;
    f.enable_all();
    f.write(LVT_ERROR, 0xfe);
    f.write(ICR_LO, 0x4000f);  // fixed, self, vector 15
    CHECK(f.read(ESR) == 0);
    CHECK(f.in_irr(0xfe));
    f.write(ESR, 0);
    CHECK(f.read(ESR) == 0x20);  // send illegal vector
    f.write(ESR, 0);
    CHECK(f.read(ESR) == 0);
    CHECK(f.apic().accept(DeliveryMode::Fixed, 3, false) == Delivery::Ignored);
    f.read(0x40);  // reserved
    f.write(ESR, 0);
    CHECK(f.read(ESR) == 0xc0);  // receive illegal vector, illegal register address
}

TEST_CASE("lapic: LINT pins as fixed, NMI and ExtINT") {
    ApicFixture f;
    f.enable_all();
    int acknowledged = 0;
    f.apic().connect_ext_int([&] {
        ++acknowledged;
        f.apic().set_lint(0, false);
        return 0x31;
    });
    // NMI, edge
    f.write(LINT1, 0x400);
    CHECK(f.apic().set_lint(1, true) == Delivery::Delivered);
    CHECK(f.apic().set_lint(1, true) == Delivery::Ignored);
    f.apic().set_lint(1, false);
    f.apic().set_lint(1, true);
    CHECK(f.cpu().nmis == 2);
    f.write(LINT1, 0x10400);
    f.apic().set_lint(1, false);
    CHECK(f.apic().set_lint(1, true) == Delivery::Ignored);
    CHECK(f.cpu().nmis == 2);
    // ExtINT: ignores priorities, follows the pin and the mask
    f.apic().set_cr8(15);
    f.write(LINT0, 0x700);
    f.apic().set_lint(0, true);
    CHECK(f.cpu().intr);
    f.write(LINT0, 0x10700);
    CHECK_FALSE(f.cpu().intr);
    f.write(LINT0, 0x700);
    CHECK(f.cpu().intr);
    CHECK(f.apic().acknowledge() == 0x31);
    CHECK(acknowledged == 1);
    CHECK_FALSE(f.cpu().intr);
    CHECK(f.read(0x110) == 0);  // no in-service bit for it
    f.apic().set_cr8(0);
    // Fixed, level: remote IRR until EOI, then again while the pin is up
    f.write(LINT0, 0x8077);
    CHECK(f.apic().set_lint(0, true) == Delivery::Delivered);
    CHECK(f.read(LINT0) == 0xc077);
    CHECK(f.apic().acknowledge() == 0x77);
    CHECK_FALSE(f.cpu().intr);
    f.write(EOI, 0);
    CHECK(f.cpu().intr);
    CHECK(f.apic().acknowledge() == 0x77);
    f.apic().set_lint(0, false);
    f.write(EOI, 0);
    CHECK_FALSE(f.cpu().intr);
    CHECK(f.read(LINT0) == 0x8077);
}

TEST_CASE("lapic: an 8259 that always has a request does not keep its own vectors out") {
    ApicFixture f;
    f.enable_all();
    f.apic().connect_ext_int([] { return 0x31; });
    f.write(LINT0, 0x700);
    f.apic().set_lint(0, true);
    CHECK(f.apic().acknowledge() == 0x31);
    CHECK(f.apic().accept(DeliveryMode::Fixed, 0x80, false) == Delivery::Delivered);
    CHECK(f.apic().acknowledge() == 0x80);
    CHECK(f.apic().acknowledge() == 0x31);
    f.write(EOI, 0);
    CHECK(f.apic().acknowledge() == 0x31);
}

TEST_CASE("lapic: disabled by base, the pins are INTR and NMI") {
    ApicFixture f;
    f.apic().connect_ext_int([&] {
        f.apic().set_lint(0, false);
        return 0x20;
    });
    REQUIRE(f.apic().write_apic_base(0xfee00000));
    CHECK(f.read(VERSION) == 0xffffffff);
    CHECK(f.apic().accept(DeliveryMode::Fixed, 0x80, false) == Delivery::Ignored);
    f.apic().set_lint(0, true);
    CHECK(f.cpu().intr);
    CHECK(f.apic().acknowledge() == 0x20);
    CHECK_FALSE(f.cpu().intr);
    f.apic().set_lint(1, true);
    CHECK(f.cpu().nmis == 1);
}

TEST_CASE("lapic: virtual wire mode") {
    ApicFixture f(2);
    f.apic(0).enter_virtual_wire_mode();
    f.apic(1).enter_virtual_wire_mode();
    CHECK(f.read(LINT0, 0) == 0x700);
    CHECK(f.read(LINT0, 1) == 0x10000);
    CHECK(f.read(LINT1, 1) == 0x400);
    CHECK((f.read(SVR, 0) & 0x100) != 0);
}

TEST_CASE("lapic: one-shot timer counts down, divides, expires once") {
    ApicFixture f;
    f.enable_all();
    struct {
        u32 code;
        u64 divisor;
    } rows[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {0xa, 128}, {0xb, 1}};
    for (const auto& row : rows) {
        f.write(TDCR, row.code);
        f.write(LVT_TIMER, 0x41);
        f.write(TMICT, 1000);
        CHECK(f.read(TMCCT) == 1000);
        f.clock.advance(400 * row.divisor);
        CHECK(f.read(TMCCT) == 600);
        f.clock.advance(600 * row.divisor - 1);
        CHECK_FALSE(f.cpu().intr);
        f.clock.advance(1);
        CHECK(f.read(TMCCT) == 0);
        CHECK(f.apic().acknowledge() == 0x41);
        f.write(EOI, 0);
        f.clock.advance(10'000 * row.divisor);
        CHECK_FALSE(f.cpu().intr);
    }
}

TEST_CASE("lapic: periodic timer, stop by zero, mask, divider change") {
    ApicFixture f;
    f.enable_all();
    f.write(TDCR, 0xb);
    f.write(LVT_TIMER, 0x20050);
    f.write(TMICT, 100'000);
    for (int i = 0; i < 5; ++i) {
        f.clock.advance(99'999);
        CHECK_FALSE(f.cpu().intr);
        f.clock.advance(1);
        CHECK(f.apic().acknowledge() == 0x50);
        f.write(EOI, 0);
    }
    f.clock.advance(30'000);
    CHECK(f.read(TMCCT) == 70'000);
    f.write(TDCR, 0);  // divide by 2 from here on
    f.clock.advance(20'000);
    CHECK(f.read(TMCCT) == 60'000);
    f.clock.advance(120'000);
    CHECK(f.apic().acknowledge() == 0x50);
    f.write(EOI, 0);
    f.clock.advance(200'000);
    CHECK(f.apic().acknowledge() == 0x50);
    f.write(EOI, 0);
    f.write(LVT_TIMER, 0x30050);
    f.clock.advance(1'000'000);
    CHECK_FALSE(f.cpu().intr);
    f.write(LVT_TIMER, 0x20050);
    f.write(TMICT, 0);
    f.clock.advance(1'000'000);
    CHECK_FALSE(f.cpu().intr);
    CHECK(f.clock.next_deadline() == Timer::kNever);
}

TEST_CASE("lapic: an absurdly short period does not occupy the host") {
    ApicFixture f;
    f.enable_all();
    f.write(TDCR, 0xb);
    f.write(LVT_TIMER, 0x20050);
    f.write(TMICT, 1);
    f.clock.fired = 0;
    f.clock.advance(10'000'000);
    CHECK(f.clock.fired <= 501);
    CHECK(f.clock.fired > 100);
    CHECK(f.cpu().intr);
}

TEST_CASE("lapic: the thread of a sleeping processor waits for its timer in place of the clock") {
    ApicFixture f;
    f.enable_all();
    f.write(LVT_TIMER, 0x40066);
    CHECK(f.apic().begin_sleep() == Timer::kNever);
    f.apic().end_sleep();
    f.clock.fired = 0;
    // Slept to its end: what is due then happens on the sleeper's thread.
    f.apic().msr_write(0x6e0, f.clock.tsc() + 20'000);
    CHECK(f.clock.next_deadline() != Timer::kNever);
    const u64 limit = f.apic().begin_sleep();
    CHECK(limit >= 10'000);
    CHECK(limit <= 10'001);
    CHECK(f.clock.next_deadline() == Timer::kNever);
    f.clock.advance(limit);
    CHECK_FALSE(f.cpu().intr);
    f.apic().end_sleep();
    CHECK(f.cpu().intr);
    CHECK(f.apic().acknowledge() == 0x66);
    f.write(EOI, 0);
    CHECK(f.clock.fired == 0);
    CHECK(f.clock.next_deadline() == Timer::kNever);
    // Woken early: the clock has the timer again. A long sleep is cut into seconds.
    f.apic().msr_write(0x6e0, f.clock.tsc() + 20'000'000'000);
    CHECK(f.apic().begin_sleep() == 1'000'000'000);
    f.clock.advance(5'000);
    f.apic().end_sleep();
    CHECK_FALSE(f.cpu().intr);
    f.clock.advance(10'000'000'001);
    CHECK(f.clock.fired == 1);
    CHECK(f.apic().acknowledge() == 0x66);
    f.write(EOI, 0);
    // A periodic one goes on after it.
    f.write(TDCR, 0xb);
    f.write(LVT_TIMER, 0x20050);
    f.write(TMICT, 100'000);
    f.clock.advance(f.apic().begin_sleep());
    f.apic().end_sleep();
    CHECK(f.apic().acknowledge() == 0x50);
    f.write(EOI, 0);
    f.clock.advance(100'000);
    CHECK(f.apic().acknowledge() == 0x50);
}

TEST_CASE("lapic: TSC deadline") {
    ApicFixture f;
    f.enable_all();
    f.apic().msr_write(0x6e0, 100);  // not in that mode: ignored
    CHECK(f.msr(0x6e0) == 0);
    f.write(LVT_TIMER, 0x40066);
    f.write(TMICT, 1000);
    CHECK(f.read(TMICT) == 0);
    f.clock.advance(1000);
    const u64 deadline = f.clock.tsc() + 3001;
    REQUIRE(f.apic().msr_write(0x6e0, deadline));
    CHECK(f.msr(0x6e0) == deadline);
    f.clock.advance(1500);
    CHECK_FALSE(f.cpu().intr);
    f.clock.advance(3);
    CHECK(f.cpu().intr);
    CHECK(f.msr(0x6e0) == 0);
    CHECK(f.apic().acknowledge() == 0x66);
    f.write(EOI, 0);
    // In the past: at once. Zero: disarmed. A guest with an offset TSC: in its own ticks.
    f.apic().msr_write(0x6e0, 1);
    CHECK(f.apic().acknowledge() == 0x66);
    f.write(EOI, 0);
    f.apic().msr_write(0x6e0, f.clock.tsc() + 1000);
    f.apic().msr_write(0x6e0, 0);
    f.clock.advance(1'000'000);
    CHECK_FALSE(f.cpu().intr);
    f.apic().set_tsc_offset(u64(0) - f.clock.tsc());
    f.apic().msr_write(0x6e0, 2000);
    f.clock.advance(990);
    CHECK_FALSE(f.cpu().intr);
    f.clock.advance(12);
    CHECK(f.apic().acknowledge() == 0x66);
    // Leaving the mode disarms.
    f.write(EOI, 0);
    f.apic().msr_write(0x6e0, ~u64{0});
    f.write(LVT_TIMER, 0x66);
    CHECK(f.clock.next_deadline() == Timer::kNever);
    CHECK(f.msr(0x6e0) == 0);
}

TEST_CASE("lapic: APIC base transitions") {
    constexpr u64 kBase = 0xfee00000, kEn = 0x800, kExt = 0x400;
    struct {
        u64 from, to;
        bool legal;
    } rows[] = {
        {kEn, 0, true},        {kEn, kEn | kExt, true},   {kEn, kExt, false},
        {kEn | kExt, 0, true}, {kEn | kExt, kEn, false},  {kEn | kExt, kExt, false},
        {0, kEn, true},        {0, kEn | kExt, false},    {0, kExt, false},
        {kEn, kEn | 1, false}, {kEn, kEn | 0x200, false}, {kEn | kExt, kEn | kExt, true},
    };
    for (const auto& row : rows) {
        ApicFixture f;
        if (row.from == 0 || (row.from & kExt) != 0) REQUIRE(f.apic().write_apic_base(kBase | row.from));
        INFO(std::hex << row.from << " -> " << row.to);
        CHECK(f.apic().write_apic_base(kBase | row.to) == row.legal);
        CHECK(f.apic().apic_base() ==
              (kBase | (row.legal ? row.to : row.from) | (row.from == kEn && !row.legal ? 0x100 : 0)));
    }
    ApicFixture f;
    f.enable_all();
    f.write(LVT_TIMER, 0x40);
    REQUIRE(f.apic().write_apic_base(kBase));
    REQUIRE(f.apic().write_apic_base(kBase | kEn));
    CHECK(f.read(SVR) == 0xff);  // reset by the disabling
    CHECK(f.read(LVT_TIMER) == 0x10000);
}

TEST_CASE("lapic: x2APIC access rules") {
    ApicFixture f(1, 0x23);
    u64 v = 0;
    CHECK_FALSE(f.apic().msr_read(0x802, v));  // not in x2APIC mode
    CHECK_FALSE(f.apic().msr_write(0x808, 0));
    f.x2apic_all();
    CHECK(f.read(VERSION) == 0xffffffff);
    CHECK(f.msr(0x802) == 0x23);
    CHECK(f.msr(0x80d) == (0x20000 | 1u << 3));
    CHECK(f.msr(0x803) == 0x1050014);
    for (u32 absent : {0x800u, 0x801u, 0x804u, 0x809u, 0x80cu, 0x80eu, 0x831u, 0x83au, 0x840u, 0x8ffu}) {
        INFO(std::hex << absent);
        CHECK_FALSE(f.apic().msr_read(absent, v));
        CHECK_FALSE(f.apic().msr_write(absent, 0));
    }
    for (u32 readonly : {0x802u, 0x803u, 0x80au, 0x80du, 0x810u, 0x818u, 0x820u, 0x839u}) {
        INFO(std::hex << readonly);
        CHECK(f.apic().msr_read(readonly, v));
        CHECK_FALSE(f.apic().msr_write(readonly, 0));
    }
    for (u32 writeonly : {0x80bu, 0x83fu}) CHECK_FALSE(f.apic().msr_read(writeonly, v));
    CHECK_FALSE(f.apic().msr_write(0x80b, 1));  // EOI and ESR take zero only
    CHECK_FALSE(f.apic().msr_write(0x828, 1));
    CHECK_FALSE(f.apic().msr_write(0x808, 0x100));
    CHECK_FALSE(f.apic().msr_write(0x80f, 0x400));
    CHECK_FALSE(f.apic().msr_write(0x832, 0x80000));
    CHECK_FALSE(f.apic().msr_write(0x838, u64{1} << 32));
    REQUIRE(f.apic().msr_write(0x80f, 0x1ff));
    REQUIRE(f.apic().msr_write(0x83f, 0x44));
    CHECK((f.msr(0x822) & 0x10) != 0);
    CHECK(f.apic().acknowledge() == 0x44);
    REQUIRE(f.apic().msr_write(0x80b, 0));
    CHECK(f.msr(0x812) == 0);
    REQUIRE(f.apic().msr_write(0x830, 0x0000'1234'000c'4055));
    CHECK(f.msr(0x830) == 0x0000'1234'000c'4055);
}

TEST_CASE("lapic: the base MSR reads back") {
    ApicFixture f;
    CHECK(f.msr(0x1b) == 0xfee00900);
    CHECK_FALSE(f.apic().msr_write(0x1b, 0xfee00400));
    CHECK(f.apic().msr_write(0x1b, 0xfee00d00));
    CHECK(f.msr(0x1b) == 0xfee00d00);
}

TEST_CASE("lapic: INIT resets registers and tells the processor") {
    ApicFixture f(2);
    f.enable_all();
    f.write(TPR, 0x50, 1);
    f.write(ICR_HI, 1u << 24);
    f.write(ICR_LO, 0xc500);  // INIT, level assert
    CHECK(f.cpu(1).inits == 1);
    CHECK(f.read(SVR, 1) == 0xff);
    CHECK(f.read(TPR, 1) == 0);
    f.write(ICR_LO, 0x8500);  // de-assert: nothing
    CHECK(f.cpu(1).inits == 1);
    f.write(ICR_LO, 0x4608);
    CHECK(f.cpu(1).sipis == std::vector<u8>{8});
    CHECK(f.cpu(0).inits == 0);
}

TEST_CASE("lapic: injection from many threads loses nothing and settles the line", "[I8]") {
    ApicFixture f;
    f.enable_all();
    std::atomic<bool> stop{false};
    std::array<std::atomic<u64>, 2> delivered{}, coalesced{};
    auto inject = [&](unsigned who) {
        for (int i = 0; i < 20'000; ++i) {
            const auto d = f.apic().accept(DeliveryMode::Fixed, static_cast<u8>(0x40 + who * 0x40), false);
            ++(d == Delivery::Delivered ? delivered : coalesced)[who];
        }
    };
    std::thread a(inject, 0), b(inject, 1);
    std::array<u64, 2> taken{};
    auto drain = [&] {
        for (int v; (v = f.apic().acknowledge()) >= 0;) {
            ++taken[v >= 0x80];
            f.write(EOI, 0);
        }
    };
    std::thread cpu([&] {
        while (!stop) drain();
    });
    a.join();
    b.join();
    stop = true;
    cpu.join();
    drain();
    for (unsigned i : {0u, 1u}) {
        CHECK(taken[i] == delivered[i]);
        CHECK(delivered[i] + coalesced[i] == 20'000);
    }
    CHECK_FALSE(f.cpu().intr);
}

TEST_CASE("lapic: save and restore in the middle of activity") {
    ApicFixture f;
    f.enable_all();
    f.write(TDCR, 0xb);
    f.write(LVT_TIMER, 0x20050);
    f.write(TMICT, 1'000'000);
    f.clock.advance(300'000);
    f.apic().accept(DeliveryMode::Fixed, 0x70, true);
    f.apic().accept(DeliveryMode::Fixed, 0x90, false);
    CHECK(f.apic().acknowledge() == 0x90);
    ApicFixture g;
    g.clock.advance(77);  // another machine's clock
    REQUIRE(g.apic().restore(f.apic().save()));
    CHECK_FALSE(g.cpu().intr);
    CHECK(g.read(TMCCT) == 700'000);
    CHECK(g.in_irr(0x70));
    CHECK(g.in_isr(0x90));
    g.write(EOI, 0);
    CHECK(g.cpu().intr);
    g.clock.advance(699'999);
    CHECK_FALSE(g.in_irr(0x50));
    g.clock.advance(1);
    CHECK(g.in_irr(0x50));

    ApicFixture other(1, 9);
    CHECK(other.apic().restore(f.apic().save()).error().code == Errc::Corrupt);
}

TEST_CASE("lapic: random accesses") {
    for (u32 seed = 1; seed <= 4; ++seed) {
        ApicFixture f;
        f.apic().connect_ext_int([] { return 0x33; });
        fuzz_accesses({{&f.apic(), 0x1000, 8}}, f.clock, seed, 20'000, [&](u32 r) {
            if (r % 16 == 0) f.apic().set_lint(r >> 8 & 1, (r >> 9 & 1) != 0);
            if (r % 16 == 1) f.apic().acknowledge();
            if (r % 16 == 2) f.write(SVR, 0x1ff);
            if (r % 16 == 3) f.apic().msr_write(0x800 + (r >> 8) % 0x40, r >> 14);
            if (r % 64 == 4) f.apic().write_apic_base(ApicFixture::kBase | (r >> 8 & 0xd00));
            if (r % 64 == 5) f.apic().msr_write(0x6e0, f.clock.tsc() + (r >> 8));
        });
        ApicBus bus;
        Lapic fresh(LapicConfig{0, true, ApicFixture::kBase, 1'000'000'000, true}, bus, f.clock);
        check_round_trip(f.apic(), fresh);
    }
}

TEST_CASE("lapic timer: a change between one-shot and periodic goes on counting; a count that ended stays at zero") {
    ApicFixture f;
    f.enable_all();
    f.write(0x3e0, 0xb);  // divide by 1: a tick is a nanosecond
    f.write(0x320, 0x40);
    f.write(0x380, 100'000);
    f.clock.advance(60'000);
    f.write(0x320, 0x20040);  // periodic
    CHECK(f.read(0x390) == 40'000);
    f.clock.advance(50'000);
    CHECK(f.read(0x390) == 90'000);
    CHECK(f.in_irr(0x40));
    f.write(0x320, 0x40);
    CHECK(f.read(0x390) == 90'000);
    f.clock.advance(90'000);
    CHECK(f.read(0x390) == 0);
    f.write(0x320, 0x20040);
    CHECK(f.read(0x390) == 0);
    CHECK(f.read(0x380) == 100'000);
    f.clock.advance(300'000);
    CHECK(f.read(0x390) == 0);
}

TEST_CASE("lapic: an NMI and an INIT reach their sender by shorthand; the remote read register is no error") {
    ApicFixture f(2);
    f.enable_all();
    f.write(0x300, 0x44400);  // self, NMI
    CHECK(f.cpu(0).nmis == 1);
    f.write(0x300, 0x84400);  // all including self
    CHECK(f.cpu(0).nmis == 2);
    CHECK(f.cpu(1).nmis == 1);
    f.write(0x300, 0x44500);  // self, INIT
    CHECK(f.cpu(0).inits == 1);
    CHECK(f.cpu(1).inits == 0);
    CHECK(f.read(0xc0) == 0);
    f.write(0x280, 0);
    CHECK(f.read(0x280) == 0);
}
