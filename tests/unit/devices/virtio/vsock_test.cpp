// The vsock device against the specification (virtio 1.2, 5.10), with a socket pair as the program on the host.
#include "devices/virtio/vsock.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <deque>
#include <mutex>
#include <string>

#include "devices/virtio/vsock_stream.h"
#include "tests/unit/devices/virtio/bench_driver.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::virtio;
using namespace tandem::devices::virtio::test;

namespace {

constexpr u16 kRx = 0, kTx = 1, kEvents = 2;
constexpr u64 kCid = 7, kRxAt = 0x800000, kTxAt = 0x900000, kEventAt = 0xa00000;
constexpr u32 kRxSize = 4096;
enum Operation : u16 { Request = 1, Response, Reset, Shutdown, ReadWrite, CreditUpdate, CreditRequest };

// Serves port 80 with one end of a socket pair and keeps the other.
class Pairs final : public VsockHost {
public:
    explicit Pairs(std::shared_ptr<std::deque<Fd>> ends) : ends_(std::move(ends)) {}
    [[nodiscard]] int listener() const override { return -1; }
    Fd accept() override { return {}; }
    Fd dial(u32 port) override {
        std::array<int, 2> pair{};
        if (port != 80 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) return {};
        fcntl(pair[0], F_SETFL, O_NONBLOCK);
        ends_->emplace_back(pair[1]);
        return Fd(pair[0]);
    }

private:
    std::shared_ptr<std::deque<Fd>> ends_;
};

struct Guest : Bench {
    std::shared_ptr<std::deque<Fd>> programs = std::make_shared<std::deque<Fd>>();
    u64 next_rx = 0;

    Guest() {
        auto made = create_vsock(memory, std::make_unique<Pairs>(programs), {"vsock", kCid});
        REQUIRE(made.ok());
        use(std::move(made).value());
        start(0);
    }
    ~Guest() { device.reset(); }
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;

    static VsockHeader header(Operation operation, u32 port = 80) {
        VsockHeader h;
        h.source_cid = kCid;
        h.destination_cid = 2;
        h.source_port = 5000;
        h.destination_port = port;
        h.operation = operation;
        h.buffer = 65536;
        return h;
    }
    void send(const VsockHeader& h, const std::string& data = {}) {
        put(kTxAt, h);
        if (!data.empty()) REQUIRE(memory.write(kTxAt + sizeof h, data.data(), data.size()));
        offer(kTx, {{kTxAt, static_cast<u32>(sizeof h + data.size()), false}});
        (void)wait_used(kTx);
    }
    void send_data(const std::string& data) {
        VsockHeader h = header(ReadWrite);
        h.length = static_cast<u32>(data.size());
        send(h, data);
    }
    // The next packet from the device, and its data.
    VsockHeader receive(std::string* data = nullptr, u32 room = kRxSize) {
        const u64 at = kRxAt + next_rx++ % 64 * 0x2000;
        offer(kRx, {{at, room, true}});
        const u32 size = wait_used(kRx);
        const auto h = get<VsockHeader>(at);
        CHECK(size == sizeof h + h.length);
        CHECK(h.destination_cid == kCid);
        if (data != nullptr) {
            data->resize(h.length);
            REQUIRE(memory.read(at + sizeof h, data->data(), h.length));
        }
        return h;
    }
    void connect() {
        send(header(Request));
        const VsockHeader h = receive();
        REQUIRE(h.operation == Response);
        CHECK(h.source_cid == 2);
        CHECK(h.source_port == 80);
        CHECK(h.destination_port == 5000);
        CHECK(h.buffer == VsockStream::kBuffer);
        REQUIRE(programs->size() == 1);
    }
    [[nodiscard]] int program() const { return programs->front().get(); }
    std::string program_reads(std::size_t size) const {
        std::string text(size, '\0');
        REQUIRE(recv(program(), text.data(), size, MSG_WAITALL) == static_cast<ssize_t>(size));
        return text;
    }
};

}  // namespace

TEST_CASE("vsock: configuration holds the guest's CID, and reserved ones are refused") {
    Guest g;
    CHECK(g.device->device_id() == 19);
    CHECK(g.device->queue_count() == 3);
    CHECK(g.device->config_read(0, 4) == kCid);
    CHECK(g.device->config_read(4, 4) == 0);
    CHECK(g.device->config_read(8, 4) == 0);
    CHECK_FALSE(create_vsock(g.memory, std::make_unique<Pairs>(g.programs), {"x", 2}).ok());
}

TEST_CASE("vsock: a connection carries bytes both ways and ends cleanly") {
    Guest g;
    if (GENERATE(false, true)) g.ring_by_events();
    g.connect();
    g.send_data("hello");
    CHECK(g.program_reads(5) == "hello");
    REQUIRE(write(g.program(), "answer", 6) == 6);
    std::string data;
    CHECK(g.receive(&data).operation == ReadWrite);
    CHECK(data == "answer");
    // The program sends no more, but still takes bytes.
    shutdown(g.program(), SHUT_WR);
    VsockHeader h = g.receive();
    CHECK(h.operation == Shutdown);
    CHECK(h.flags == 2);
    g.send_data("more");
    CHECK(g.program_reads(4) == "more");
    h = Guest::header(Shutdown);
    h.flags = 3;
    g.send(h);
    CHECK(g.receive().operation == Reset);
    char c = 0;
    CHECK(recv(g.program(), &c, 1, 0) == 0);
}

TEST_CASE("vsock: a program that goes away is told to the guest") {
    Guest g;
    g.connect();
    g.programs->clear();
    const VsockHeader h = g.receive();
    CHECK(h.operation == Shutdown);
    CHECK(h.flags == 3);
    g.send(Guest::header(Reset));
    // Nothing is left of it.
    g.send_data("late");
    CHECK(g.receive().operation == Reset);
}

TEST_CASE("vsock: what belongs to nothing or is of an unknown type is answered with RST") {
    Guest g;
    g.send(Guest::header(Request, 81));
    CHECK(g.receive().operation == Reset);
    g.send(Guest::header(ReadWrite));
    CHECK(g.receive().operation == Reset);
    VsockHeader h = Guest::header(Request);
    h.type = 9;
    g.send(h);
    h = g.receive();
    CHECK(h.operation == Reset);
    CHECK(h.type == 9);
    h = Guest::header(Request);
    h.destination_cid = 12;
    g.send(h);
    h = g.receive();
    CHECK(h.operation == Reset);
    CHECK(h.source_cid == 12);
    // An RST is not answered, nor a packet that pretends to come from elsewhere; the next answer is the connection's.
    g.send(Guest::header(Reset));
    h = Guest::header(Request);
    h.source_cid = 12;
    g.send(h);
    g.connect();
    h = Guest::header(ReadWrite);
    h.operation = 77;
    g.send(h);
    CHECK(g.receive().operation == Reset);
    CHECK_FALSE(g.broken());
}

TEST_CASE("vsock: credit limits both sides") {
    Guest g;
    VsockHeader h = Guest::header(Request);
    h.buffer = 10;
    g.send(h);
    CHECK(g.receive().operation == Response);
    REQUIRE(write(g.program(), "0123456789abcdef", 16) == 16);
    std::string data;
    CHECK(g.receive(&data).operation == ReadWrite);
    CHECK(data == "0123456789");
    CHECK(g.receive().operation == CreditRequest);
    h = Guest::header(CreditUpdate);
    h.buffer = 10;
    h.forwarded = 8;
    g.send(h);
    g.receive(&data);
    CHECK(data == "abcdef");
    g.send(Guest::header(CreditRequest));
    CHECK(g.receive().operation == CreditUpdate);
    // More than the device said it has room for.
    const std::string much(60000, 'x');
    for (int i = 0; i < 40; ++i) g.send_data(much);
    VsockHeader answer;
    do {
        answer = g.receive();
    } while (answer.operation == CreditUpdate);
    CHECK(answer.operation == Reset);
}

TEST_CASE("vsock: a restored driver hears that its connections are gone") {
    Guest g;
    g.connect();
    g.device->pause();
    const DeviceCoreState state = g.device->capture();
    REQUIRE(g.device->apply(state).ok());
    g.offer(kEvents, {{kEventAt, 4, true}}, false);
    g.put<u32>(kEventAt, 99);
    g.device->resume();
    CHECK(g.wait_used(kEvents) == 4);
    CHECK(g.get<u32>(kEventAt) == 0);
    char c = 0;
    CHECK(recv(g.program(), &c, 1, 0) == 0);
}

TEST_CASE("vsock: requests that cannot hold a packet break the device") {
    Guest g;
    SECTION("from the driver") {
        g.put(kTxAt, Guest::header(Request));
        g.offer(kTx, {{kTxAt, 43, false}});
    }
    SECTION("for the device") {
        g.send(Guest::header(ReadWrite));
        g.offer(kRx, {{kRxAt, 44, true}});
    }
    Bench::wait([&] { return g.broken(); });
}

TEST_CASE("vsock: a packet that is longer than its request ends the connection") {
    Guest g;
    g.connect();
    VsockHeader h = Guest::header(ReadWrite);
    h.length = 100;
    g.send(h, "short");
    CHECK(g.receive().operation == Reset);
    CHECK_FALSE(g.broken());
}
