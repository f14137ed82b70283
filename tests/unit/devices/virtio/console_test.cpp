#include "devices/virtio/console.h"

#include <mutex>

#include "bench_driver.h"
#include "devices/virtio/balloon.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/rng.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::virtio;
using namespace tandem::devices::virtio::test;

namespace {

constexpr u64 kMultiport = 2, kBuffer = 0x400000, kMessage = 0x300000;
constexpr u16 kControlRx = 2, kControlTx = 3, kPort1Rx = 4;

struct Stream {
    std::mutex lock;
    std::string written;
    std::function<std::size_t(std::span<const u8>)> receiver;
    std::atomic<unsigned> resumed{0};
    std::size_t type(std::string_view text) {
        return receiver(std::span(reinterpret_cast<const u8*>(text.data()), text.size()));
    }
    std::string output() {
        std::lock_guard guard(lock);
        return written;
    }
};

class StreamEnd final : public CharBackend {
public:
    explicit StreamEnd(Stream& s) : stream_(s) {}
    void write(std::span<const u8> bytes) override {
        std::lock_guard guard(stream_.lock);
        stream_.written.append(bytes.begin(), bytes.end());
    }
    void set_receiver(std::function<std::size_t(std::span<const u8>)> r) override { stream_.receiver = std::move(r); }
    void resume_input() override { ++stream_.resumed; }

private:
    Stream& stream_;
};

struct ConsoleBench : Bench {
    Stream console, plain;
    ConsoleBench() {
        auto bus = create_serial_bus(memory, "test-serial", 3);
        REQUIRE(bus->add_port({"", true, 0, std::make_unique<StreamEnd>(console)}).ok());
        REQUIRE(bus->add_port({"org.test", false, 0, std::make_unique<StreamEnd>(plain)}).ok());
        CHECK(bus->add_port({"", false, 1, std::make_unique<StreamEnd>(plain)}).error().code == Errc::Busy);
        CHECK_FALSE(bus->add_port({"", false, 4, std::make_unique<StreamEnd>(plain)}).ok());
        use(std::move(bus));
    }
    void say(u32 port, u16 event, u16 value) {
        put<u32>(kMessage, port);
        put<u16>(kMessage + 4, event);
        put<u16>(kMessage + 6, value);
        offer(kControlTx, {{kMessage, 8, false}});
        (void)wait_used(kControlTx);
    }
    void give_control_buffers(unsigned n) {
        for (unsigned i = 0; i < n; ++i) offer(kControlRx, {{kBuffer + 0x100 * i, 0x100, true}});
    }
    // Event and value of the n-th control message.
    std::pair<u16, u16> heard(unsigned n) { return {get<u16>(kBuffer + 0x100 * n + 4), get<u16>(kBuffer + 0x100 * n + 6)}; }
};

}  // namespace

TEST_CASE("virtio-console: one port without the multiport feature") {
    ConsoleBench b;
    b.start(0);
    REQUIRE(b.memory.write(kMessage, "hello", 5));
    b.offer(1, {{kMessage, 5, false}});
    CHECK(b.wait_used(1) == 0);
    CHECK(b.console.output() == "hello");
    CHECK(b.console.type("abc") == 0);
    b.offer(0, {{kBuffer, 2, true}});
    Bench::wait([&] { return b.console.resumed > 0; });
    CHECK(b.console.type("abc") == 2);
    CHECK(b.wait_used(0) == 2);
    CHECK(b.get<u8>(kBuffer + 1) == 'b');
    b.device->config_write(8, 'X', 4);
    CHECK(b.console.output() == "helloX");
    CHECK(b.device->config_read(4, 4) == 3);
    CHECK(b.device->queue_count() == 8);
}

TEST_CASE("virtio-console: ports are announced, named, opened and closed") {
    ConsoleBench b;
    b.start(kMultiport);
    b.say(0, 0, 1);
    b.say(1, 3, 1);
    b.give_control_buffers(4);
    CHECK(b.wait_used(kControlRx) == 8);
    CHECK(b.wait_used(kControlRx) == 8);
    CHECK(b.wait_used(kControlRx) == 16);
    CHECK(b.wait_used(kControlRx) == 8);
    CHECK(b.heard(0) == std::pair<u16, u16>(1, 1));
    CHECK(b.heard(2) == std::pair<u16, u16>(7, 1));
    CHECK(b.get<std::array<char, 8>>(kBuffer + 0x208) == std::array<char, 8>{'o', 'r', 'g', '.', 't', 'e', 's', 't'});
    CHECK(b.heard(3) == std::pair<u16, u16>(6, 1));
    b.offer(kPort1Rx, {{kBuffer, 64, true}});
    CHECK(b.plain.type("early") == 0);
    b.say(1, 6, 1);
    b.device->drain();
    CHECK(b.plain.type("data") == 4);
    CHECK(b.wait_used(kPort1Rx) == 4);

    // The open port and unsent messages survive.
    b.say(0, 0, 1);
    const DeviceCoreState state = b.device->capture();
    ConsoleBench other;
    REQUIRE(other.device->apply(state).ok());
    CHECK(other.device->capture().config == state.config);
    DeviceCoreState damaged = state;
    damaged.config.pop_back();
    CHECK_FALSE(other.device->apply(damaged).ok());

    b.say(9, 3, 1);
    b.offer(kControlTx, {{kMessage, 3, false}});
    b.device->drain();
    CHECK(b.broken());
}

TEST_CASE("virtio-balloon: pages that are given up read as zeros; the target is told") {
    Bench b;
    auto made = create_balloon(b.memory, {"test-balloon", false, true});
    Balloon& balloon = *made;
    b.use(std::move(made));
    b.start((1u << 1) | (1u << 5));
    b.put<u64>(0x500000, 1);
    b.put<u64>(0x501000, 2);
    b.put<u64>(0x502000, 3);
    const std::array<u32, 4> pages{0x501, 0x500, 0xffffffff, 0x7fffffff};
    b.put(kMessage, pages);
    b.offer(0, {{kMessage, sizeof pages, false}});
    CHECK(b.wait_used(0) == 0);
    CHECK(b.get<u64>(0x500000) == 0);
    CHECK(b.get<u64>(0x501000) == 0);
    CHECK(b.get<u64>(0x502000) == 3);
    b.offer(3, {{0x502800, 0x1000, true}});  // no whole page
    (void)b.wait_used(3);
    CHECK(b.get<u64>(0x502000) == 3);
    b.offer(3, {{0x502000, 0x1000, true}});
    (void)b.wait_used(3);
    CHECK(b.get<u64>(0x502000) == 0);

    const u8 before = b.device->generation();
    balloon.set_target(77);
    CHECK(b.device->config_read(0, 4) == 77);
    CHECK(b.device->generation() != before);
    CHECK(b.transport.config == 1);
    b.device->config_write(4, 70, 4);
    CHECK(balloon.actual() == 70);

    // Statistics: read at once, the buffer comes back when new ones are asked for.
    b.put<u16>(kMessage, 4);
    b.put<u64>(kMessage + 2, 123456);
    b.offer(2, {{kMessage, 10, false}});
    b.device->drain();
    CHECK(b.used_index(2) == 0);
    const auto statistics = balloon.statistics();
    CHECK(statistics.present == 1u << 4);
    CHECK(statistics.value[4] == 123456);
    (void)b.wait_used(2);
    const DeviceCoreState state = b.device->capture();
    CHECK(b.device->apply(state).ok());
    CHECK(balloon.target() == 77);
}

TEST_CASE("virtio over MMIO: registers, negotiation, a request, the interrupt, state") {
    Bench b;
    bool line = false;
    VirtioMmio m(create_rng(b.memory, "test-rng"), IrqLine([&](bool level) { line = level; }));
    CHECK(m.io_read(0, 4) == 0x74726976);
    CHECK(m.io_read(4, 4) == 2);
    CHECK(m.io_read(8, 4) == 4);
    CHECK(m.io_read(0, 2) == 0);
    CHECK(m.io_read(2, 4) == 0);
    CHECK(m.io_read(0xb0, 4) == 0xffffffff);
    m.io_write(0x14, 1, 4);
    CHECK((m.io_read(0x10, 4) & 1) == 1);
    CHECK(m.io_read(0x34, 4) == 64);
    m.io_write(0x30, 0x10000, 4);
    CHECK(m.io_read(0x34, 4) == 0);
    m.io_write(0x30, 0, 4);
    m.io_write(0x70, 3, 4);
    m.io_write(0x24, 1, 4);
    m.io_write(0x20, 1, 4);
    m.io_write(0x70, 11, 4);
    CHECK(m.io_read(0x70, 4) == 11);
    m.io_write(0x38, Bench::kSize, 4);
    m.io_write(0x80, Bench::kRings, 4);
    m.io_write(0x90, Bench::kRings + Bench::kAvailableAt, 4);
    m.io_write(0xa0, Bench::kRings + Bench::kUsedAt, 4);
    m.io_write(0x44, 1, 4);
    CHECK(m.io_read(0x44, 4) == 1);
    m.io_write(0x70, 15, 4);
    b.put<u64>(Bench::kRings, kBuffer);
    b.put<u32>(Bench::kRings + 8, 32);
    b.put<u32>(Bench::kRings + 12, 2);
    b.put<u16>(Bench::kRings + Bench::kAvailableAt + 2, 1);
    m.io_write(0x50, 0, 4);
    m.io_write(0x50, 0xffffffff, 4);
    Bench::wait([&] { return b.get<u16>(Bench::kRings + Bench::kUsedAt + 2) == 1; });
    m.device().drain();
    CHECK(line);
    CHECK(m.io_read(0x60, 4) == 1);
    const auto saved = m.save();
    m.io_write(0x64, 1, 4);
    CHECK_FALSE(line);
    CHECK(m.io_read(0x60, 4) == 0);
    REQUIRE(m.restore(saved).ok());
    CHECK(line);
    m.io_write(0x70, 0, 4);
    CHECK_FALSE(line);
    CHECK(m.io_read(0x44, 4) == 0);
    m.reset();
    CHECK(m.io_read(0x70, 4) == 0);
}
