// A driver for tests of any virtio device with several queues: no transport, rings in guest memory.
#pragma once

#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "devices/virtio/bells.h"
#include "devices/virtio/device.h"
#include "tests/patience.h"

namespace tandem::devices::virtio::test {

class CountingTransport final : public Transport {
public:
    void queue_interrupt(u16 queue) override { ++queues[queue]; }
    void config_interrupt() override { ++config; }
    [[nodiscard]] bool dma_allowed() const override { return true; }
    std::array<std::atomic<unsigned>, 16> queues{};
    std::atomic<unsigned> config{0};
};

// A piece of a request: guest address, size, whether the device writes it.
struct Piece {
    u64 gpa;
    u32 size;
    bool device_writes;
};

struct Bench {
    static constexpr u64 kRam = 16 << 20;
    static constexpr u64 kRings = 0x100000, kRingStride = 0x10000;
    static constexpr u64 kAvailableAt = 0x4000, kUsedAt = 0x8000;
    static constexpr u16 kSize = 16;
    static constexpr u64 kVersion1 = u64{1} << 32;

    struct Ring {
        u16 next_descriptor = 0, available = 0, used = 0;
    };

    GuestMemory memory;
    CountingTransport transport;
    std::unique_ptr<VirtioDevice> device;
    std::unique_ptr<Bells> bells;  // none: the driver tells the device itself
    std::vector<Ring> rings;

    Bench() { REQUIRE(memory.add("ram", 0, kRam).ok()); }
    void use(std::unique_ptr<VirtioDevice> d) {
        device = std::move(d);
        device->connect(transport);
    }
    template <class T>
    void put(u64 gpa, const T& value) {
        REQUIRE(memory.write(gpa, &value, sizeof value));
    }
    template <class T>
    T get(u64 gpa) {
        T value{};
        REQUIRE(memory.read(gpa, &value, sizeof value));
        return value;
    }
    static u64 ring_at(u16 queue) { return kRings + queue * kRingStride; }

    void start(u64 features) {
        device->set_status(0);
        device->reset_now();
        device->set_status(status::kAcknowledge | status::kDriver);
        device->set_driver_features(features | kVersion1);
        device->set_status(11);
        REQUIRE((device->status() & status::kFeaturesOk) != 0);
        rings.assign(device->queue_count(), {});
        using Field = VirtioDevice::QueueField;
        for (u16 q = 0; q < device->queue_count(); ++q) {
            put<u32>(ring_at(q) + kAvailableAt, 0);
            put<u32>(ring_at(q) + kUsedAt, 0);
            device->set_queue_field(q, Field::Size, kSize);
            device->set_queue_field(q, Field::Descriptors, ring_at(q));
            device->set_queue_field(q, Field::Driver, ring_at(q) + kAvailableAt);
            device->set_queue_field(q, Field::Device, ring_at(q) + kUsedAt);
            device->enable_queue(q);
        }
        device->set_status(15);
    }
    // Offers a request; the device is told when `ring_bell`.
    void offer(u16 queue, const std::vector<Piece>& pieces, bool ring_bell = true) {
        Ring& r = rings[queue];
        const u16 head = r.next_descriptor;
        for (std::size_t i = 0; i < pieces.size(); ++i) {
            const u64 at = ring_at(queue) + r.next_descriptor * 16u;
            const u16 next = static_cast<u16>((r.next_descriptor + 1) % kSize);
            const bool last = i + 1 == pieces.size();
            put<u64>(at, pieces[i].gpa);
            put<u32>(at + 8, pieces[i].size);
            put<u16>(at + 12, static_cast<u16>((last ? 0 : 1) | (pieces[i].device_writes ? 2 : 0)));
            put<u16>(at + 14, last ? u16{0} : next);
            r.next_descriptor = next;
        }
        put<u16>(ring_at(queue) + kAvailableAt + 4 + 2u * (r.available % kSize), head);
        put<u16>(ring_at(queue) + kAvailableAt + 2, ++r.available);
        if (ring_bell) ring(queue);
    }
    void ring_by_events() {
        auto made = Bells::create(*device);
        REQUIRE(made.ok());
        bells = std::move(*made);
    }
    void ring(u16 queue) {
        if (!bells) return device->notify(queue);
        const u64 one = 1;
        CHECK(::write(bells->event(queue), &one, sizeof one) == sizeof one);
    }
    [[nodiscard]] u16 used_index(u16 queue) { return get<u16>(ring_at(queue) + kUsedAt + 2); }
    // The length of the next used entry.
    u32 wait_used(u16 queue) {
        Ring& r = rings[queue];
        wait([&] { return used_index(queue) != r.used; });
        return get<u32>(ring_at(queue) + kUsedAt + 4 + 8u * (r.used++ % kSize) + 4);
    }
    template <class F>
    static void wait(F done) {
        const auto limit = std::chrono::steady_clock::now() + tests::kPatience;
        while (!done()) {
            REQUIRE(std::chrono::steady_clock::now() < limit);
            std::this_thread::yield();
        }
        std::atomic_thread_fence(std::memory_order_acquire);
    }
    [[nodiscard]] bool broken() const { return (device->status() & status::kNeedsReset) != 0; }
};

}  // namespace tandem::devices::virtio::test
