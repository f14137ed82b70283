#include "devices/virtio/queue.h"

#include <fmt/format.h>

#include <atomic>
#include <bit>
#include <cstring>

#include "base/bits.h"

namespace tandem::devices::virtio {
namespace {

// Ring layout (2.7.5, 2.7.6, 2.7.8). Everything is little endian, as is every host.
static_assert(std::endian::native == std::endian::little);
constexpr u64 kDescriptorSize = 16;
constexpr u16 kNext = 1, kWrite = 2, kIndirect = 4;
constexpr u64 kIndexOffset = 2, kRingOffset = 4;
constexpr u64 kAvailableEntry = 2, kUsedEntry = 8;
constexpr u16 kNoInterrupt = 1;
constexpr u64 kMaxChainBytes = u64{1} << 32;  // 2.7.5

constexpr u64 driver_ring_size(u64 entries) { return kRingOffset + kAvailableEntry * entries + 2; }
constexpr u64 device_ring_size(u64 entries) { return kRingOffset + kUsedEntry * entries + 2; }

// Rings are naturally aligned (checked by enable()) and shared with running processors.
u16 load(std::span<u8> ring, u64 offset) {
    return std::atomic_ref<u16>(*reinterpret_cast<u16*>(ring.data() + offset)).load(std::memory_order_acquire);
}
void store(std::span<u8> ring, u64 offset, u16 value) {
    std::atomic_ref<u16>(*reinterpret_cast<u16*>(ring.data() + offset)).store(value, std::memory_order_release);
}

}  // namespace

Result<void> Queue::enable(bool indirect, bool event_index) {
    if (size == 0 || size > max_size_ || !std::has_single_bit(size)) {
        return invalid(fmt::format("queue size {} is not a power of two up to {}", size, max_size_));
    }
    if (descriptors % 16 != 0 || driver % 2 != 0 || device % 4 != 0) return invalid("ring addresses are misaligned");
    const auto d = dma_->ring(descriptors, size * kDescriptorSize, false);
    const auto a = dma_->ring(driver, driver_ring_size(size), false);
    const auto u = dma_->ring(device, device_ring_size(size), true);
    if (d.empty() || a.empty() || u.empty()) return invalid("rings are not in memory");
    descriptor_ring_ = d;
    driver_ring_ = a;
    device_ring_ = u;
    indirect_ = indirect;
    event_index_ = event_index;
    enabled_ = true;
    return {};
}

void Queue::reset() {
    size = max_size_;
    descriptors = driver = device = 0;
    enabled_ = false;
    descriptor_ring_ = driver_ring_ = device_ring_ = {};
    next_available_ = next_used_ = 0;
    why_.clear();
}

Queue::Pop Queue::broken(std::string why) {
    why_ = std::move(why);
    return Pop::Broken;
}

void Queue::want_notification() {
    // 2.7.10.1: with event indexes, the device asks for the next entry's notification; without, flags stay 0.
    const u64 avail_event = kRingOffset + kUsedEntry * size;
    if (event_index_) {
        store(device_ring_, avail_event, next_available_);
        dma_->written(device + avail_event, 2);
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

Queue::Pop Queue::pop(Chain& out) {
    if (!why_.empty()) return Pop::Broken;
    u16 available = load(driver_ring_, kIndexOffset);
    if (available == next_available_) {
        want_notification();
        available = load(driver_ring_, kIndexOffset);  // the driver may have added one before it saw our wish
        if (available == next_available_) return Pop::Empty;
    }
    if (static_cast<u16>(available - next_available_) > size) {
        return broken(
            fmt::format("available index {} is more than {} entries ahead of {}", available, size, next_available_));
    }
    const u16 head = load(driver_ring_, kRingOffset + kAvailableEntry * (next_available_ & (size - 1u)));
    if (head >= size) return broken(fmt::format("descriptor index {} is not below {}", head, size));
    out = Chain{};
    out.head = head;
    chain_bytes_ = 0;
    chain_descriptors_ = 0;
    if (!gather(head, out)) return Pop::Broken;
    ++next_available_;
    return Pop::Chain;
}

Queue::Descriptor Queue::read_descriptor(std::span<const u8> table, u16 index) {
    Descriptor d{};
    static_assert(sizeof(d) == kDescriptorSize);
    std::memcpy(&d, table.data() + index * kDescriptorSize, sizeof(d));
    return d;
}

bool Queue::add(const Descriptor& d, Chain& out) {
    const bool writable = (d.flags & kWrite) != 0;
    if (!writable && !out.writable.empty()) {
        broken("a readable descriptor follows a writable one");
        return false;
    }
    chain_bytes_ += d.length;
    if (chain_bytes_ > kMaxChainBytes) {
        broken("a chain describes more than 4 GiB");
        return false;
    }
    if (!dma_->translate(d.address, d.length, writable, writable ? out.writable : out.readable)) {
        broken(fmt::format("buffer at {:#x} of {} bytes is empty or not {}memory", d.address, d.length,
                           writable ? "writable " : ""));
        return false;
    }
    return true;
}

bool Queue::walk(std::span<const u8> table, u32 count, u16 first, bool indirect_table, Chain& out) {
    u16 index = first;
    for (;;) {
        if (index >= count) {
            broken(fmt::format("next index {} is not below {}", index, count));
            return false;
        }
        if (++chain_descriptors_ > size) {
            broken("a chain loops or is longer than the queue");
            return false;
        }
        const Descriptor d = read_descriptor(table, index);
        if ((d.flags & kIndirect) != 0) {
            // 2.7.5.3.1: only offered, not nested, not chained on.
            if (!indirect_ || indirect_table || (d.flags & kNext) != 0 || d.length == 0 || d.length % kDescriptorSize != 0) {
                broken("an indirect descriptor where none may be");
                return false;
            }
            const u32 entries = d.length / kDescriptorSize;
            const auto nested = dma_->ring(d.address, d.length, false);
            if (entries > 65536 || nested.empty()) {
                broken(fmt::format("indirect table at {:#x} of {} bytes is not memory", d.address, d.length));
                return false;
            }
            --chain_descriptors_;
            return walk(nested, entries, 0, true, out);
        }
        if (!add(d, out)) return false;
        if ((d.flags & kNext) == 0) return true;
        index = d.next;
    }
}

bool Queue::gather(u16 head, Chain& out) { return walk(descriptor_ring_, size, head, false, out); }

bool Queue::push(std::span<const Used> used) {
    const u16 old = next_used_;
    for (const Used& u : used) {
        const u64 entry = kRingOffset + kUsedEntry * (next_used_ & (size - 1u));
        const u32 id = u.head;
        std::memcpy(device_ring_.data() + entry, &id, 4);
        std::memcpy(device_ring_.data() + entry + 4, &u.written, 4);
        ++next_used_;
    }
    store(device_ring_, kIndexOffset, next_used_);
    dma_->written(device, device_ring_.size());
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!event_index_) return (load(driver_ring_, 0) & kNoInterrupt) == 0;
    // 2.7.7.2: interrupt when the entry the driver waits for is among these.
    const u16 event = load(driver_ring_, kRingOffset + kAvailableEntry * size);
    return static_cast<u16>(event - old) < used.size();
}

bool Queue::has_more() const { return enabled_ && why_.empty() && load(driver_ring_, kIndexOffset) != next_available_; }

QueueState Queue::capture() const { return {size, enabled_, descriptors, driver, device, next_available_, next_used_}; }

Result<void> Queue::apply(const QueueState& state, bool indirect, bool event_index) {
    reset();
    size = state.size;
    descriptors = state.descriptors;
    driver = state.driver;
    device = state.device;
    if (state.enabled) TANDEM_TRY(enable(indirect, event_index));
    next_available_ = state.next_available;
    next_used_ = state.next_used;
    return {};
}

}  // namespace tandem::devices::virtio
