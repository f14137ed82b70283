// A virtio-pci driver for tests: talks to the device through its BAR and rings as a guest would.
#pragma once

#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <thread>

#include "devices/pci/root.h"
#include "devices/virtio/block.h"
#include "devices/virtio/pci_transport.h"
#include "tests/patience.h"

namespace tandem::devices::virtio::test {

class MemoryDisk final : public BlockBackend {
public:
    MemoryDisk(u64 size, bool readonly_disk) : bytes(size), readonly_(readonly_disk) {
        for (u64 i = 0; i < size; ++i) bytes[i] = static_cast<u8>(i / 512 + i);
    }
    u64 size_bytes() const override { return bytes.size(); }
    bool readonly() const override { return readonly_; }
    Result<void> read(u64 offset, std::span<u8> out) override {
        wait();
        if (fail) return Error{Errc::Io, "broken disk"};
        std::copy_n(bytes.begin() + static_cast<i64>(offset), out.size(), out.begin());
        return {};
    }
    Result<void> write(u64 offset, std::span<const u8> in) override {
        wait();
        if (fail) return Error{Errc::Io, "broken disk"};
        std::copy(in.begin(), in.end(), bytes.begin() + static_cast<i64>(offset));
        return {};
    }
    bool read_at_hand(u64 offset, std::span<const iovec> parts) override {
        for (const iovec& p : parts) {
            if (!at_hand) return false;
            std::memcpy(p.iov_base, &bytes[offset], p.iov_len);
            offset += p.iov_len;
        }
        return true;
    }
    Result<void> flush() override {
        ++flushes;
        return {};
    }
    Result<void> write_zeroes(u64 offset, u64 size, bool) override {
        std::fill_n(bytes.begin() + static_cast<i64>(offset), size, u8{0});
        return {};
    }
    Result<void> discard(u64, u64) override {
        ++discards;
        return {};
    }
    void wait() {
        while (hold) std::this_thread::yield();
    }

    std::vector<u8> bytes;
    std::atomic<bool> hold{false};  // keeps transfers in flight
    std::atomic<bool> at_hand{false};
    std::atomic<bool> fail{false};
    std::atomic<unsigned> flushes{0}, discards{0};

private:
    bool readonly_;
};

class MsiCounter final : public MsiSink {
public:
    void send_msi(u64, u32 data, u16) override {
        if (data < counts.size()) ++counts[data];
    }
    std::array<std::atomic<unsigned>, 8> counts{};
};

struct Descriptor {
    u64 address;
    u32 length;
    u16 flags;
    u16 next;
};
constexpr u16 kNext = 1, kWrite = 2, kIndirect = 4;

constexpr u64 kBar = 0xd0000000, kMsixBar = 0xd0100000;
constexpr u64 kRam = 4 << 20;
// Guest memory of the test driver.
constexpr u64 kDescriptors = 0x1000, kAvailable = 0x3000, kUsed = 0x4000, kIndirectTable = 0x6000, kHeader = 0x8000,
              kStatus = 0x9000, kData = 0x10000;

struct Machine {
    GuestMemory memory;
    AddressSpace mmio{"memory"}, io{"io"};
    MsiCounter msi;
    bool intx = false;
    MemoryDisk* disk = nullptr;
    std::unique_ptr<pci::PcieRoot> root;
    std::unique_ptr<VirtioPci> device;
    u16 available = 0, used_seen = 0;
    u16 queue_size = 64;

    explicit Machine(bool readonly_disk = false, u16 queues = 1, const std::string& serial = "TEST-SERIAL") {
        REQUIRE(memory.add("ram", 0, kRam).ok());
        REQUIRE(memory.add("rom", 0x10000000, 0x10000, true).ok());
        auto owned = std::make_unique<MemoryDisk>(1 << 20, readonly_disk);
        disk = owned.get();
        auto block = create_block(memory, std::move(owned), {"test-disk", serial, queues, 512});
        REQUIRE(block.ok());
        device = std::make_unique<VirtioPci>(std::move(block).value(), kBlockClass);
        pci::PcieRoot::Wiring wiring{&mmio, &io, &msi, {}};
        for (auto& line : wiring.pirq) line = IrqLine([this](bool level) { intx = level; });
        root = std::make_unique<pci::PcieRoot>(std::move(wiring));
        REQUIRE(root->attach(1, 0, *device).ok());
        device->config_write(0x20, static_cast<u32>(kBar), 4);
        device->config_write(0x14, static_cast<u32>(kMsixBar), 4);
        device->config_write(4, 6, 2);
    }

    u64 common(unsigned offset, unsigned size) { return mmio.read(kBar + offset, size); }
    void common_write(unsigned offset, u64 value, unsigned size) { mmio.write(kBar + offset, value, size); }
    u8 status() { return static_cast<u8>(common(0x14, 1)); }
    u64 config(unsigned offset, unsigned size) { return mmio.read(kBar + 0x2000 + offset, size); }
    void notify(u16 queue) { mmio.write(kBar + 0x3000 + queue * 4u, queue, 2); }
    u8 isr() { return static_cast<u8>(mmio.read(kBar + 0x1000, 1)); }

    u64 offered() {
        common_write(0, 0, 4);
        const u64 low = common(4, 4);
        common_write(0, 1, 4);
        return low | common(4, 4) << 32;
    }
    void accept(u64 features) {
        common_write(8, 0, 4);
        common_write(12, features & 0xffffffff, 4);
        common_write(8, 1, 4);
        common_write(12, features >> 32, 4);
    }
    void set_up_queue(u16 queue = 0) {
        common_write(0x16, queue, 2);
        common_write(0x18, queue_size, 2);
        common_write(0x20, kDescriptors, 8);
        common_write(0x28, kAvailable, 8);
        common_write(0x30, kUsed, 8);
        common_write(0x1c, 1, 2);
    }
    void start(u64 features) {
        common_write(0x14, 0, 1);
        while (status() != 0) std::this_thread::yield();
        available = used_seen = 0;
        put16(kAvailable + 2, 0);
        put16(kUsed + 2, 0);
        common_write(0x14, 3, 1);
        accept(features);
        common_write(0x14, 11, 1);
        REQUIRE((status() & 8) != 0);
        set_up_queue();
        common_write(0x14, 15, 1);
    }

    template <class T>
    void put(u64 gpa, const T& value) {
        REQUIRE(memory.write(gpa, &value, sizeof(T)));
    }
    template <class T>
    T get(u64 gpa) {
        T value{};
        REQUIRE(memory.read(gpa, &value, sizeof(T)));
        return value;
    }
    void put16(u64 gpa, u16 value) { put<u16>(gpa, value); }
    void descriptor(u16 index, u64 address, u32 length, u16 flags, u16 next) {
        put(kDescriptors + index * 16u, Descriptor{address, length, flags, next});
    }
    void offer(u16 head) {
        put16(kAvailable + 4 + 2u * (available % queue_size), head);
        put16(kAvailable + 2, ++available);
    }
    void header(u32 type, u64 sector) {
        put(kHeader, type);
        put<u32>(kHeader + 4, 0);
        put(kHeader + 8, sector);
        put<u8>(kStatus, 0xff);
    }
    // header - data - status as three chained descriptors, offered and rung.
    void submit(u32 type, u64 sector, u64 data, u32 length, bool device_writes) {
        header(type, sector);
        const u16 w = device_writes ? kWrite : u16{0};
        descriptor(0, kHeader, 16, kNext, length == 0 ? 2 : 1);
        if (length != 0) descriptor(1, data, length, static_cast<u16>(w | kNext), 2);
        descriptor(2, kStatus, 1, kWrite, 0);
        offer(0);
        notify(0);
    }
    // Waits for the next used entry; its length.
    u32 wait_used() {
        const auto limit = std::chrono::steady_clock::now() + tests::kPatience;
        while (get<u16>(kUsed + 2) == used_seen) {
            REQUIRE(std::chrono::steady_clock::now() < limit);
            std::this_thread::yield();
        }
        std::atomic_thread_fence(std::memory_order_acquire);
        const u32 length = get<u32>(kUsed + 4 + 8u * (used_seen % queue_size) + 4);
        ++used_seen;
        return length;
    }
    u8 request(u32 type, u64 sector, u64 data, u32 length, bool device_writes) {
        submit(type, sector, data, length, device_writes);
        last_length = wait_used();
        return get<u8>(kStatus);
    }
    u32 last_length = 0;
    // As notify(), where an engine rings: by the queue's event. Empty without one.
    std::map<u64, int> events;
    bool ring(u16 queue) {
        const auto bell = events.find(kBar + 0x3000 + queue * 4u);
        const u64 one = 1;
        return bell != events.end() && ::write(bell->second, &one, sizeof one) == sizeof one;
    }
    // Everything that was rung has been looked at.
    void settle() { device->device().drain(); }
};

// An engine that rings doorbells.
class Ringer final : public DoorbellHost {
public:
    explicit Ringer(Machine& machine) : machine_(machine) { machine.mmio.set_doorbell_host(this); }
    ~Ringer() override { machine_.mmio.set_doorbell_host(nullptr); }
    Ringer(const Ringer&) = delete;
    Ringer& operator=(const Ringer&) = delete;
    Result<void> add_doorbell(Space, const Doorbell& bell) override {
        machine_.events.emplace(bell.address, bell.event);
        return {};
    }
    void remove_doorbell(Space, const Doorbell& bell) override { machine_.events.erase(bell.address); }

private:
    Machine& machine_;
};

constexpr u64 kVersion1 = u64{1} << 32, kEventIndexFeature = u64{1} << 29, kIndirectFeature = u64{1} << 28;

}  // namespace tandem::devices::virtio::test
