#include "devices/char/mux.h"

#include <catch2/catch.hpp>
#include <string>

using namespace tandem;
using namespace tandem::devices;

namespace {

// A stream whose other side is the test; it keeps what nobody takes, as back ends do.
class Wire final : public CharBackend {
public:
    explicit Wire(std::string& shown) : shown_(shown) {}
    void write(std::span<const u8> bytes) override { shown_.append(bytes.begin(), bytes.end()); }
    void set_receiver(Receiver receiver) override { receiver_ = std::move(receiver); }
    void resume_input() override { offer(); }
    void type(std::string_view text) {
        kept_.append(text);
        offer();
    }
    void on_focus(std::function<void()>&& f) override { on_focus_ = std::move(f); }
    void connect() { on_focus_(); }
    [[nodiscard]] const std::string& kept() const { return kept_; }

private:
    void offer() {
        if (!receiver_ || offering_) return;
        offering_ = true;
        kept_.erase(0, receiver_({reinterpret_cast<const u8*>(kept_.data()), kept_.size()}));
        offering_ = false;
    }
    std::string& shown_;
    std::string kept_;
    Receiver receiver_;
    std::function<void()> on_focus_;
    bool offering_ = false;
};

struct Listener {
    std::unique_ptr<CharBackend> end;
    std::string text;
    std::size_t limit = ~std::size_t{0};
    unsigned breaks = 0, turns = 0;

    void listen() {
        end->set_receiver([this](std::span<const u8> in) {
            const std::size_t n = std::min(in.size(), limit - std::min(limit, text.size()));
            text.append(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(n));
            return n;
        });
        end->set_break([this] { ++breaks; });
        end->on_focus([this] { ++turns; });
    }
};

struct Shared {
    explicit Shared(bool person = false) {
        auto stream = std::make_unique<Wire>(shown);
        wire = stream.get();
        mux = std::make_unique<Mux>(std::move(stream), ConsoleEvents{[this] { ++quits; }, {}}, person);
        for (Listener* user : {&serial, &monitor}) user->end = mux->share();
    }
    std::string shown;
    unsigned quits = 0;
    Wire* wire = nullptr;
    std::unique_ptr<Mux> mux;
    Listener serial, monitor;
};

}  // namespace

TEST_CASE("escape keys: what follows Ctrl-A") {
    EscapeKeys keys;
    using Key = EscapeKeys::Key;
    CHECK(keys.take('a') == Key::Byte);
    struct Row {
        u8 byte;
        Key key;
    };
    for (const Row row : {Row{'x', Key::Quit}, Row{'c', Key::Switch}, Row{'b', Key::Break}, Row{'h', Key::Help},
                          Row{'?', Key::Help}, Row{1, Key::Byte}, Row{'q', Key::None}}) {
        CAPTURE(row.byte);
        CHECK(keys.take(1) == Key::None);
        CHECK(keys.take(row.byte) == row.key);
        CHECK(keys.take(row.byte == 1 ? u8{'z'} : row.byte) == Key::Byte);
    }
}

TEST_CASE("mux: one write of a script reaches each user in its turn") {
    Shared s;
    s.serial.listen();
    s.monitor.listen();
    CHECK(s.serial.turns == 0);
    s.wire->connect();
    CHECK(s.serial.turns == 1);
    s.wire->type(
        "ls\n\x01"
        "cinfo\n\x01\x01\x01"
        "cexit\n");
    CHECK(s.serial.text == "ls\nexit\n");
    CHECK(s.monitor.text == "info\n\x01");
    CHECK(s.monitor.turns == 1);
    s.wire->type(
        "\x01"
        "c");
    s.wire->connect();  // a client went, the next one finds the monitor
    CHECK(s.monitor.turns == 3);
    CHECK(s.serial.turns == 2);
    s.wire->type(
        "\x01"
        "c");
    s.wire->type("\x01");  // a key in two pieces
    s.wire->type("b");
    CHECK(s.serial.breaks == 1);
    CHECK(s.monitor.breaks == 0);
    s.wire->type("\x01x");
    CHECK(s.quits == 1);
    s.wire->type("\x01h");
    CHECK(s.shown.find("Ctrl-A x") != std::string::npos);
    s.shown.clear();
    s.serial.end->write(std::span(reinterpret_cast<const u8*>("s"), 1));
    s.monitor.end->write(std::span(reinterpret_cast<const u8*>("m"), 1));
    CHECK(s.shown == "sm");
}

TEST_CASE("mux: input waits for a user that is still being made, and for one that is full") {
    Shared s;
    s.wire->type(
        "early\x01"
        "ctoo");
    s.monitor.listen();
    CHECK(s.monitor.text == "too");
    s.serial.limit = 3;
    s.serial.listen();
    CHECK(s.serial.text == "ear");
    s.serial.limit = 100;
    s.serial.end->resume_input();
    CHECK(s.serial.text == "early");
}

TEST_CASE("mux: a script is held back, a person's typing is dropped, and the keys still work") {
    const bool person = GENERATE(false, true);
    CAPTURE(person);
    Shared s(person);
    s.serial.limit = 0;
    s.serial.listen();
    s.monitor.listen();
    s.wire->type(std::string(10'000, 'a') + "\x01x");
    CHECK(s.quits == (person ? 1 : 0));
    CHECK(s.wire->kept().empty() == person);
    s.serial.limit = 20'000;
    s.serial.end->resume_input();
    for (int i = 0; i < 4; ++i) s.wire->type("");
    CHECK(s.serial.text.size() == (person ? 4096 : 10'000));
    CHECK(s.quits == 1);
}

TEST_CASE("mux: users that are too many, and users that go") {
    Shared s;
    auto third = s.mux->share();
    auto fourth = s.mux->share();
    CHECK(third->shared());
    CHECK(fourth != nullptr);
    CHECK(s.mux->share() == nullptr);
    s.serial.listen();
    s.monitor.listen();
    s.serial.end.reset();
    s.wire->type(
        "gone\x01"
        "chere");
    CHECK(s.serial.text.empty());
    CHECK(s.monitor.text == "here");
    s.mux.reset();  // its users keep the stream
    s.wire->type("!");
    CHECK(s.monitor.text == "here!");
    s.monitor.end.reset();
    third.reset();
    s.wire->type("to nobody\x01x");
    CHECK(s.quits == 1);
}
