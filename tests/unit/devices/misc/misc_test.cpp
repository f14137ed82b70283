#include <catch2/catch.hpp>
#include <cstring>
#include <optional>

#include "devices/misc/acpi_pm.h"
#include "devices/misc/debug_ports.h"
#include "devices/misc/fpu_error.h"
#include "devices/misc/i8042.h"
#include "devices/misc/kvmclock.h"
#include "devices/misc/reset_ports.h"
#include "tests/unit/devices/fabric/device_fuzz.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::test;

namespace {

constexpr u64 kSecond = 1'000'000'000;

struct PmFixture {
    u64 in(u64 offset, unsigned size) { return pm.io_read(offset, size); }
    void out(u64 offset, u64 v, unsigned size) { pm.io_write(offset, v, size); }
    FakeClock clock;
    bool sci = false;
    std::optional<unsigned> slept;
    AcpiPm pm{clock, IrqLine([this](bool l) { sci = l; }), [this](unsigned typ) { slept = typ; }};
};

}  // namespace

TEST_CASE("x87 errors hold IRQ 13 up until port F0H is written") {
    bool line = false;
    FpuError error(IrqLine([&](bool level) { line = level; }));
    error.assert_error();
    CHECK(line);
    bool restored = false;
    FpuError other(IrqLine([&](bool level) { restored = level; }));
    REQUIRE(other.restore(error.save()));
    CHECK(restored);
    error.io_write(0, 0, 1);
    CHECK(!line);
    error.assert_error();
    error.reset();
    CHECK(!line);
}

TEST_CASE("acpi: PM timer runs at 3.579545 MHz in 24 bits") {
    PmFixture f;
    CHECK(f.in(8, 4) == 0);
    f.clock.advance(kSecond);
    CHECK(f.in(8, 4) == 3'579'545);
    f.out(8, 0, 4);
    CHECK(f.in(8, 4) == 3'579'545);
    f.clock.advance(4 * kSecond);
    CHECK(f.in(8, 4) == 5 * 3'579'545 % (1 << 24));
}

TEST_CASE("acpi: timer overflow event") {
    PmFixture f;
    f.out(2, 1, 2);
    f.clock.advance(2'343'000'000);
    CHECK_FALSE(f.sci);
    f.clock.advance(1'000'000);  // 2^23 ticks are 2.3435 s
    CHECK(f.sci);
    CHECK(f.in(0, 2) == 1);
    f.out(0, 1, 2);
    CHECK_FALSE(f.sci);
    f.clock.advance(2'344'000'000);
    CHECK(f.sci);
}

TEST_CASE("acpi: power button, enable and write-1-to-clear") {
    PmFixture f;
    f.pm.press_power_button();
    CHECK_FALSE(f.sci);
    CHECK(f.in(0, 2) == 0x100);
    f.out(2, 0xffff, 2);
    CHECK(f.in(2, 2) == 0x4721);
    CHECK(f.sci);
    f.out(0, 0xfeff, 2);
    CHECK(f.sci);
    f.out(1, 1, 1);  // the status' high byte
    CHECK_FALSE(f.sci);
    CHECK(f.in(0, 4) == 0x47210000);
}

TEST_CASE("acpi: general-purpose events") {
    PmFixture f;
    f.out(0x24, 1u << 5, 4);
    f.pm.raise_gpe(4);
    CHECK_FALSE(f.sci);
    f.pm.raise_gpe(5);
    f.pm.raise_gpe(32);
    CHECK(f.sci);
    CHECK(f.in(0x20, 4) == 0x30);
    f.out(0x20, 0x20, 1);
    CHECK_FALSE(f.sci);
    CHECK(f.in(0x20, 8) == 0x2000000010);
}

TEST_CASE("acpi: sleep control") {
    PmFixture f;
    CHECK(f.in(4, 2) == 1);  // SCI_EN: always in ACPI mode
    f.out(4, 0, 2);
    CHECK(f.in(4, 2) == 1);
    f.out(4, 5 << 10, 2);
    CHECK_FALSE(f.slept.has_value());
    f.out(4, 5 << 10 | 1 << 13, 2);
    REQUIRE(f.slept.has_value());
    CHECK(*f.slept == 5);
    CHECK(f.in(4, 2) == (5 << 10 | 1));  // SLP_EN reads as zero
}

TEST_CASE("acpi: save, restore, random accesses") {
    PmFixture f;
    f.clock.advance(kSecond);
    f.out(2, 0x101, 2);
    f.pm.press_power_button();
    PmFixture g;
    g.clock.advance(7777);
    REQUIRE(g.pm.restore(f.pm.save()));
    CHECK(g.in(8, 4) == 3'579'545);
    g.out(0, 0x100, 2);
    CHECK_FALSE(g.sci);
    g.clock.advance(1'344'000'000);
    CHECK(g.sci);
    for (u32 seed = 1; seed <= 4; ++seed) {
        PmFixture h;
        fuzz_accesses({{&h.pm, AcpiPm::kPorts, 8}}, h.clock, seed, 20'000, [&](u32 r) {
            if (r % 16 == 0) h.pm.raise_gpe(r >> 8 & 63);
            if (r % 64 == 1) h.pm.press_power_button();
        });
        AcpiPm fresh(h.clock, IrqLine(), {});
        check_round_trip(h.pm, fresh);
    }
}

TEST_CASE("reset ports: CF9 acts on the rising edge of bit 2") {
    int resets = 0;
    ResetPorts ports([&] { ++resets; });
    auto& cf9 = ports.reset_control();
    cf9.io_write(0, 2, 1);
    CHECK(cf9.io_read(0, 1) == 2);
    CHECK(resets == 0);
    cf9.io_write(0, 6, 1);
    CHECK(resets == 1);
    cf9.io_write(0, 6, 1);
    CHECK(resets == 1);
    cf9.io_write(0, 0, 1);
    cf9.io_write(0, 0xe, 1);
    CHECK(resets == 2);
    ports.reset();
    CHECK(cf9.io_read(0, 1) == 0);
}

TEST_CASE("reset ports: port 92") {
    int resets = 0;
    ResetPorts ports([&] { ++resets; });
    CHECK(ports.port92().io_read(0, 1) == 2);
    ports.port92().io_write(0, 0, 1);
    CHECK(ports.port92().io_read(0, 1) == 0);
    ports.port92().io_write(0, 3, 1);
    CHECK(resets == 1);
    ports.port92().io_write(0, 3, 1);
    CHECK(resets == 1);
}

TEST_CASE("keyboard controller: commands and reset") {
    int resets = 0;
    I8042 kbc({}, {}, [&] { ++resets; });
    auto& data = kbc.data();
    auto& command = kbc.command();
    auto ask = [&](u8 c) {
        command.io_write(0, c, 1);
        REQUIRE((command.io_read(0, 1) & 1) != 0);
        const u64 v = data.io_read(0, 1);
        CHECK((command.io_read(0, 1) & 1) == 0);
        return v;
    };
    CHECK((command.io_read(0, 1) & 3) == 0);  // nothing there, and ready
    CHECK(ask(0xaa) == 0x55);
    CHECK((command.io_read(0, 1) & 4) != 0);
    CHECK(ask(0xab) == 0);
    CHECK(ask(0xa9) == 0);
    command.io_write(0, 0x60, 1);
    CHECK((command.io_read(0, 1) & 8) != 0);
    data.io_write(0, 0x47, 1);
    CHECK((command.io_read(0, 1) & 8) == 0);
    CHECK(ask(0x20) == 0x47);
    command.io_write(0, 0xad, 1);
    CHECK(ask(0x20) == 0x57);
    command.io_write(0, 0xd1, 1);
    data.io_write(0, 0xdf, 1);
    CHECK(ask(0xd0) == 0xdf);
    command.io_write(0, 0xd2, 1);
    data.io_write(0, 0x77, 1);
    CHECK(data.io_read(0, 1) == 0x77);
    CHECK(resets == 0);
    for (int i = 0; i < 5; ++i) data.io_read(0, 1);
    CHECK(resets == 0);
    command.io_write(0, 0xff, 1);
    CHECK(resets == 0);
    command.io_write(0, 0xfe, 1);
    CHECK(resets == 1);
    command.io_write(0, 0xd1, 1);
    data.io_write(0, 0xfe, 1);
    CHECK(resets == 2);
}

TEST_CASE("keyboard controller: keyboard and mouse answer, each with its interrupt") {
    bool irq1 = false, irq12 = false;
    I8042 kbc(IrqLine([&](bool up) { irq1 = up; }), IrqLine([&](bool up) { irq12 = up; }), {});
    auto& data = kbc.data();
    auto& command = kbc.command();
    const auto replies = [&] {
        std::vector<u64> bytes;
        while ((command.io_read(0, 1) & 1) != 0) bytes.push_back(data.io_read(0, 1));
        return bytes;
    };
    const auto to_keyboard = [&](u8 byte) {
        data.io_write(0, byte, 1);
        return replies();
    };
    const auto to_mouse = [&](u8 byte) {
        command.io_write(0, 0xd4, 1);
        data.io_write(0, byte, 1);
        CHECK((command.io_read(0, 1) & 0x21) == 0x21);
        return replies();
    };
    using Bytes = std::vector<u64>;
    CHECK(to_keyboard(0xff) == Bytes{0xfa, 0xaa});
    CHECK(to_keyboard(0xf2) == Bytes{0xfa, 0xab, 0x83});
    CHECK(to_keyboard(0xed) == Bytes{0xfa});
    CHECK(to_keyboard(0x07) == Bytes{0xfa});
    CHECK(to_keyboard(0xf0) == Bytes{0xfa});
    CHECK(to_keyboard(0x00) == Bytes{0xfa, 2});
    CHECK(to_keyboard(0xee) == Bytes{0xee});
    CHECK(to_keyboard(0x01) == Bytes{0xfe});
    CHECK(to_mouse(0xff) == Bytes{0xfa, 0xaa, 0x00});
    CHECK(to_mouse(0xf2) == Bytes{0xfa, 0x00});
    CHECK(to_mouse(0xf4) == Bytes{0xfa});
    CHECK(to_mouse(0xe9) == Bytes{0xfa, 0x20, 2, 100});
    // What the loop-back command writes comes back as the mouse's.
    command.io_write(0, 0xd3, 1);
    data.io_write(0, 0x5a, 1);
    CHECK((command.io_read(0, 1) & 0x21) == 0x21);
    CHECK(replies() == Bytes{0x5a});

    command.io_write(0, 0x60, 1);
    data.io_write(0, 0x43, 1);  // both interrupts, translation
    CHECK_FALSE(irq1);
    data.io_write(0, 0xf2, 1);
    CHECK(irq1);
    const DeviceState saved = kbc.save();
    CHECK(replies() == Bytes{0xfa, 0xab, 0x41});
    CHECK_FALSE(irq1);
    command.io_write(0, 0xd4, 1);
    data.io_write(0, 0xf4, 1);
    CHECK(irq12);
    REQUIRE(kbc.restore(saved).ok());
    CHECK(irq1);
    CHECK_FALSE(irq12);
    CHECK(replies() == Bytes{0xfa, 0xab, 0x41});
    // A disabled port keeps its bytes.
    data.io_write(0, 0xee, 1);
    replies();
    kbc.reset();
    command.io_write(0, 0xad, 1);
    CHECK(replies().empty());
}

TEST_CASE("keyboard controller: random accesses") {
    FakeClock clock;
    for (u32 seed = 1; seed <= 20; ++seed) {
        I8042 kbc({}, {}, {});
        fuzz_accesses({{&kbc.data(), 1}, {&kbc.command(), 1}}, clock, seed, 2000);
        I8042 fresh({}, {}, {});
        check_round_trip(kbc, fresh);
    }
}

TEST_CASE("reset ports: random accesses") {
    FakeClock clock;
    for (u32 seed = 1; seed <= 4; ++seed) {
        ResetPorts ports([] {});
        fuzz_accesses({{&ports.reset_control(), 1}, {&ports.port92(), 1}}, clock, seed, 10'000);
        ResetPorts fresh([] {});
        check_round_trip(ports, fresh);
    }
}

TEST_CASE("debug ports") {
    PostPort post;
    post.io_write(0, 0xab, 1);
    CHECK(post.io_read(0, 1) == 0xab);
    PostPort fresh;
    check_round_trip(post, fresh);
    CHECK(fresh.code() == 0xab);
    DebugConsole silent(nullptr);
    silent.io_write(0, 'x', 1);
    CHECK(silent.io_read(0, 1) == 0xe9);
    u32 status = 0;
    DebugExit exit([&](u32 s) { status = s; });
    exit.io_write(0, 0x10, 4);
    CHECK(status == 0x21);
}

namespace {

struct TimeInfo {  // as the guest's kernel declares it
    u32 version, pad0;
    u64 tsc_timestamp, system_time;
    u32 mul;
    signed char shift;
    u8 flags, pad[2];
};

struct KvmClockFixture {
    explicit KvmClockFixture(u64 hz = 2'000'000'000, u64 wall = 1'700'000'000 * kSecond) : clock(hz, wall) {
        REQUIRE(memory.add("ram", 0, 0x10000));
    }
    TimeInfo info(u64 gpa) {
        TimeInfo t{};
        REQUIRE(memory.read(gpa, &t, sizeof t));
        return t;
    }
    // What the guest computes.
    u64 guest_ns(u64 gpa, u64 tsc_offset = 0) {
        const TimeInfo t = info(gpa);
        REQUIRE(t.version != 0);
        REQUIRE(t.version % 2 == 0);
        u64 delta = clock.tsc() + tsc_offset - t.tsc_timestamp;
        delta = t.shift < 0 ? delta >> -t.shift : delta << t.shift;
        return t.system_time + static_cast<u64>(static_cast<u128>(delta) * t.mul >> 32);
    }
    FakeClock clock;
    GuestMemory memory;
    KvmClock kvm{clock, memory, 2};
};

}  // namespace

TEST_CASE("kvmclock: scale reproduces nanoseconds at any rate", "[I9]") {
    for (const u64 hz : {100'000'000ull, 999'999'999ull, 1'000'000'000ull, 1'000'000'001ull, 1'999'999'000ull,
                         2'000'000'001ull, 2'893'202'000ull, 5'700'000'000ull, 20'000'000'000ull}) {
        const PvclockScale s = pvclock_scale(hz);
        const u64 delta = hz * 1000;  // 1000 s
        const u64 shifted = s.shift < 0 ? delta >> -s.shift : delta << s.shift;
        const u64 ns = static_cast<u64>(static_cast<u128>(shifted) * s.mul >> 32);
        const i64 error = static_cast<i64>(ns) - static_cast<i64>(1000 * kSecond);
        INFO(hz);
        CHECK(std::abs(error) < 1000);
        CHECK(s.mul >= 0x7ffffff0);
    }
}

TEST_CASE("kvmclock: system time structure") {
    KvmClockFixture f(2'893'202'000);
    f.clock.advance(5 * kSecond);
    CHECK(f.kvm.msr_write(0, 0x4b564d01, 0x1001));
    const TimeInfo t = f.info(0x1000);
    CHECK(t.version == 2);
    CHECK(t.flags == 1);
    CHECK(std::abs(static_cast<i64>(f.guest_ns(0x1000) - 5 * kSecond)) < 50);
    f.clock.advance(1000 * kSecond);
    CHECK(std::abs(static_cast<i64>(f.guest_ns(0x1000) - 1005 * kSecond)) < 1000);
    // Another vCPU agrees to the nanosecond, also with a TSC of its own.
    f.kvm.set_tsc_offset(1, 123'456'789);
    CHECK(f.kvm.msr_write(1, 0x12, 0x2001));
    CHECK(f.guest_ns(0x2000, 123'456'789) == f.guest_ns(0x1000));
    CHECK(f.kvm.time_ns() == f.guest_ns(0x1000));
    f.kvm.set_tsc_offset(1, 5);
    CHECK(f.info(0x2000).version == 4);
    CHECK(f.guest_ns(0x2000, 5) == f.guest_ns(0x1000));
    u64 v = 0;
    CHECK(f.kvm.msr_read(1, 0x4b564d01, v));
    CHECK(v == 0x2001);
    CHECK(f.kvm.msr_read(0, 0x12, v));
    CHECK(v == 0x1001);
}

TEST_CASE("kvmclock: disabled, misplaced, foreign") {
    KvmClockFixture f;
    CHECK(f.kvm.msr_write(0, 0x4b564d01, 0x1000));  // not enabled
    CHECK(f.info(0x1000).version == 0);
    CHECK(f.kvm.msr_write(0, 0x4b564d01, 0xfffffff1));  // no memory there
    CHECK(f.kvm.msr_write(0, 0x4b564d01, 0xfff1));      // half outside
    u64 v = 0;
    CHECK(f.kvm.msr_read(0, 0x4b564d01, v));
    CHECK(v == 0xfff1);
    CHECK_FALSE(f.kvm.msr_read(0, 0x4b564d02, v));
    CHECK_FALSE(f.kvm.msr_write(0, 0x4b564d02, 0));
    CHECK_FALSE(f.kvm.msr_write(2, 0x4b564d01, 1));
    const u32 odd = 7;
    REQUIRE(f.memory.write(0x1000, &odd, 4));
    f.kvm.msr_write(0, 0x4b564d01, 0x1001);
    CHECK(f.info(0x1000).version == 10);
}

TEST_CASE("kvmclock: wall clock is the time of boot") {
    KvmClockFixture f;
    f.clock.advance(2'500'000'000);
    CHECK(f.kvm.msr_write(0, 0x11, 0x3000));
    u32 w[3] = {};
    REQUIRE(f.memory.read(0x3000, w, 12));
    CHECK(w[0] == 2);
    CHECK(w[1] == 1'700'000'000);
    CHECK(w[2] <= 1);
}

TEST_CASE("kvmclock: time never goes backwards across a restore", "[I10]") {
    KvmClockFixture f;
    f.clock.advance(100 * kSecond);
    f.kvm.msr_write(0, 0x4b564d01, 0x1001);
    f.kvm.msr_write(0, 0x4b564d00, 0x3000);
    const u64 before = f.guest_ns(0x1000);
    const DeviceState saved = f.kvm.save();
    KvmClockFixture g(3'000'000'000);  // a younger machine, another TSC rate
    g.clock.advance(kSecond);
    REQUIRE(g.kvm.restore(saved));
    const u64 after = g.guest_ns(0x1000);
    CHECK(after >= before);
    CHECK(after - before < 1000);
    u64 v = 0;
    CHECK(g.kvm.msr_read(0, 0x4b564d00, v));
    CHECK(v == 0x3000);
    g.clock.advance(kSecond);
    CHECK(std::abs(static_cast<i64>(g.guest_ns(0x1000) - after - kSecond)) < 10);

    GuestMemory none;
    KvmClock three(f.clock, none, 3);
    CHECK(three.restore(saved).error().code == Errc::Corrupt);
}
