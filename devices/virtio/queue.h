// A split virtqueue, device side (virtio 1.2, 2.7). Everything read from the guest is checked; what is malformed breaks the
// queue and is for the device to report with DEVICE_NEEDS_RESET. Not synchronised: the device's lock guards it.
#pragma once

#include <string>
#include <vector>

#include "devices/virtio/dma.h"

namespace tandem::devices::virtio {

constexpr u16 kMaxQueueSize = 1024;

// One request: what the device may read, then what it may write.
struct Chain {
    u16 head = 0;
    std::vector<Segment> readable;
    std::vector<Segment> writable;
};

struct QueueState {
    u16 size = 0;
    bool enabled = false;
    u64 descriptors = 0, driver = 0, device = 0;
    u16 next_available = 0;
    u16 next_used = 0;
    void visit(auto& v) {
        v("size", size);
        v("enabled", enabled);
        v("descriptors", descriptors);
        v("driver", driver);
        v("device", device);
        v("next_available", next_available);
        v("next_used", next_used);
    }
};

class Queue {
public:
    Queue(Dma& dma, u16 max_size) : dma_(&dma), max_size_(max_size) { reset(); }

    // The driver's view while the queue is not enabled; sizes and addresses are checked by enable().
    u16 size = 0;
    u64 descriptors = 0, driver = 0, device = 0;

    [[nodiscard]] u16 max_size() const { return max_size_; }
    [[nodiscard]] bool enabled() const { return enabled_; }
    // Maps the rings. Errors: size not a power of two within max_size, misaligned or unmapped rings.
    Result<void> enable(bool indirect, bool event_index);
    void reset();

    enum class Pop : u8 { Chain, Empty, Broken };
    // Takes the next request. Empty also arms notification for the next one. Broken: why() says what is wrong, and stays so.
    Pop pop(Chain& out);
    // Whether another request is waiting. Does not arm anything.
    [[nodiscard]] bool has_more() const;
    // Returns requests with so many bytes of their writable parts filled in. The driver sees all of them at once. True when
    // it wants an interrupt now.
    struct Used {
        u16 head = 0;
        u32 written = 0;
    };
    [[nodiscard]] bool push(std::span<const Used> used);
    // Puts back the last `count` requests that pop() gave out, in any order; the next pop() starts with them again.
    void unpop(u16 count) { next_available_ = static_cast<u16>(next_available_ - count); }
    [[nodiscard]] const std::string& why() const { return why_; }

    [[nodiscard]] QueueState capture() const;
    // Rings are mapped again; an error means the state is not one this memory can have.
    Result<void> apply(const QueueState& state, bool indirect, bool event_index);

private:
    struct Descriptor {
        u64 address;
        u32 length;
        u16 flags;
        u16 next;
    };
    Pop broken(std::string why);
    bool gather(u16 head, Chain& out);
    bool walk(std::span<const u8> table, u32 count, u16 first, bool indirect_table, Chain& out);
    bool add(const Descriptor& d, Chain& out);
    static Descriptor read_descriptor(std::span<const u8> table, u16 index);
    void want_notification();

    Dma* dma_;
    u16 max_size_;
    bool enabled_ = false;
    bool indirect_ = false;
    bool event_index_ = false;
    std::span<u8> descriptor_ring_, driver_ring_, device_ring_;
    u16 next_available_ = 0;
    u16 next_used_ = 0;
    u64 chain_bytes_ = 0;
    u32 chain_descriptors_ = 0;
    std::string why_;
};

}  // namespace tandem::devices::virtio
