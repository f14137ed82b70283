// Guest bytes as rings, descriptors and bells: whatever a driver does, the host goes on.
#include <cstring>
#include <deque>
#include <memory>
#include <span>

#include "base/log.h"
#include "devices/virtio/block.h"
#include "devices/virtio/console.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "tests/fuzz/input.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::virtio;
using tandem::fuzz::Input;

namespace {

constexpr u64 kRam = 64 << 10;

class Disk final : public BlockBackend {
public:
    u64 size_bytes() const override { return bytes_.size(); }
    bool readonly() const override { return false; }
    Result<void> read(u64 offset, std::span<u8> out) override {
        if (offset > bytes_.size() || out.size() > bytes_.size() - offset) __builtin_trap();
        std::memcpy(out.data(), bytes_.data() + offset, out.size());
        return {};
    }
    Result<void> write(u64 offset, std::span<const u8> in) override {
        if (offset > bytes_.size() || in.size() > bytes_.size() - offset) __builtin_trap();
        std::memcpy(bytes_.data() + offset, in.data(), in.size());
        return {};
    }
    Result<void> flush() override { return {}; }
    Result<void> write_zeroes(u64, u64, bool) override { return {}; }
    Result<void> discard(u64, u64) override { return {}; }

private:
    std::vector<u8> bytes_ = std::vector<u8>(64 << 10);
};

// Gives back what it is sent.
class Echo final : public NetBackend {
public:
    bool takes_unfinished() const override { return true; }
    bool gives_unfinished() const override { return true; }
    void set_offloads(const Offloads&) override {}
    void send(const FrameHeader& header, std::span<const u8> frame) override {
        if (frames_.size() < 64) frames_.emplace_back(header, std::vector<u8>(frame.begin(), frame.end()));
    }
    void watch(std::vector<pollfd>&, int&, bool) override {}
    void serve(std::span<const pollfd>, const Receiver& receiver) override {
        for (; !frames_.empty(); frames_.pop_front()) receiver(frames_.front().first, frames_.front().second);
    }

private:
    std::deque<std::pair<FrameHeader, std::vector<u8>>> frames_;
};

std::unique_ptr<VirtioDevice> make(u8 kind, GuestMemory& memory) {
    switch (kind % 4) {
        case 0: {
            auto made = create_block(memory, std::make_unique<Disk>(), {.name = "blk", .serial = {}});
            return std::move(made).value();
        }
        case 1: {
            NetOptions options;
            options.name = "net";
            auto made = create_net(memory, std::make_unique<Echo>(), options);
            return std::move(made).value();
        }
        case 2: return create_serial_bus(memory, "serial", 2);
        default: return create_rng(memory, "rng");
    }
}

// A driver that gets as far as DRIVER_OK, so that most runs reach the rings.
void start(VirtioMmio& m, u64 features, u16 queues) {
    m.io_write(0x70, 3, 4);
    for (u32 half = 0; half < 2; ++half) {
        m.io_write(0x24, half, 4);
        m.io_write(0x20, static_cast<u32>(features >> (32 * half)), 4);
    }
    m.io_write(0x70, 11, 4);
    for (u16 q = 0; q < queues; ++q) {
        m.io_write(0x30, q, 4);
        m.io_write(0x38, 16, 4);
        m.io_write(0x80, 0x1000u + q * 0x1000u, 4);
        m.io_write(0x90, 0x1400u + q * 0x1000u, 4);
        m.io_write(0xa0, 0x1800u + q * 0x1000u, 4);
        m.io_write(0x44, 1, 4);
    }
    m.io_write(0x70, 15, 4);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    log::set_level(log::Level::Error);
    Input in({data, size});
    GuestMemory memory;
    if (!memory.add("ram", 0, kRam).ok()) return 0;
    auto device = make(in.byte(), memory);
    const u64 offered = device->offered_features();
    const auto queues = static_cast<u16>(std::min<unsigned>(device->queue_count(), 4));
    VirtioMmio m(std::move(device), IrqLine());
    const u64 mask = in.word() | u64{1} << 32;
    start(m, offered & mask, queues);
    while (!in.at_end()) {
        const u8 action = in.byte();
        switch (action % 8) {
            case 0: m.io_write(in.byte() * 4u, in.word(), 4); break;
            case 1: (void)m.io_read(in.byte() * 4u, 4); break;
            case 2: m.device().drain(); break;
            case 3: {
                // Memory, mostly where the rings are.
                const std::vector<u8> bytes = in.bytes(in.byte());
                const u64 at = (0x1000u + in.word() % 0x5000u) & ~u64{3};
                if (!bytes.empty()) (void)memory.write(at, bytes.data(), bytes.size());
                break;
            }
            default: {
                // One descriptor, available, rung.
                const u64 queue = 0x1000u + (action >> 3) % queues * 0x1000u;
                const u16 index = in.byte() % 16;
                const u64 address = in.byte() * 0x101u;
                const u32 length = in.byte() % 4 == 0 ? static_cast<u32>(in.word()) : in.byte() * 8u;
                const u16 flags = in.byte() % 8;
                const u16 next = in.byte() % 20;
                (void)memory.write(queue + index * 16u, &address, 8);
                (void)memory.write(queue + index * 16u + 8, &length, 4);
                (void)memory.write(queue + index * 16u + 12, &flags, 2);
                (void)memory.write(queue + index * 16u + 14, &next, 2);
                if (action % 8 < 6) break;
                u16 available = 0;
                (void)memory.read(queue + 0x402, &available, 2);
                (void)memory.write(queue + 0x404 + 2u * (available % 16), &index, 2);
                ++available;
                (void)memory.write(queue + 0x402, &available, 2);
                m.io_write(0x50, (action >> 3) % queues, 4);
            }
        }
    }
    m.device().drain();
    const auto state = m.save();
    (void)m.restore(state);
    m.reset();
    return 0;
}
