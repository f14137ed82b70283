#include <random>

#include "driver.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::virtio;
using namespace tandem::devices::virtio::test;

namespace {
enum : u32 { In = 0, Out = 1, Flush = 4, GetId = 8, Discard = 11, WriteZeroes = 13 };
constexpr u8 kOk = 0, kIoError = 1, kUnsupported = 2, kNeedsReset = 64;
}  // namespace

TEST_CASE("virtio-pci: identity and capabilities") {
    Machine m;
    CHECK(m.device->config_read(0, 4) == 0x10421af4);
    CHECK(m.device->config_read(8, 1) == 1);
    unsigned seen = 0;
    for (u32 at = m.device->config_read(0x34, 1); at != 0; at = m.device->config_read(static_cast<u16>(at + 1), 1)) {
        if (m.device->config_read(static_cast<u16>(at), 1) != 9) continue;
        const u32 type = m.device->config_read(static_cast<u16>(at + 3), 1);
        seen |= 1u << type;
        if (type != 5) CHECK(m.device->config_read(static_cast<u16>(at + 4), 1) == 4);
        if (type == 2) CHECK(m.device->config_read(static_cast<u16>(at + 16), 4) == 4);
    }
    CHECK(seen == 0x3e);
}

TEST_CASE("virtio: feature negotiation") {
    Machine m;
    const u64 offered = m.offered();
    CHECK((offered & kVersion1) != 0);
    CHECK((offered & (1u << 9)) != 0);
    m.common_write(0x14, 3, 1);
    m.accept(offered & ~kVersion1);
    m.common_write(0x14, 11, 1);
    CHECK((m.status() & 8) == 0);
    m.common_write(0x14, 0, 1);
    m.common_write(0x14, 3, 1);
    m.accept(kVersion1 | 1u << 5);
    m.common_write(0x14, 11, 1);
    CHECK((m.status() & 8) == 0);
    m.common_write(0x14, 0, 1);
    m.start(offered);
    CHECK(m.status() == 15);
    m.common_write(0x14, 0, 1);
    CHECK(m.status() == 0);
    m.common_write(0x16, 0, 2);
    CHECK(m.common(0x1c, 2) == 0);
    CHECK(m.common(0x18, 2) == 512);
    m.common_write(0x16, 5, 2);
    CHECK(m.common(0x18, 2) == 0);
}

TEST_CASE("virtio-blk: configuration") {
    Machine m(false, 4);
    CHECK(m.config(0, 8) == (1 << 20) / 512);
    CHECK(m.config(12, 4) == 510);
    CHECK(m.config(20, 4) == 512);
    CHECK(m.config(34, 2) == 4);
    CHECK(m.common(0x12, 2) == 4);
    CHECK(m.config(0x100 - 4, 4) == 0);
    CHECK((m.offered() & (1u << 12)) != 0);
    Machine r(true);
    CHECK((r.offered() & (1u << 5)) != 0);
    CHECK((r.offered() & (1u << 13)) == 0);
}

TEST_CASE("virtio-blk: read, write, flush, identity, unknown type") {
    Machine m;
    m.start(kVersion1 | 1u << 9);
    CHECK(m.request(In, 3, kData, 1024, true) == kOk);
    CHECK(m.last_length == 1025);
    CHECK(m.get<u8>(kData + 5) == m.disk->bytes[3 * 512 + 5]);
    CHECK(m.get<u8>(kData + 1023) == m.disk->bytes[3 * 512 + 1023]);
    for (u32 i = 0; i < 512; ++i) m.put<u8>(kData + i, static_cast<u8>(255 - i));
    CHECK(m.request(Out, 7, kData, 512, false) == kOk);
    CHECK(m.last_length == 1);
    CHECK(m.disk->bytes[7 * 512 + 2] == 253);
    CHECK(m.disk->flushes == 0);
    CHECK(m.request(Flush, 0, 0, 0, true) == kOk);
    CHECK(m.disk->flushes == 1);
    CHECK(m.request(GetId, 0, kData, 20, true) == kOk);
    CHECK(m.get<std::array<char, 12>>(kData) == std::array<char, 12>{"TEST-SERIAL"});
    CHECK(m.request(99, 0, kData, 512, true) == kUnsupported);
    CHECK(m.status() == 15);
}

TEST_CASE("virtio-blk: a read of what is at hand has ended when the bell has been rung; others wait for a thread") {
    Machine m;
    m.start(kVersion1 | 1u << 9);
    m.disk->at_hand = true;
    m.disk->hold = true;  // a thread would wait for ever
    CHECK(m.request(In, 3, kData, 1024, true) == kOk);
    CHECK(m.last_length == 1025);
    CHECK(m.get<u8>(kData + 1023) == m.disk->bytes[3 * 512 + 1023]);
    CHECK(m.get<u8>(kData + 600) == m.disk->bytes[3 * 512 + 600]);
    m.disk->hold = false;
    CHECK(m.request(In, 2047, kData, 1024, true) == kIoError);
    CHECK(m.request(In, 0, kData, 100, true) == kIoError);
    CHECK(m.request(Out, 7, kData, 512, false) == kOk);
    CHECK(m.request(Flush, 0, 0, 0, true) == kOk);
    m.disk->at_hand = false;
    m.put<u8>(kData + 5, 0);
    CHECK(m.request(In, 9, kData, 512, true) == kOk);
    CHECK(m.get<u8>(kData + 5) == m.disk->bytes[9 * 512 + 5]);
}

TEST_CASE("virtio-blk: without the flush feature, or in write-through mode, a completed write is stable") {
    Machine m;
    m.start(kVersion1);
    CHECK(m.request(Out, 0, kData, 512, false) == kOk);
    CHECK(m.disk->flushes == 1);
    m.start(kVersion1 | 1u << 9 | 1u << 11);
    CHECK(m.config(32, 1) == 1);
    CHECK(m.request(Out, 0, kData, 512, false) == kOk);
    CHECK(m.disk->flushes == 1);
    m.mmio.write(kBar + 0x2000 + 32, 0, 1);
    CHECK(m.config(32, 1) == 0);
    CHECK(m.request(Out, 0, kData, 512, false) == kOk);
    CHECK(m.disk->flushes == 2);
}

TEST_CASE("virtio-blk: range errors and host errors are the request's, not the device's") {
    Machine m;
    m.start(kVersion1 | 1u << 9);
    CHECK(m.request(In, 2047, kData, 1024, true) == kIoError);
    CHECK(m.request(In, ~u64{0}, kData, 512, true) == kIoError);
    CHECK(m.request(In, 0, kData, 100, true) == kIoError);
    m.disk->fail = true;
    CHECK(m.request(In, 0, kData, 512, true) == kIoError);
    CHECK(m.request(Out, 0, kData, 512, false) == kIoError);
    m.disk->fail = false;
    CHECK(m.request(In, 0, kData, 512, true) == kOk);
    Machine r(true);
    r.start(kVersion1);
    CHECK(r.request(Out, 0, kData, 512, false) == kIoError);
}

TEST_CASE("virtio-blk: discard and write zeroes") {
    struct Range {
        u64 sector;
        u32 sectors, flags;
    };
    Machine m;
    m.start(kVersion1 | 1u << 13 | 1u << 14);
    m.put(kData, Range{4, 2, 1});
    CHECK(m.request(WriteZeroes, 0, kData, 16, false) == kOk);
    CHECK(m.disk->bytes[4 * 512 + 9] == 0);
    CHECK(m.disk->bytes[6 * 512 + 1] != 0);
    m.put(kData, Range{4, 2, 0});
    CHECK(m.request(Discard, 0, kData, 16, false) == kOk);
    CHECK(m.disk->discards == 1);
    m.put(kData, Range{4, 2, 1});
    CHECK(m.request(Discard, 0, kData, 16, false) == kUnsupported);
    m.put(kData, Range{2047, 2, 0});
    CHECK(m.request(Discard, 0, kData, 16, false) == kIoError);
    CHECK(m.request(Discard, 0, kData, 15, false) == kIoError);
}

TEST_CASE("virtio: indirect tables, and buffers that split sectors") {
    Machine m;
    m.start(kVersion1 | kIndirectFeature);
    m.header(In, 1);
    // The sector goes to three pieces; the header and the status lie across descriptors too.
    const std::array<Descriptor, 6> table{{{kHeader, 4, kNext, 1},
                                           {kHeader + 4, 12, kNext, 2},
                                           {kData, 100, kNext | kWrite, 3},
                                           {kData + 0x1000, 300, kNext | kWrite, 4},
                                           {kData + 0x2000, 112, kNext | kWrite, 5},
                                           {kStatus, 1, kWrite, 0}}};
    m.put(kIndirectTable, table);
    m.descriptor(0, kIndirectTable, sizeof(table), kIndirect, 0);
    m.offer(0);
    m.notify(0);
    CHECK(m.wait_used() == 513);
    CHECK(m.get<u8>(kStatus) == kOk);
    CHECK(m.get<u8>(kData + 99) == m.disk->bytes[512 + 99]);
    CHECK(m.get<u8>(kData + 0x1000) == m.disk->bytes[512 + 100]);
    CHECK(m.get<u8>(kData + 0x2000 + 111) == m.disk->bytes[1023]);
}

TEST_CASE("virtio: MSI-X vectors, INTx with ISR, and suppressed interrupts") {
    Machine m;
    m.start(kVersion1);
    CHECK(m.request(In, 0, kData, 512, true) == kOk);
    m.settle();
    CHECK(m.intx);
    CHECK(m.isr() == 1);
    CHECK_FALSE(m.intx);
    CHECK(m.isr() == 0);
    m.put16(kAvailable, 1);
    CHECK(m.request(In, 0, kData, 512, true) == kOk);
    m.settle();
    CHECK_FALSE(m.intx);
    m.put16(kAvailable, 0);

    for (unsigned v = 0; v < 2; ++v) {
        m.mmio.write(kMsixBar + 16 * v, 0xfee00000, 4);
        m.mmio.write(kMsixBar + 16 * v + 8, v + 1, 4);
        m.mmio.write(kMsixBar + 16 * v + 12, 0, 4);
    }
    // MSI-X is the first capability.
    m.device->config_write(static_cast<u16>(m.device->config_read(0x34, 1) + 2), 0x8000, 2);
    CHECK(m.request(In, 0, kData, 512, true) == kOk);
    m.settle();
    CHECK(m.msi.counts[1] + m.msi.counts[2] == 0);
    m.common_write(0x10, 0, 2);
    m.common_write(0x16, 0, 2);
    m.common_write(0x1a, 1, 2);
    CHECK(m.common(0x1a, 2) == 1);
    CHECK(m.request(In, 0, kData, 512, true) == kOk);
    m.settle();
    CHECK(m.msi.counts[2] == 1);
    m.common_write(0x1a, 9, 2);
    CHECK(m.common(0x1a, 2) == 0xffff);
    // A broken ring tells the driver through the configuration vector.
    m.put16(kAvailable + 2, static_cast<u16>(m.available + 100));
    m.notify(0);
    m.settle();
    CHECK((m.status() & kNeedsReset) != 0);
    CHECK(m.msi.counts[1] == 1);
}

TEST_CASE("virtio: event index asks for and gives interrupts where wanted") {
    Machine m;
    m.start(kVersion1 | kEventIndexFeature);
    const u64 used_event = kAvailable + 4 + 2u * m.queue_size, avail_event = kUsed + 4 + 8u * m.queue_size;
    m.put16(used_event, 1);
    CHECK(m.request(In, 0, kData, 512, true) == kOk);
    m.settle();
    CHECK(m.isr() == 0);
    CHECK(m.get<u16>(avail_event) == 1);
    CHECK(m.request(In, 0, kData, 512, true) == kOk);
    m.settle();
    CHECK(m.isr() == 1);
    CHECK(m.get<u16>(avail_event) == 2);
}

TEST_CASE("virtio: an engine rings the queues' bells by events", "[T4]") {
    Machine m(false, 2);
    m.start(kVersion1);
    const auto offer = [&](u64 sector) {
        m.header(In, sector);
        m.descriptor(0, kHeader, 16, kNext, 1);
        m.descriptor(1, kData, 512, kNext | kWrite, 2);
        m.descriptor(2, kStatus, 1, kWrite, 0);
        m.offer(0);
    };
    CHECK_FALSE(m.ring(0));
    const Ringer engine(m);
    CHECK(m.events.size() == 2);
    for (u64 sector = 0; sector < 20; ++sector) {
        offer(sector);
        REQUIRE(m.ring(0));
        CHECK(m.wait_used() == 513);
        CHECK(m.get<u8>(kStatus) == kOk);
        CHECK(m.get<u8>(kData) == m.disk->bytes[sector * 512]);
    }
    // The BAR goes elsewhere, and its bells with it; without memory decoding there are none.
    constexpr u64 kElsewhere = 0xd0800000;
    m.device->config_write(4, 4, 2);
    CHECK(m.events.empty());
    m.device->config_write(0x20, static_cast<u32>(kElsewhere), 4);
    m.device->config_write(4, 6, 2);
    CHECK(m.events.size() == 2);
    CHECK(m.events.contains(kElsewhere + 0x3000));
    m.device->config_write(0x20, static_cast<u32>(kBar), 4);
    // A bell that is rung while the machine is stopped, or for a device that was reset, does nothing then and loses nothing.
    m.device->machine_stopped();
    offer(3);
    REQUIRE(m.ring(0));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(m.get<u16>(kUsed + 2) == m.used_seen);
    m.device->machine_continues();
    CHECK(m.wait_used() == 513);
    m.device->reset();
    m.device->config_write(0x20, static_cast<u32>(kBar), 4);
    m.device->config_write(4, 6, 2);
    REQUIRE(m.ring(0));
    REQUIRE(m.ring(1));
    m.start(kVersion1);
    offer(4);
    REQUIRE(m.ring(0));
    CHECK(m.wait_used() == 513);
}

TEST_CASE("virtio: a reset waits for the request in flight, without blocking the driver") {
    Machine m;
    m.start(kVersion1);
    m.disk->hold = true;
    m.submit(In, 0, kData, 512, true);
    // Until the worker has taken the request a reset may still be immediate; both are right, so only the end is checked.
    m.common_write(0x14, 0, 1);
    m.disk->hold = false;
    m.settle();
    CHECK(m.status() == 0);
    CHECK(m.common(0x1c, 2) == 0);
    m.start(kVersion1);
    CHECK(m.request(In, 0, kData, 512, true) == kOk);
}

TEST_CASE("virtio: the BAR is reachable through configuration space") {
    Machine m;
    u16 cap = 0;
    for (u32 at = m.device->config_read(0x34, 1); at != 0; at = m.device->config_read(static_cast<u16>(at + 1), 1)) {
        if (m.device->config_read(static_cast<u16>(at), 1) == 9 && m.device->config_read(static_cast<u16>(at + 3), 1) == 5) {
            cap = static_cast<u16>(at);
        }
    }
    REQUIRE(cap != 0);
    const auto select = [&](u32 offset, u32 size) {
        m.device->config_write(static_cast<u16>(cap + 4), 4, 1);
        m.device->config_write(static_cast<u16>(cap + 8), offset, 4);
        m.device->config_write(static_cast<u16>(cap + 12), size, 4);
    };
    select(0x14, 1);
    m.device->config_write(static_cast<u16>(cap + 16), 1, 1);
    CHECK(m.status() == 1);
    CHECK(m.device->config_read(static_cast<u16>(cap + 16), 1) == 1);
    select(0x13, 4);
    (void)m.device->config_read(static_cast<u16>(cap + 16), 4);
    select(0xfffffff0, 4);
    (void)m.device->config_read(static_cast<u16>(cap + 16), 4);
    CHECK(m.status() == 1);
}

TEST_CASE("virtio: malformed rings break the device until it is reset") {
    Machine m;
    using Damage = void (*)(Machine&);
    const std::pair<const char*, Damage> kDamages[] = {
        {"loop", [](Machine& t) { t.descriptor(2, kStatus, 1, kWrite | kNext, 2); }},
        {"next out of range", [](Machine& t) { t.descriptor(1, kData, 512, kWrite | kNext, 64); }},
        {"address outside memory", [](Machine& t) { t.descriptor(1, kRam - 100, 512, kWrite | kNext, 2); }},
        {"address wraps", [](Machine& t) { t.descriptor(1, ~u64{0} - 10, 512, kWrite | kNext, 2); }},
        {"zero length", [](Machine& t) { t.descriptor(1, kData, 0, kWrite | kNext, 2); }},
        {"readable after writable", [](Machine& t) { t.descriptor(2, kStatus, 1, 0, 0); }},
        {"write into ROM", [](Machine& t) { t.descriptor(1, 0x10000000, 512, kWrite | kNext, 2); }},
        {"indirect not offered", [](Machine& t) { t.descriptor(1, kIndirectTable, 16, kIndirect, 0); }},
        {"short header", [](Machine& t) { t.descriptor(0, kHeader, 15, kNext, 1); }},
        {"no status", [](Machine& t) { t.descriptor(0, kHeader, 16, 0, 0); }},
        {"head out of range", [](Machine& t) { t.put16(kAvailable + 4, 64); }},
    };
    for (const auto& [name, damage] : kDamages) {
        INFO(name);
        m.start(kVersion1);
        m.header(In, 0);
        m.descriptor(0, kHeader, 16, kNext, 1);
        m.descriptor(1, kData, 512, kNext | kWrite, 2);
        m.descriptor(2, kStatus, 1, kWrite, 0);
        m.offer(0);
        damage(m);
        m.notify(0);
        m.settle();
        CHECK((m.status() & kNeedsReset) != 0);
        CHECK(m.get<u16>(kUsed + 2) == 0);
        m.notify(0);
        m.settle();
        m.common_write(0x14, 0, 1);
        CHECK(m.status() == 0);
    }
    m.start(kVersion1);
    CHECK(m.request(In, 0, kData, 512, true) == kOk);
}

TEST_CASE("virtio: bad queue registers break the device") {
    const auto with = [](u64 size, u64 descriptors, u64 driver, u64 used) {
        Machine m;
        m.common_write(0x14, 3, 1);
        m.accept(kVersion1);
        m.common_write(0x14, 11, 1);
        m.common_write(0x16, 0, 2);
        m.common_write(0x18, size, 2);
        m.common_write(0x20, descriptors, 8);
        m.common_write(0x28, driver, 8);
        m.common_write(0x30, used, 8);
        m.common_write(0x1c, 1, 2);
        return (m.status() & kNeedsReset) != 0;
    };
    CHECK_FALSE(with(64, kDescriptors, kAvailable, kUsed));
    CHECK(with(0, kDescriptors, kAvailable, kUsed));
    CHECK(with(48, kDescriptors, kAvailable, kUsed));
    CHECK(with(1024, kDescriptors, kAvailable, kUsed));
    CHECK(with(64, kDescriptors + 8, kAvailable, kUsed));
    CHECK(with(64, kRam - 16, kAvailable, kUsed));
    CHECK(with(64, kDescriptors, ~u64{1}, kUsed));
    CHECK(with(64, kDescriptors, kAvailable, 0x10000000));
}

TEST_CASE("virtio: saved in the middle of work, restored elsewhere, goes on") {
    Machine m;
    m.start(kVersion1 | kEventIndexFeature | 1u << 9);
    CHECK(m.request(In, 0, kData, 512, true) == kOk);
    const DeviceState saved = m.device->save();
    Machine n;
    std::vector<u8> ram(kRam);
    REQUIRE(m.memory.read(0, ram.data(), ram.size()));
    REQUIRE(n.memory.write(0, ram.data(), ram.size()));
    n.available = m.available;
    n.used_seen = m.used_seen;
    // A request that the first machine never saw waits in the ring.
    n.header(In, 5);
    n.put<u8>(kStatus, 0xff);
    n.offer(0);
    REQUIRE(n.device->restore(saved).ok());
    CHECK(n.wait_used() == 513);
    CHECK(n.get<u8>(kStatus) == kOk);
    CHECK(n.get<u8>(kData) == n.disk->bytes[5 * 512]);
    CHECK(n.status() == 15);

    DeviceState bad = saved;
    bad.fields["device"]["queues"][0]["size"] = 3;
    CHECK_FALSE(n.device->restore(bad).ok());
    bad = saved;
    bad.fields["device"]["queues"] = nlohmann::json::array();
    CHECK(n.device->restore(bad).error().code == Errc::Corrupt);
}

TEST_CASE("virtio: saved while a driver asks for features that are not offered") {
    Machine m, n;
    m.common_write(0x14, 3, 1);
    m.accept(kVersion1 | 1u << 5);
    DeviceState saved = m.device->save();
    REQUIRE(n.device->restore(saved).ok());
    n.common_write(0x14, 11, 1);
    CHECK(n.status() == 3);  // as without the detour
    // What the driver did not ask for then it cannot have got.
    saved.fields["device"]["status"] = 11;
    CHECK(n.device->restore(saved).error().code == Errc::Corrupt);
}

TEST_CASE("virtio-blk: properties out of range are refused") {
    GuestMemory memory;
    const auto create = [&](const BlockOptions& o) {
        return create_block(memory, std::make_unique<MemoryDisk>(1 << 20, false), o).ok();
    };
    CHECK(create({"d", std::string(20, 'x'), 1, 512}));
    CHECK_FALSE(create({"d", std::string(21, 'x'), 1, 512}));
    CHECK_FALSE(create({"d", "", 0, 512}));
    CHECK_FALSE(create({"d", "", 17, 512}));
    CHECK_FALSE(create({"d", "", 1, 1024}));
}

TEST_CASE("virtio: random rings neither crash nor hang nor touch other memory") {
    Machine m;
    std::mt19937_64 random(20261121);
    const auto pick = [&](u64 n) { return random() % n; };
    unsigned served = 0, broken = 0;
    for (unsigned round = 0; round < 400; ++round) {
        m.start(kVersion1 | (pick(2) != 0 ? kIndirectFeature : 0) | (pick(2) != 0 ? kEventIndexFeature : 0));
        const u64 places[] = {kHeader, kStatus, kData, kData + 511, kIndirectTable, kRam - 64, 0x10000000, random()};
        const auto any = [&](bool wild) {
            const u16 flags = static_cast<u16>(wild ? pick(8) : pick(4));
            return Descriptor{places[pick(wild ? 8 : 3)],
                              static_cast<u32>(pick(8) == 0 ? pick(1u << 20) : pick(3) * 512 + 16), flags,
                              static_cast<u16>(pick(wild ? 70 : 8))};
        };
        const bool wild = pick(2) != 0;
        for (unsigned i = 0; i < 64; ++i) m.put(kDescriptors + 16u * i, any(wild));
        for (unsigned i = 0; i < 64; ++i) m.put(kIndirectTable + 16u * i, any(wild));
        m.header(static_cast<u32>(pick(14)), pick(2100));
        // A well-formed one among them now and then.
        if (pick(2) != 0) {
            m.descriptor(0, kHeader, 16, kNext, 1);
            m.descriptor(1, kData, 512, static_cast<u16>(kNext | (pick(2) != 0 ? kWrite : 0)), 2);
            m.descriptor(2, kStatus, 1, kWrite, 0);
        }
        const u64 count = 1 + pick(4);
        for (u64 i = 0; i < count; ++i) m.offer(static_cast<u16>(pick(3) == 0 ? pick(70) : 0));
        m.notify(0);
        m.settle();
        const u16 used = m.get<u16>(kUsed + 2);
        CHECK(used <= count);
        served += used;
        broken += (m.status() & kNeedsReset) != 0;
        if ((m.status() & kNeedsReset) == 0) CHECK(used == count);
    }
    CHECK(served > 50);
    CHECK(broken > 50);
}
