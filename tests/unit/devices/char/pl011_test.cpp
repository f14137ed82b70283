// PL011 against DDI 0183G.
#include "devices/char/pl011.h"

#include <catch2/catch.hpp>
#include <random>
#include <string>

namespace tandem::devices::test {
namespace {

struct Terminal final : CharBackend {
    void write(std::span<const u8> bytes) override { out.append(bytes.begin(), bytes.end()); }
    void set_receiver(Receiver r) override { receiver = std::move(r); }
    void resume_input() override {
        if (receiver) in.erase(0, receiver(std::span(reinterpret_cast<const u8*>(in.data()), in.size())));
    }
    void type(std::string_view text) {
        in += text;
        resume_input();
    }
    void set_break(std::function<void()>&& f) override { on_break = std::move(f); }
    std::string in, out;
    Receiver receiver;
    std::function<void()> on_break;
};

struct Bench {
    Bench() { uart.reset(); }
    u64 read(u64 offset) { return uart.io_read(offset, 4); }
    void write(u64 offset, u64 value) { uart.io_write(offset, value, 4); }
    Terminal terminal;
    bool up = false;
    Pl011 uart{&terminal, IrqLine([this](bool level) { up = level; })};
};

constexpr u64 kDr = 0, kFr = 0x18, kLcr = 0x2c, kCr = 0x30, kIfls = 0x34, kImsc = 0x38, kRis = 0x3c, kMis = 0x40,
              kIcr = 0x44;

}  // namespace

TEST_CASE("PL011: output, its interrupt and identification") {
    Bench b;
    CHECK(b.read(kCr) == 0x300);
    CHECK(b.read(kIfls) == 0x12);
    CHECK(b.read(kFr) == 0x97);  // transmit and receive FIFOs empty, modem inputs up
    CHECK(b.read(0xfe0) == 0x11);
    CHECK(b.read(0xfe8) == 0x34);
    CHECK(b.read(0xffc) == 0xb1);
    b.write(kDr, 'a');
    b.uart.io_write(kDr, 'b', 1);
    CHECK(b.terminal.out == "ab");
    CHECK(b.read(kRis) == 0x20);
    CHECK_FALSE(b.up);
    b.write(kImsc, 0x20);
    CHECK(b.up);
    CHECK(b.read(kMis) == 0x20);
    b.write(kIcr, 0x20);
    CHECK_FALSE(b.up);
}

TEST_CASE("PL011: input waits for a receiver, and for room") {
    Bench b;
    b.terminal.type("early");
    CHECK((b.read(kFr) & 0x10) != 0);
    b.write(kImsc, 0x50);
    b.write(kCr, 0x301);
    CHECK(b.up);
    CHECK((b.read(kFr) & 0x50) == 0x40);  // one character without FIFO
    CHECK(b.read(kDr) == 'e');
    CHECK(b.read(kDr) == 'a');
    b.write(kLcr, 0x10);  // the FIFO, which starts empty
    CHECK(b.read(kDr) == 'l');
    CHECK(b.read(kDr) == 'y');
    CHECK_FALSE(b.up);
    b.terminal.type(std::string(40, 'x'));
    CHECK(b.terminal.in.size() == 8);
    CHECK((b.read(kFr) & 0x40) != 0);
    CHECK((b.read(kRis) & 0x50) == 0x50);
    for (unsigned i = 0; i < 40; ++i) CHECK(b.read(kDr) == 'x');
    CHECK(b.terminal.in.empty());
    CHECK((b.read(kRis) & 0x50) == 0);
    CHECK_FALSE(b.up);
    b.terminal.type("y");
    CHECK(b.read(kRis) == 0x40);  // below the level: the timeout
    b.write(kCr, 0x381);          // loopback
    CHECK(b.read(kDr) == 'y');
    b.write(kDr, 'z');
    CHECK(b.read(kDr) == 'z');
    CHECK(b.terminal.out.empty());
}

TEST_CASE("PL011: a break on the line") {
    Bench b;
    b.write(kImsc, 0x200);
    REQUIRE(b.terminal.on_break);
    b.terminal.on_break();  // nobody receives
    CHECK(b.read(kRis) == 0);
    b.write(kLcr, 0x10), b.write(kCr, 0x301);
    b.terminal.on_break();
    b.terminal.type("h");
    CHECK(b.up);
    CHECK(b.read(kMis) == 0x200);
    CHECK(b.read(kDr) == 0x400);
    CHECK(b.read(0x04) == 4);  // UARTRSR.BE of the character read last
    CHECK(b.read(kDr) == 'h');
    CHECK(b.read(0x04) == 0);
    b.write(kIcr, 0x200);
    CHECK_FALSE(b.up);
}

TEST_CASE("PL011: state survives, and random accesses do no harm") {
    Bench b;
    b.write(kLcr, 0x10), b.write(kCr, 0x301), b.write(kImsc, 0x50);
    b.terminal.type("abc");
    CHECK(b.read(kDr) == 'a');
    auto saved = b.uart.save();
    b.uart.reset();
    CHECK_FALSE(b.up);
    REQUIRE(b.uart.restore(saved).ok());
    CHECK(b.up);
    CHECK(b.read(kDr) == 'b');
    saved.fields["fifo_count"] = 99;
    CHECK_FALSE(b.uart.restore(saved).ok());
    std::mt19937 random(1);
    for (unsigned i = 0; i < 20000; ++i) {
        if (i % 3 == 0) b.write(random() % 0x60, random());
        if (i % 3 == 1) b.read(random() % 0x1000);
        if (i % 30 == 0) b.terminal.type("noise");
        if (b.terminal.in.size() > 100) b.terminal.in.clear();
    }
}

}  // namespace tandem::devices::test
