#include "devices/virtio/net.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <deque>
#include <mutex>

#include "bench_driver.h"
#include "devices/net/backends.h"
#include "devices/net/checksum.h"
#include "devices/net/user_options.h"
#include "devices/virtio/net_filter.h"
#include "devices/virtio/rng.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::virtio;
using namespace tandem::devices::virtio::test;

namespace {

constexpr u16 kRx = 0, kTx = 1, kControl = 2;
constexpr u64 kChecksum = 1, kMergeBuffers = 1u << 15, kControlQueue = 1u << 17, kControlRx = 1u << 18;
constexpr u64 kBuffer = 0x400000, kCommand = 0x300000, kAnswer = 0x301000;

// What the test put on the wire and what the device did.
struct Wire {
    std::mutex lock;
    std::deque<std::vector<u8>> to_guest;
    std::vector<std::pair<FrameHeader, std::vector<u8>>> from_guest;
    int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ~Wire() { close(wake); }
    void deliver(std::vector<u8> frame) {
        {
            std::lock_guard guard(lock);
            to_guest.push_back(std::move(frame));
        }
        const u64 one = 1;
        REQUIRE(write(wake, &one, 8) == 8);
    }
    std::size_t sent() {
        std::lock_guard guard(lock);
        return from_guest.size();
    }
};

class TestNetwork final : public NetBackend {
public:
    explicit TestNetwork(Wire& wire) : wire_(wire) {}
    bool takes_unfinished() const override { return true; }
    bool gives_unfinished() const override { return false; }
    void set_offloads(const Offloads&) override {}
    void send(const FrameHeader& header, std::span<const u8> frame) override {
        std::lock_guard guard(wire_.lock);
        wire_.from_guest.emplace_back(header, std::vector<u8>(frame.begin(), frame.end()));
    }
    void watch(std::vector<pollfd>& fds, int&, bool want) override { fds.push_back({want ? wire_.wake : -1, POLLIN, 0}); }
    void serve(std::span<const pollfd> fds, const Receiver& receiver) override {
        if (fds[0].revents == 0) return;
        u64 count = 0;
        (void)!read(wire_.wake, &count, 8);
        std::lock_guard guard(wire_.lock);
        for (; !wire_.to_guest.empty(); wire_.to_guest.pop_front()) receiver({}, wire_.to_guest.front());
    }

private:
    Wire& wire_;
};

constexpr MacAddress kMac{0x52, 0x54, 0, 1, 2, 3};

struct NetBench : Bench {
    Wire wire;
    NetBench() {
        NetOptions options;
        options.name = "test-net";
        options.mac = kMac;
        options.mtu = 1400;
        auto made = create_net(memory, std::make_unique<TestNetwork>(wire), options);
        REQUIRE(made.ok());
        use(std::move(made).value());
    }
    u8 command(u8 group, u8 number, const std::vector<u8>& data) {
        put<u8>(kCommand, group);
        put<u8>(kCommand + 1, number);
        if (!data.empty()) REQUIRE(memory.write(kCommand + 2, data.data(), data.size()));
        offer(kControl, {{kCommand, static_cast<u32>(2 + data.size()), false}, {kAnswer, 1, true}});
        CHECK(wait_used(kControl) == 1);
        return get<u8>(kAnswer);
    }
};

std::vector<u8> frame_to(const MacAddress& to, std::size_t size) {
    std::vector<u8> frame(size);
    for (std::size_t i = 0; i < size; ++i) frame[i] = static_cast<u8>(i);
    std::copy(to.begin(), to.end(), frame.begin());
    return frame;
}

}  // namespace

TEST_CASE("virtio-net: configuration has address, link and MTU") {
    NetBench b;
    CHECK(b.device->config_read(0, 4) == 0x01005452);
    CHECK(b.device->config_read(4, 2) == 0x0302);
    CHECK(b.device->config_read(6, 2) == 1);
    CHECK(b.device->config_read(10, 2) == 1400);
    CHECK(b.device->config_read(200, 4) == 0);
    CHECK(b.device->queue_count() == 3);
}

TEST_CASE("virtio-net: frames leave without the packet header, short and senseless ones are dropped") {
    NetBench b;
    b.start(kChecksum);
    b.put(kBuffer, FrameHeader{});
    const auto frame = frame_to(kMac, 60);
    REQUIRE(b.memory.write(kBuffer + 12, frame.data(), frame.size()));
    b.offer(kTx, {{kBuffer, 20, false}, {kBuffer + 20, 52, false}});
    CHECK(b.wait_used(kTx) == 0);
    Bench::wait([&] { return b.wire.sent() == 1; });
    CHECK(b.wire.from_guest[0].second == frame);
    // Too short for Ethernet; a checksum outside the frame; segmentation that was not negotiated.
    b.offer(kTx, {{kBuffer, 20, false}});
    CHECK(b.wait_used(kTx) == 0);
    b.put(kBuffer, FrameHeader{FrameHeader::kNeedsChecksum, 0, 0, 0, 50, 20});
    b.offer(kTx, {{kBuffer, 72, false}});
    CHECK(b.wait_used(kTx) == 0);
    b.put(kBuffer, FrameHeader{FrameHeader::kNeedsChecksum, FrameHeader::kGsoTcp4, 0, 100, 14, 2});
    b.offer(kTx, {{kBuffer, 72, false}});
    CHECK(b.wait_used(kTx) == 0);
    b.device->drain();
    CHECK(b.wire.sent() == 1);
    CHECK_FALSE(b.broken());
    // No room for the header at all.
    b.offer(kTx, {{kBuffer, 11, false}});
    b.device->drain();
    CHECK(b.broken());
    CHECK(b.transport.config == 1);
}

TEST_CASE("virtio-net: a frame waits for buffers, fills one, or several where that was negotiated") {
    NetBench b;
    const auto frame = frame_to(kMac, 300);
    SECTION("one buffer, offered later, and the loop's own event for a bell") {
        b.ring_by_events();
        b.start(0);
        b.wire.deliver(frame);
        b.device->drain();
        CHECK(b.used_index(kRx) == 0);
        b.offer(kRx, {{kBuffer, 12, true}, {kBuffer + 0x1000, 1514, true}});
        CHECK(b.wait_used(kRx) == 312);
        CHECK(b.get<u16>(kBuffer + 10) == 1);
        CHECK(b.get<u8>(kBuffer + 0x1000 + 299) == frame[299]);
    }
    SECTION("too large for a buffer: dropped, and the buffer is kept") {
        b.start(0);
        b.offer(kRx, {{kBuffer, 100, true}});
        b.wire.deliver(frame);
        b.device->drain();
        b.wire.deliver(frame_to(kMac, 64));
        CHECK(b.wait_used(kRx) == 76);
    }
    SECTION("merged, all at once") {
        b.start(kMergeBuffers);
        b.offer(kRx, {{kBuffer, 128, true}});
        b.offer(kRx, {{kBuffer + 0x1000, 128, true}});
        b.wire.deliver(frame);
        b.device->drain();
        CHECK(b.used_index(kRx) == 0);
        b.offer(kRx, {{kBuffer + 0x2000, 128, true}});
        CHECK(b.wait_used(kRx) == 128);
        CHECK(b.wait_used(kRx) == 128);
        CHECK(b.wait_used(kRx) == 56);
        CHECK(b.get<u16>(kBuffer + 10) == 3);
        CHECK(b.get<u8>(kBuffer + 0x2000 + 55) == frame[299]);
    }
    SECTION("a buffer without room for the header breaks the device") {
        b.start(kMergeBuffers);
        b.offer(kRx, {{kBuffer, 8, true}});
        b.wire.deliver(frame);
        b.device->drain();
        Bench::wait([&] { return b.broken(); });
    }
}

TEST_CASE("virtio-net: the control queue selects what is received") {
    NetBench b;
    if (GENERATE(false, true)) b.ring_by_events();
    b.start(kControlQueue | kControlRx);
    CHECK(b.command(0, 0, {0}) == 0);  // not promiscuous
    CHECK(b.command(0, 0, {0, 0}) == 1);
    CHECK(b.command(0, 3, {1}) == 1);  // NOMULTI belongs to a feature that was not accepted
    CHECK(b.command(9, 0, {}) == 1);
    CHECK(b.command(1, 0, {1, 0, 0, 0, 2, 2, 2, 2, 2, 2, 0, 0, 0, 0}) == 0);
    CHECK(b.command(1, 0, {255, 255, 255, 255}) == 1);
    b.offer(kRx, {{kBuffer, 1600, true}});
    b.wire.deliver(frame_to({4, 4, 4, 4, 4, 4}, 64));
    b.wire.deliver(frame_to({2, 2, 2, 2, 2, 2}, 80));
    CHECK(b.wait_used(kRx) == 92);
    b.offer(kControl, {{kCommand, 2, false}});
    b.device->drain();
    CHECK(b.broken());
}

TEST_CASE("virtio-net: state survives, rings that are not memory do not hurt") {
    NetBench a, b;
    a.start(kControlQueue | kControlRx | kMergeBuffers);
    CHECK(a.command(0, 0, {0}) == 0);
    a.offer(kRx, {{kBuffer, 1600, true}});
    const DeviceCoreState state = a.device->capture();
    std::vector<u8> ram(Bench::kRam);
    REQUIRE(a.memory.read(0, ram.data(), ram.size()));
    REQUIRE(b.memory.write(0, ram.data(), ram.size()));
    REQUIRE(b.device->apply(state).ok());
    b.rings = a.rings;
    b.device->kick();
    b.wire.deliver(frame_to({4, 4, 4, 4, 4, 4}, 64));
    b.wire.deliver(frame_to(kMac, 100));
    CHECK(b.wait_used(kRx) == 112);

    DeviceCoreState damaged = state;
    damaged.config.pop_back();
    CHECK_FALSE(b.device->apply(damaged).ok());
    b.start(0);
    b.offer(kRx, {{~u64{0} - 100, 4096, true}});
    b.wire.deliver(frame_to(kMac, 100));
    Bench::wait([&] { return b.broken(); });
    b.start(0);
    CHECK_FALSE(b.broken());
}

TEST_CASE("virtio-net: waiting for quiet ends, however bells and the wait fall together") {
    NetBench b;
    b.start(0);
    // The wake-up for the wait must not be taken for that of the bell before it.
    for (int i = 0; i < 20'000; ++i) {
        b.device->notify(kTx);
        for (int pause = i % 64; pause > 0; --pause) asm volatile("pause");
        b.device->drain();
    }
    SUCCEED("it always came back");
}

TEST_CASE("net filter: VLANs, groups, overflow") {
    NetFilter f(kMac);
    auto tagged = frame_to(kMac, 64);
    tagged[12] = 0x81;
    tagged[13] = 0x00;
    tagged[14] = 0x00;
    tagged[15] = 0x05;
    CHECK(f.accepts(tagged, false));
    CHECK_FALSE(f.accepts(tagged, true));
    CHECK(f.command(2, 0, std::vector<u8>{5, 0}));
    CHECK(f.accepts(tagged, true));
    CHECK_FALSE(f.command(2, 0, std::vector<u8>{0, 0x10}));
    CHECK(f.command(0, 0, std::vector<u8>{0}));
    CHECK_FALSE(f.accepts(frame_to({1, 0, 0x5e, 0, 0, 1}, 64), true));
    CHECK(f.accepts(frame_to({255, 255, 255, 255, 255, 255}, 64), true));
    std::vector<u8> many(4 + 6 * 2000 + 4);
    many[0] = 2000 & 0xff;
    many[1] = 2000 >> 8;
    CHECK(f.command(1, 0, many));
    CHECK(f.accepts(frame_to({8, 8, 8, 8, 8, 8}, 64), true));
    NetFilter other(MacAddress{});
    CHECK(other.restore(f.save()));
    CHECK(other.save() == f.save());
}

TEST_CASE("checksums: RFC 1071's example, odd sizes, completion") {
    const std::vector<u8> example{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    CHECK(internet_sum(example) == 0xddf2);
    std::vector<u8> odd(1001);
    u32 sum = 0;
    for (std::size_t i = 0; i < odd.size(); ++i) {
        odd[i] = static_cast<u8>(i * 7);
        sum += i % 2 == 0 ? u32{odd[i]} << 8 : odd[i];
    }
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    CHECK(internet_sum(odd) == sum);
    FrameHeader h{FrameHeader::kNeedsChecksum, 0, 0, 0, 1, 4};
    odd[5] = odd[6] = 0;  // an empty pseudo header
    complete_checksum(h, odd);
    CHECK(internet_sum(std::span(odd).subspan(1)) == 0xffff);
    h.checksum_start = 2000;
    complete_checksum(h, odd);
}

TEST_CASE("user network: addresses and forwards are checked") {
    UserNetOptions o;
    CHECK(user_net::parse_addresses(o).ok());
    o.net = "192.168.7.0/24";
    auto a = user_net::parse_addresses(o);
    REQUIRE(a.ok());
    CHECK(ntohl(a->host.s_addr) == 0xc0a80702);
    o.host = "10.0.2.2";
    CHECK(user_net::parse_addresses(o).error().message.find("10.0.2.2") != std::string::npos);
    for (const char* bad : {"banana", "10.0.2.0/33", "10.0.2.0/31", "10.0.2.0/x"}) {
        o = {};
        o.net = bad;
        CHECK_FALSE(user_net::parse_addresses(o).ok());
    }
    auto f = user_net::parse_forward("udp:127.0.0.1:5000-10.0.2.15:53");
    REQUIRE(f.ok());
    CHECK((f->udp && f->host_port == 5000 && f->guest_port == 53));
    for (const char* bad : {"", "tcp", "tcp::80", "tcp::80-", "tcp::80-:0", "icmp::1-:2", "tcp:x:1-:2", "tcp::99999-:2"}) {
        CHECK_FALSE(user_net::parse_forward(bad).ok());
    }
    CHECK(parse_mac("52:54:00:12:34:56").ok());
    for (const char* bad : {"52:54:00:12:34", "52-54-00-12-34-56", "53:54:00:12:34:56", "gg:54:00:12:34:56"}) {
        CHECK_FALSE(parse_mac(bad).ok());
    }
}

TEST_CASE("virtio-rng: small and large requests, none without room") {
    Bench b;
    b.use(create_rng(b.memory, "test-rng"));
    b.start(0);
    b.offer(0, {{kBuffer, 64, true}});
    CHECK(b.wait_used(0) == 64);
    CHECK(b.get<std::array<u8, 64>>(kBuffer) != std::array<u8, 64>{});
    b.offer(0, {{kBuffer, 1 << 20, true}, {kBuffer + (2 << 20), 1 << 20, true}});
    CHECK(b.wait_used(0) == 1 << 20);
    b.device->drain();
    b.offer(0, {{kBuffer, 64, false}});
    b.device->drain();
    CHECK(b.broken());
}
