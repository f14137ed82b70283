#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <map>
#include <thread>

#include "devices/fabric/address_space.h"
#include "devices/fabric/clock.h"
#include "devices/fabric/fake_clock.h"
#include "devices/fabric/guest_memory.h"
#include "devices/fabric/host_tsc.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/register_bank.h"
#include "devices/fabric/state.h"

using namespace tandem;
using namespace tandem::devices;

namespace {

struct Recorder : IoHandler {
    u64 io_read(u64 offset, unsigned size) override {
        last = offset;
        last_size = size;
        ++reads;
        return base + offset;
    }
    void io_write(u64 offset, u64 value, unsigned size) override {
        last = offset;
        last_size = size;
        last_value = value;
        ++writes;
    }
    u64 base = 0, last = 0, last_value = 0;
    unsigned last_size = 0, reads = 0, writes = 0;
};

// Registers with two doorbells.
struct Rung final : Recorder {
    std::vector<Doorbell> doorbells() override { return {{0x10, 2, {}, 5}, {0x20, 4, 1, 6}}; }
};

struct Ringer final : DoorbellHost {
    Result<void> add_doorbell(Space space, const Doorbell& bell) override {
        if (bell.address == refused) return Error{Errc::Io, "no"};
        CHECK(space == expected);
        CHECK(bells.emplace(bell.address, bell).second);
        return {};
    }
    void remove_doorbell(Space, const Doorbell& bell) override {
        REQUIRE(bells.contains(bell.address));
        CHECK(bells.at(bell.address).event == bell.event);
        CHECK(bells.at(bell.address).size == bell.size);
        CHECK(bells.at(bell.address).value == bell.value);
        bells.erase(bell.address);
    }
    [[nodiscard]] std::vector<u64> places() const {
        std::vector<u64> all;
        for (const auto& [address, bell] : bells) all.push_back(address);
        return all;
    }
    Space expected = Space::Memory;
    u64 refused = 0;
    std::map<u64, Doorbell> bells;
};

}  // namespace

TEST_CASE("guest memory: layout errors name both ranges") {
    GuestMemory m;
    REQUIRE(m.add("ram", 0, 0xa0000));
    REQUIRE(m.add("rom", 0xf0000, 0x10000, true));
    CHECK(m.ram_bytes() == 0xa0000);
    const auto overlap = m.add("vga", 0x9f000, 0x2000);
    REQUIRE_FALSE(overlap.ok());
    CHECK(overlap.error().message.find("vga") != std::string::npos);
    CHECK(overlap.error().message.find("ram") != std::string::npos);
    CHECK_FALSE(m.add("odd", 0x200001, 0x1000).ok());
    CHECK_FALSE(m.add("empty", 0x200000, 0).ok());
    CHECK_FALSE(m.add("wraps", ~u64{0xfff}, 0x2000).ok());
    CHECK(m.ranges().size() == 2);
    CHECK(m.ranges()[0].gpa < m.ranges()[1].gpa);
}

TEST_CASE("guest memory: accesses cross adjacent ranges, stop at holes, tell the observer") {
    GuestMemory m;
    REQUIRE(m.add("b", 0x1000, 0x1000));
    REQUIRE(m.add("a", 0, 0x1000));
    std::vector<std::pair<u64, u64>> seen;
    m.set_write_observer([&](u64 gpa, u64 size) { seen.emplace_back(gpa, size); });
    const u64 v = 0x1122334455667788;
    REQUIRE(m.write(0xffc, &v, 8));
    u64 back = 0;
    REQUIRE(m.read(0xffc, &back, 8));
    CHECK(back == v);
    CHECK(seen == std::vector<std::pair<u64, u64>>{{0xffc, 4}, {0x1000, 4}});
    CHECK_FALSE(m.read(0x1ffc, &back, 8));
    CHECK_FALSE(m.write(0x5000, &v, 1));
    CHECK(m.span(0xff0, 0x100).size() == 0x10);
    CHECK(m.span(0x2000, 1).empty());
}

TEST_CASE("guest memory: a large lazily allocated range is congruent to its guest address") {
    GuestMemory m;
    REQUIRE(m.add("high", 0x100000000, 64ull << 30));
    CHECK((reinterpret_cast<u64>(m.ranges()[0].host) & 0x1fffff) == 0);
    const u8 one = 1;
    CHECK(m.write(0x100000000 + (64ull << 30) - 1, &one, 1));
    CHECK_FALSE(m.write(0x100000000 + (64ull << 30), &one, 1));
}

TEST_CASE("address space: dispatch, unclaimed, straddling") {
    AddressSpace s("io");
    Recorder a, b;
    a.base = 0x10;
    b.base = 0x40;
    REQUIRE(s.add({"a", 0x100, 4, &a}));
    REQUIRE(s.add({"b", 0x104, 4, &b}));
    CHECK(s.read(0x101, 1) == 0x11);
    CHECK(s.read(0x103, 2) == 0x4013);  // last byte of a, first of b
    CHECK(s.read(0x0ff, 2) == 0x10ff);
    CHECK(s.read(0x200, 4) == 0xffffffff);
    CHECK(s.read(0x200, 8) == ~u64{0});
    u64 value = 0;
    CHECK(s.read(0x0ff, 2, value));
    CHECK(value == 0x10ff);
    CHECK_FALSE(s.read(0x200, 4, value));
    CHECK(value == 0xffffffff);
    CHECK_FALSE(s.write(0x200, 1, 4));
    CHECK(s.write(0x107, 0xabcd, 2));
    CHECK(b.last == 3);
    CHECK(b.last_value == 0xcd);
    CHECK(b.writes == 1);
    s.write(0x104, 0x11223344aa, 4);
    CHECK(b.last_value == 0x223344aa);
    CHECK_FALSE(s.add({"c", 0x107, 2, &a}).ok());
    CHECK_FALSE(s.add({"d", ~u64{0}, 2, &a}).ok());
    CHECK_FALSE(s.add({"e", 0x300, 0, &a}).ok());
    REQUIRE(s.add({"last", ~u64{0}, 1, &a}));
    CHECK(s.read(~u64{0}, 1) == 0x10);
}

TEST_CASE("address space: moving and removing") {
    AddressSpace s("mmio");
    Recorder a, b;
    REQUIRE(s.add({"a", 0x1000, 0x1000, &a}));
    REQUIRE(s.add({"b", 0x3000, 0x1000, &b}));
    CHECK_FALSE(s.move(0x1000, 0x2800).ok());
    CHECK(s.read(0x1000, 1) == 0);
    REQUIRE(s.move(0x1000, 0x1800));  // overlaps its own old place
    CHECK(s.read(0x1000, 1) == 0xff);
    CHECK(s.read(0x2000, 2) == 0x800);
    CHECK(s.move(0x1000, 0x9000).error().code == Errc::NotFound);
    REQUIRE(s.remove(0x1800));
    CHECK(s.remove(0x1800).error().code == Errc::NotFound);
    CHECK(s.regions().size() == 1);
}

TEST_CASE("address space: doorbells go where their regions go", "[T4]") {
    AddressSpace s("mmio");
    Rung a, b;
    Recorder plain;
    Ringer host;
    REQUIRE(s.add({"a", 0x1000, 0x100, &a}));
    CHECK(host.bells.empty());
    s.set_doorbell_host(&host);
    CHECK(host.places() == std::vector<u64>{0x1010, 0x1020});
    REQUIRE(s.add({"plain", 0x3000, 0x100, &plain}));
    REQUIRE(s.add({"b", 0x2000, 0x100, &b}));
    CHECK(host.places() == std::vector<u64>{0x1010, 0x1020, 0x2010, 0x2020});
    CHECK_FALSE(s.move(0x1000, 0x2000).ok());
    CHECK(host.places() == std::vector<u64>{0x1010, 0x1020, 0x2010, 0x2020});
    REQUIRE(s.move(0x1000, 0x1008));  // overlaps its own old place
    CHECK(host.places() == std::vector<u64>{0x1018, 0x1028, 0x2010, 0x2020});
    REQUIRE(s.remove(0x2000));
    CHECK(host.places() == std::vector<u64>{0x1018, 0x1028});
    s.write(0x1018, 1, 2);  // what comes to the machine all the same is the handler's
    CHECK(a.writes == 1);
    s.set_doorbell_host(nullptr);
    CHECK(host.bells.empty());
    host.refused = 0x1018;
    s.set_doorbell_host(&host);
    CHECK(host.places() == std::vector<u64>{0x1028});
    s.set_doorbell_host(nullptr);
    CHECK(host.bells.empty());

    AddressSpace ports("io", DoorbellHost::Space::Ports);
    host.expected = DoorbellHost::Space::Ports;
    ports.set_doorbell_host(&host);
    REQUIRE(ports.add({"a", 0x100, 0x100, &a}));
    CHECK(host.places() == std::vector<u64>{0x110, 0x120});
    ports.set_doorbell_host(nullptr);
}

TEST_CASE("interrupt lines: void and Delivery sinks, unconnected", "[I8]") {
    int level = -1;
    IrqLine plain([&](bool l) { level = l; });
    CHECK(plain.set(true) == Delivery::Delivered);
    CHECK(level == 1);
    IrqLine reporting([](bool l) { return l ? Delivery::Coalesced : Delivery::Ignored; });
    CHECK(reporting.pulse() == Delivery::Coalesced);
    CHECK(IrqLine().set(true) == Delivery::Ignored);
    CHECK_FALSE(IrqLine().connected());
}

TEST_CASE("fake clock: timers fire in order at their deadlines") {
    FakeClock clock(3'000'000'000);
    std::vector<std::pair<int, u64>> log;
    auto a = clock.create_timer([&] { log.emplace_back(1, clock.now_ns()); });
    std::unique_ptr<Timer> b;
    b = clock.create_timer([&] {
        log.emplace_back(2, clock.now_ns());
        if (log.size() < 4) b->arm(clock.now_ns() + 10);
    });
    a->arm(25);
    b->arm(10);
    clock.advance(100);
    CHECK(log == std::vector<std::pair<int, u64>>{{2, 10}, {2, 20}, {1, 25}, {2, 30}});
    CHECK(clock.tsc() == 300);
    a->arm(Timer::kNever);
    clock.advance(1'000'000);
    CHECK(log.size() == 4);
}

TEST_CASE("real clock: advances, stops, fires timers", "[I9]") {
    auto clock = create_real_clock();
    REQUIRE(clock->tsc_hz() > 100'000'000);
    // This thread may be interrupted between any two readings: the clock's lies between the host's around it.
    const auto host_ns = [] {
        return static_cast<double>(std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
    };
    const double before_first = host_ns();
    const u64 first = clock->now_ns();
    const double after_first = host_ns();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const double before_second = host_ns();
    const auto guest = static_cast<double>(clock->now_ns() - first);
    const double after_second = host_ns();
    CHECK(guest > 0.98 * (before_second - after_first));
    CHECK(guest < 1.02 * (after_second - before_first));
    if (const HostTsc h = clock->host_tsc(); h.usable) {
        const u64 before = read_host_tsc() + h.offset;
        const u64 tsc = clock->tsc();
        CHECK(tsc >= before);
        CHECK(tsc <= read_host_tsc() + h.offset);
    }

    clock->stop();
    CHECK_FALSE(clock->host_tsc().usable);  // the counter goes on without it
    const u64 frozen = clock->now_ns();
    std::atomic<int> fired{0};
    auto timer = clock->create_timer([&] { ++fired; });
    timer->arm(frozen + 1000);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(clock->now_ns() == frozen);
    CHECK(fired == 0);
    clock->start();
    CHECK(clock->now_ns() >= frozen);
    CHECK(clock->now_ns() - frozen < 30'000'000'000);
    for (int i = 0; i < 30'000 && fired == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    CHECK(fired == 1);
    timer->arm(clock->now_ns() + 60'000'000'000);
    timer->cancel();
}

TEST_CASE("real clock: cancelling waits for the callback") {
    auto clock = create_real_clock();
    std::atomic<bool> inside{false}, done{false};
    auto timer = clock->create_timer([&] {
        inside = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        done = true;
    });
    timer->arm(0);
    while (!inside) std::this_thread::yield();
    timer.reset();
    CHECK(done);
}

namespace {

struct Bank;
using Row = Register<Bank>;
struct Bank {
    u64 on_read(const Row&, u64 stored) { return stored | 0x8000; }
    void on_written(const Row& row, u64 old, u64 written) {
        log.push_back(fmt::format("{} {:x} {:x}", row.name, old, written));
    }
    std::vector<std::string> log;
    RegisterBank<Bank> regs;
    Bank();
};
constexpr Row kRows[] = {
    {"status", 0, 2, 0x11, 0, 0xffff, nullptr, &Bank::on_written},
    {"control", 2, 2, 0x5, 0xff, 0, &Bank::on_read},
    {"wide", 8, 4, 0xdeadbeef, 0xffff0000, 0},
};
Bank::Bank() : regs(kRows) {}

}  // namespace

TEST_CASE("register bank: masks, partial and spanning accesses, hooks") {
    Bank b;
    CHECK(b.regs.read(b, 0, 4) == 0x80050011);
    CHECK(b.regs.read(b, 1, 2) == 0x0500);
    b.regs.write(b, 0, 0x12340001, 4);
    CHECK(b.regs.get(0) == 0x10);
    CHECK(b.regs.get(1) == 0x34);
    CHECK(b.log == std::vector<std::string>{"status 11 1"});
    b.regs.write(b, 11, 0x77, 1);
    CHECK(b.regs.get(2) == 0x77adbeef);
    b.regs.write(b, 8, 0, 2);
    CHECK(b.regs.get(2) == 0x77adbeef);
    CHECK(b.regs.read(b, 4, 8, 0xff) == 0x77adbeefffffffff);
    CHECK(b.regs.read(b, 0x100, 8, 0xff) == ~u64{0});
}

namespace {

enum class Colour : u8 { Red, Green };
struct Inner {
    i16 x = -3;
    void visit(auto& v) { v("x", x); }
    bool operator==(const Inner&) const = default;
};
struct ToyState {
    static constexpr u32 kVersion = 3;
    u8 mode = 1;
    bool on = true;
    Colour colour = Colour::Green;
    u64 big = ~u64{0};
    std::array<u16, 2> pair{1, 2};
    std::vector<u8> bytes{9, 8};
    Inner inner;
    std::array<Inner, 2> inners{};
    void visit(auto& v) {
        v("mode", mode);
        v("on", on);
        v("colour", colour);
        v("big", big);
        v("pair", pair);
        v("bytes", bytes);
        v("inner", inner);
        v("inners", inners);
    }
    bool operator==(const ToyState&) const = default;
};
struct Stateless {
    void visit(auto&) {}
};
static_assert(VersionedState<ToyState>);
static_assert(!VersionedState<Stateless>, "a state without a version must not compile into a device");
static_assert(std::is_abstract_v<StatefulDevice<ToyState>>);

std::string restore_error(const DeviceState& s) {
    const auto r = from_device_state<ToyState>(s, "toy");
    return r.ok() ? "" : r.error().message;
}

}  // namespace

TEST_CASE("device state: round trip through CBOR") {
    ToyState s;
    s.inner.x = 1234;
    s.inners[1].x = -1;
    DeviceState saved = to_device_state(s);
    saved.fields = nlohmann::json::from_cbor(nlohmann::json::to_cbor(saved.fields));
    auto back = from_device_state<ToyState>(saved, "toy");
    REQUIRE(back.ok());
    CHECK(*back == s);
}

TEST_CASE("device state: refuses what does not fit, by name") {
    const DeviceState good = to_device_state(ToyState{});
    CHECK(restore_error(good).empty());
    auto with = [&](auto change) {
        DeviceState s = good;
        change(s);
        return restore_error(s);
    };
    CHECK(with([](auto& s) { s.version = 2; }) == "toy: state version 2 is not 3");
    CHECK(with([](auto& s) { s.fields.erase("mode"); }) == "toy: field 'mode' is missing");
    CHECK(with([](auto& s) { s.fields["extra"] = 1; }) == "toy: field 'extra' is unknown");
    CHECK(with([](auto& s) { s.fields["mode"] = 256; }) == "toy: field 'mode' is out of range");
    CHECK(with([](auto& s) { s.fields["mode"] = "x"; }) == "toy: field 'mode' is not an integer");
    CHECK(with([](auto& s) { s.fields["on"] = 1; }) == "toy: field 'on' is not true or false");
    CHECK(with([](auto& s) { s.fields["pair"] = {1}; }) == "toy: field 'pair' is not a list of 2 values");
    CHECK(with([](auto& s) { s.fields["inner"].erase("x"); }) == "toy: field 'inner.x' is missing");
    CHECK(with([](auto& s) { s.fields["inners"][1]["y"] = 1; }) == "toy: field 'inners[1].y' is unknown");
    CHECK(with([](auto& s) { s.fields["pair"][1] = -1; }) == "toy: field 'pair[1]' is out of range");
    CHECK(with([](auto& s) { s.fields = 5; }) == "toy: field '' is not a group of fields");
}
