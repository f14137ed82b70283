#include <catch2/catch.hpp>
#include <string>

#include "devices/char/uart16550.h"
#include "tests/unit/devices/fabric/device_fuzz.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::test;

namespace {

struct FakeTerminal : CharBackend {
    void write(std::span<const u8> bytes) override { output.append(bytes.begin(), bytes.end()); }
    void set_receiver(std::function<std::size_t(std::span<const u8>)> f) override { receiver = std::move(f); }
    void resume_input() override { ++resumes; }
    // Offers what is left of `input`, as a back end does.
    void offer() {
        const std::vector<u8> bytes(input.begin(), input.end());
        input.erase(0, receiver(bytes));
    }
    std::string output, input;
    std::function<std::size_t(std::span<const u8>)> receiver;
    int resumes = 0;
};

struct UartFixture {
    u8 in(unsigned port) { return static_cast<u8>(uart.io_read(port, 1)); }
    void out(unsigned port, unsigned v) { uart.io_write(port, v, 1); }
    // DTR is up: the port takes input.
    void type(const std::string& text) {
        out(4, in(4) | 1u);
        terminal.input += text;
        terminal.offer();
    }
    FakeClock clock;
    FakeTerminal terminal;
    bool irq = false;
    int edges = 0;
    Uart16550 uart{&terminal, clock, IrqLine([this](bool l) {
                       if (l && !irq) ++edges;
                       irq = l;
                   })};
};

// Register numbers and bits from the PC16550D data sheet.
constexpr unsigned RBR = 0, THR = 0, IER = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7;

}  // namespace

TEST_CASE("uart: reset values and plain registers") {
    UartFixture f;
    CHECK(f.in(IER) == 0);
    CHECK(f.in(IIR) == 1);
    CHECK(f.in(LCR) == 0);
    CHECK(f.in(MCR) == 0);
    CHECK(f.in(LSR) == 0x60);
    CHECK(f.in(MSR) == 0xb0);
    f.out(IER, 0xff);
    CHECK(f.in(IER) == 0x0f);
    f.out(MCR, 0xff);
    CHECK(f.in(MCR) == 0x1f);
    f.out(SCR, 0xa5);
    CHECK(f.in(SCR) == 0xa5);
    f.out(LCR, 0x83);
    f.out(0, 0x34);
    f.out(1, 0x12);
    CHECK(f.in(0) == 0x34);
    CHECK(f.in(1) == 0x12);
    f.out(LCR, 0x03);
    CHECK(f.in(IER) == 0x0f);
    CHECK(f.terminal.output.empty());
    f.out(LSR, 0);
    CHECK((f.in(LSR) & 0x60) == 0x60);
}

TEST_CASE("uart: transmission and the THRE interrupt") {
    UartFixture f;
    f.out(MCR, 8);
    f.out(THR, 'a');
    CHECK(f.terminal.output == "a");
    CHECK_FALSE(f.irq);
    f.out(IER, 2);  // enabling it with an empty register raises it
    CHECK(f.irq);
    CHECK(f.in(IIR) == 2);
    CHECK_FALSE(f.irq);  // reading IIR is the acknowledge
    CHECK(f.in(IIR) == 1);
    f.edges = 0;
    f.out(THR, 'b');
    CHECK(f.irq);
    CHECK(f.edges == 1);
    f.out(THR, 'c');  // without reading IIR: still a new edge
    CHECK(f.edges == 2);
    f.out(MCR, 0);  // OUT2 gates the pin
    CHECK_FALSE(f.irq);
    f.out(MCR, 8);
    CHECK(f.irq);
    f.out(IER, 0);
    CHECK_FALSE(f.irq);
    CHECK(f.terminal.output == "abc");
    f.out(LCR, 0x40);  // break: nothing is sent
    f.out(THR, 'x');
    CHECK(f.terminal.output == "abc");
}

TEST_CASE("uart: reception without FIFO, back-pressure") {
    UartFixture f;
    f.out(MCR, 8);
    f.out(IER, 1);
    f.type("xyz");
    CHECK(f.terminal.input == "yz");
    CHECK(f.irq);
    CHECK(f.in(IIR) == 4);
    CHECK(f.in(LSR) == 0x61);
    f.terminal.resumes = 0;
    CHECK(f.in(RBR) == 'x');
    CHECK(f.terminal.resumes == 1);
    CHECK_FALSE(f.irq);
    CHECK(f.in(RBR) == 'x');  // empty: the old character
    f.terminal.offer();
    CHECK(f.in(RBR) == 'y');
}

TEST_CASE("uart: FIFO trigger levels and character timeout") {
    struct {
        unsigned fcr, level;
    } rows[] = {{0x01, 1}, {0x41, 4}, {0x81, 8}, {0xc1, 14}};
    for (const auto& row : rows) {
        UartFixture f;
        f.out(MCR, 8);
        f.out(IER, 1);
        f.out(LCR, 0x83);
        f.out(0, 12);  // 9600 baud, 8N1: 1.0417 ms a character
        f.out(1, 0);
        f.out(LCR, 0x03);
        f.out(FCR, row.fcr);
        f.type(std::string(row.level - 1, 'q'));
        CHECK_FALSE(f.irq);
        CHECK(f.in(IIR) == 0xc1);
        f.type("Q");
        CHECK(f.irq);
        CHECK(f.in(IIR) == 0xc4);
        CHECK(f.in(RBR) == (row.level == 1 ? u8{'Q'} : u8{'q'}));
        CHECK(f.irq == false);
        if (row.level == 1) continue;
        f.clock.advance(4'166'000);
        CHECK_FALSE(f.irq);
        f.clock.advance(10'000);
        CHECK(f.irq);
        CHECK(f.in(IIR) == 0xcc);
        f.in(RBR);  // reading ends the timeout
        CHECK_FALSE(f.irq);
    }
}

TEST_CASE("uart: a full FIFO leaves the rest with the back end") {
    UartFixture f;
    f.out(FCR, 1);
    f.type("0123456789abcdefGHI");
    CHECK(f.terminal.input == "GHI");
    CHECK((f.in(LSR) & 2) == 0);  // no overrun
    std::string got;
    while ((f.in(LSR) & 1) != 0) {
        got += static_cast<char>(f.in(RBR));
        f.terminal.offer();
    }
    CHECK(got == "0123456789abcdefGHI");
    f.type("left over");
    f.out(FCR, 3);
    CHECK((f.in(LSR) & 1) == 0);
    f.type("x");
    f.out(FCR, 0);  // switching the FIFOs off clears them
    CHECK((f.in(LSR) & 1) == 0);
    CHECK(f.in(IIR) == 1);
}

TEST_CASE("uart: line status errors, break, priorities of the identification") {
    UartFixture f;
    f.out(MCR, 8);
    f.out(FCR, 1);
    f.out(IER, 0xf);
    f.in(IIR);
    f.uart.receive_break();
    f.out(MCR, 0x18);  // into loopback and back: modem deltas
    f.out(MCR, 8);
    CHECK(f.in(IIR) == 0xc6);
    CHECK(f.in(LSR) == 0xf1);  // break, error in FIFO, data ready
    CHECK(f.in(LSR) == 0x61);
    CHECK(f.in(IIR) == 0xc4);
    CHECK(f.in(RBR) == 0);
    f.out(THR, 'x');
    CHECK(f.in(IIR) == 0xc2);
    CHECK(f.in(IIR) == 0xc0);
    CHECK((f.in(MSR) & 0x0f) != 0);
    CHECK(f.in(IIR) == 0xc1);
    CHECK_FALSE(f.irq);
}

TEST_CASE("uart: loopback") {
    UartFixture f;
    f.out(MCR, 0x10);
    f.in(MSR);
    CHECK(f.in(MSR) == 0);
    // DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD with their deltas; RI only counts when it falls.
    struct {
        unsigned mcr, msr;
    } rows[] = {{0x11, 0x22}, {0x12, 0x13}, {0x14, 0x41}, {0x18, 0x8c}, {0x10, 0x08}};
    for (const auto& row : rows) {
        f.out(MCR, row.mcr);
        INFO(row.mcr);
        CHECK(f.in(MSR) == row.msr);
        CHECK((f.in(MSR) & 0xf) == 0);
    }
    f.out(LCR, 0x00);  // five bits
    f.out(THR, 0xff);
    CHECK(f.in(RBR) == 0x1f);
    f.out(LCR, 0x03);
    f.out(THR, 'a');
    f.out(THR, 'b');  // overrun without FIFO: the later one stays
    CHECK(f.in(LSR) == 0x63);
    CHECK(f.in(RBR) == 'b');
    f.out(LCR, 0x43);
    CHECK((f.in(LSR) & 0x11) == 0x11);
    f.in(RBR);
    f.out(LCR, 0x03);
    f.type("host");
    CHECK(f.terminal.input == "host");
    f.out(IER, 1);
    f.out(THR, 'x');
    CHECK_FALSE(f.irq);  // the pin is disconnected
    CHECK(f.terminal.output.empty());
    f.terminal.resumes = 0;
    f.in(RBR);
    f.out(MCR, 8);
    CHECK(f.terminal.resumes > 0);
}

TEST_CASE("uart: overrun with FIFO loses the new character") {
    UartFixture f;
    f.out(LCR, 3);
    f.out(FCR, 1);
    f.out(MCR, 0x10);
    for (unsigned i = 0; i < 17; ++i) f.out(THR, 'a' + i);
    CHECK((f.in(LSR) & 2) == 2);
    CHECK((f.in(LSR) & 2) == 0);
    for (unsigned i = 0; i < 16; ++i) CHECK(f.in(RBR) == 'a' + i);
    CHECK((f.in(LSR) & 1) == 0);
}

TEST_CASE("uart: save and restore with a half-full FIFO") {
    UartFixture f;
    f.out(LCR, 3);
    f.out(MCR, 8);
    f.out(IER, 3);
    f.out(FCR, 0xc1);
    f.type("abcd");
    f.in(IIR);
    f.clock.advance(1'000'000);
    UartFixture g;
    REQUIRE(g.uart.restore(f.uart.save()));
    CHECK(g.edges == 0);
    for (auto* x : {&f, &g}) {
        x->clock.advance(3'166'000);
        CHECK_FALSE(x->irq);
        x->clock.advance(10'000);
        CHECK(x->irq);
        CHECK(x->in(IIR) == 0xcc);
        for (const char c : {'a', 'b', 'c', 'd'}) CHECK(x->in(RBR) == static_cast<u8>(c));
        CHECK_FALSE(x->irq);
    }
    DeviceState bad = f.uart.save();
    bad.fields["fifo_count"] = 17;
    CHECK_FALSE(g.uart.restore(bad).ok());
}

TEST_CASE("uart: random accesses") {
    for (u32 seed = 1; seed <= 6; ++seed) {
        UartFixture f;
        fuzz_accesses({{&f.uart, 8, 8}}, f.clock, seed, 20'000, [&](u32 r) {
            if (r % 4 == 0) f.type("z");
            if (f.terminal.input.size() > 40) f.terminal.input.clear();
            if (r % 64 == 1) f.uart.receive_break();
        });
        Uart16550 fresh(nullptr, f.clock, IrqLine());
        check_round_trip(f.uart, fresh);
    }
}

TEST_CASE("uart: what is typed before anybody listens waits for DTR, receive interrupts or a guest that polls") {
    UartFixture f;
    f.terminal.input = "early";
    f.terminal.offer();
    CHECK(f.terminal.input == "early");
    SECTION("a driver clears the port, then raises DTR") {
        f.out(FCR, 7);
        f.in(RBR);
        f.out(MCR, 0x0b);
    }
    SECTION("a driver that only enables the interrupt") {
        f.out(FCR, 7);
        f.out(IER, 1);
    }
    SECTION("a guest that sends first, then polls") {
        f.out(FCR, 7);
        f.in(LSR);
        f.out(THR, 'a');
        f.in(LSR);
        f.terminal.offer();
        CHECK(f.terminal.input == "early");
        f.in(LSR);
    }
    CHECK(f.terminal.resumes >= 1);
    f.terminal.offer();
    std::string got;
    while ((f.in(LSR) & 1) != 0) got += static_cast<char>(f.in(RBR));
    CHECK(got == "early");
}

TEST_CASE("uart: input that arrives while the machine rests is not lost to a restore") {
    UartFixture f;
    f.out(IER, 1);
    f.out(MCR, 9);
    const DeviceState saved = f.uart.save();
    f.uart.machine_stopped();
    f.type("a");
    CHECK(f.terminal.input == "a");
    REQUIRE(f.uart.restore(saved).ok());
    f.terminal.offer();
    REQUIRE(f.uart.restore(saved).ok());
    const int resumes = f.terminal.resumes;
    f.uart.machine_continues();
    CHECK(f.terminal.resumes > resumes);
    f.terminal.offer();
    CHECK(f.terminal.input.empty());
    CHECK(f.in(LSR) == 0x61);
    CHECK(f.in(RBR) == 'a');
}
