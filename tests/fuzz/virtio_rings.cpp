// Guest bytes as rings, descriptors and bells of every kind of device over both transports: whatever a driver does, the host
// goes on.
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <span>

#include "base/log.h"
#include "devices/pci/root.h"
#include "devices/virtio/balloon.h"
#include "devices/virtio/block.h"
#include "devices/virtio/console.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/net.h"
#include "devices/virtio/pci_transport.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/vsock.h"
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

// Every port is served; what is sent comes to nobody.
class Nobody final : public VsockHost {
public:
    [[nodiscard]] int listener() const override { return -1; }
    Fd accept() override { return {}; }
    Fd dial(u32 port) override {
        std::array<int, 2> ends{};
        if (port % 2 != 0 || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0)
            return {};
        other_ends_.emplace_back(ends[1]);
        if (other_ends_.size() > 8) other_ends_.pop_front();
        (void)!::write(ends[1], "greetings", 9);
        return Fd(ends[0]);
    }

private:
    std::deque<Fd> other_ends_;
};

std::unique_ptr<VirtioDevice> make(u8 kind, GuestMemory& memory) {
    switch (kind % 6) {
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
        case 3: return create_rng(memory, "rng");
        case 5: {
            auto made = create_vsock(memory, std::make_unique<Nobody>(), {.name = "vsock"});
            return std::move(made).value();
        }
        default: return create_balloon(memory, {"balloon", true, true});
    }
}

// Where a driver finds registers and bells.
class Bus {
public:
    virtual ~Bus() = default;
    // Gets as far as DRIVER_OK, so that most runs reach the rings.
    virtual void start(u64 features, u16 queues) = 0;
    virtual void ring(u16 queue) = 0;
    virtual void poke(Input& in) = 0;
    virtual void peek(Input& in) = 0;
    virtual VirtioDevice& device() = 0;
    virtual Device& stateful() = 0;
};

constexpr u64 rings_of(u16 queue) { return 0x1000u + queue * 0x1000u; }
constexpr u64 kAvailable = 0x400, kUsed = 0x800;
constexpr u16 kQueueSize = 16;

class MmioBus final : public Bus {
public:
    explicit MmioBus(std::unique_ptr<VirtioDevice> device) : m_(std::move(device), IrqLine()) {}
    void start(u64 features, u16 queues) override {
        m_.io_write(0x70, 3, 4);
        for (u32 half = 0; half < 2; ++half) {
            m_.io_write(0x24, half, 4);
            m_.io_write(0x20, static_cast<u32>(features >> (32 * half)), 4);
        }
        m_.io_write(0x70, 11, 4);
        for (u16 q = 0; q < queues; ++q) {
            m_.io_write(0x30, q, 4);
            m_.io_write(0x38, kQueueSize, 4);
            m_.io_write(0x80, rings_of(q), 4);
            m_.io_write(0x90, rings_of(q) + kAvailable, 4);
            m_.io_write(0xa0, rings_of(q) + kUsed, 4);
            m_.io_write(0x44, 1, 4);
        }
        m_.io_write(0x70, 15, 4);
    }
    void ring(u16 queue) override { m_.io_write(0x50, queue, 4); }
    void poke(Input& in) override { m_.io_write(in.byte() * 4u, in.word(), 4); }
    void peek(Input& in) override { (void)m_.io_read(in.byte() * 4u, 4); }
    VirtioDevice& device() override { return m_.device(); }
    Device& stateful() override { return m_; }

private:
    VirtioMmio m_;
};

class NoInterrupts final : public MsiSink {
public:
    void send_msi(u64, u32, u16) override {}
};

class PciBus final : public Bus {
public:
    explicit PciBus(std::unique_ptr<VirtioDevice> device) : function_(std::move(device), kRngClass) {
        if (!root_.set_ecam(kEcam, 1 << 20).ok() || !root_.attach(1, 0, function_).ok()) __builtin_trap();
        if (!root_.assign_resources({0xc0000000, 1 << 24}, {u64{1} << 40, 1 << 24}, {0x1000, 0x1000}).ok()) __builtin_trap();
        mmio_.write(kFunction + 4, 6, 2);  // memory space, bus master
    }
    void start(u64 features, u16 queues) override {
        write(0x14, 3, 1);
        for (u32 half = 0; half < 2; ++half) {
            write(0x08, half, 4);
            write(0x0c, static_cast<u32>(features >> (32 * half)), 4);
        }
        write(0x14, 11, 1);
        for (u16 q = 0; q < queues; ++q) {
            write(0x16, q, 2);
            write(0x18, kQueueSize, 2);
            write(0x1a, q, 2);
            write(0x20, rings_of(q), 4);
            write(0x28, rings_of(q) + kAvailable, 4);
            write(0x30, rings_of(q) + kUsed, 4);
            write(0x1c, 1, 2);
        }
        write(0x14, 15, 1);
    }
    void ring(u16 queue) override { write(kBells + queue * 4u, queue, 2); }
    void poke(Input& in) override {
        const u8 where = in.byte();
        const unsigned width = 1u << where % 3;
        if (where >= 0xc0)
            (void)mmio_.write(kFunction + in.byte(), in.word(), width);
        else
            write((where / 32) * 0x1000u + in.byte(), in.word(), width);
    }
    void peek(Input& in) override {
        const u8 where = in.byte();
        if (const auto at = function_.bar_address(kBar))
            (void)mmio_.read(*at + (where / 32) * 0x1000u + in.byte(), 1u << where % 3);
    }
    VirtioDevice& device() override { return function_.device(); }
    Device& stateful() override { return function_; }

private:
    static constexpr u64 kEcam = 0xb0000000, kFunction = kEcam + (1 << 15);
    static constexpr u64 kBells = 0x3000;
    static constexpr unsigned kBar = 4;
    void write(u64 offset, u64 value, unsigned size) {
        if (const auto at = function_.bar_address(kBar)) mmio_.write(*at + offset, value, size);
    }

    AddressSpace mmio_{"memory"}, io_{"io"};
    NoInterrupts msi_;
    VirtioPci function_;
    pci::PcieRoot root_{{&mmio_, &io_, &msi_, {}}};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    log::set_level(log::Level::Error);
    Input in({data, size});
    GuestMemory memory;
    if (!memory.add("ram", 0, kRam).ok()) return 0;
    const u8 kind = in.byte();
    auto device = make(kind, memory);
    const u64 offered = device->offered_features();
    const auto queues = static_cast<u16>(std::min<unsigned>(device->queue_count(), 4));
    std::unique_ptr<Bus> bus;
    if (kind < 0x80) {
        bus = std::make_unique<MmioBus>(std::move(device));
    } else {
        bus = std::make_unique<PciBus>(std::move(device));
    }
    const u64 mask = in.word() | u64{1} << 32;
    bus->start(offered & mask, queues);
    while (!in.at_end()) {
        const u8 action = in.byte();
        switch (action % 8) {
            case 0: bus->poke(in); break;
            case 1: bus->peek(in); break;
            case 2: bus->device().drain(); break;
            case 3: {
                // Memory, mostly where the rings are.
                const std::vector<u8> bytes = in.bytes(in.byte());
                const u64 at = (0x1000u + in.word() % 0x5000u) & ~u64{3};
                if (!bytes.empty()) (void)memory.write(at, bytes.data(), bytes.size());
                break;
            }
            default: {
                // One descriptor, available, rung.
                const auto number = static_cast<u16>((action >> 3) % queues);
                const u64 queue = rings_of(number);
                const u16 index = in.byte() % kQueueSize;
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
                (void)memory.read(queue + kAvailable + 2, &available, 2);
                (void)memory.write(queue + kAvailable + 4 + 2u * (available % kQueueSize), &index, 2);
                ++available;
                (void)memory.write(queue + kAvailable + 2, &available, 2);
                bus->ring(number);
            }
        }
    }
    bus->device().drain();
    Device& stateful = bus->stateful();
    stateful.machine_stopped();
    if (const auto restored = stateful.restore(stateful.save()); !restored) {
        std::fprintf(stderr, "its own state is refused: %s\n", restored.error().message.c_str());
        __builtin_trap();
    }
    stateful.machine_continues();
    stateful.reset();
    return 0;
}
