// Guest memory as a virtio device sees it: ranges that the guest names are translated and checked before anything touches
// them.
#pragma once

#include <span>
#include <vector>

#include "devices/fabric/guest_memory.h"

namespace tandem::devices::virtio {

// A piece of guest memory that is contiguous on the host.
struct Segment {
    u64 gpa = 0;
    std::span<u8> host;
};

class Dma {
public:
    explicit Dma(GuestMemory& memory) : memory_(memory) {}

    // Appends [gpa, gpa + size) to `out`. False, with `out` in an unspecified state, when a byte of it is not memory or, for
    // `writable`, read-only memory; or when size is 0 or wraps.
    [[nodiscard]] bool translate(u64 gpa, u64 size, bool writable, std::vector<Segment>& out) const;
    // A range that must be one piece (a ring). Empty when it is not.
    [[nodiscard]] std::span<u8> ring(u64 gpa, u64 size, bool writable) const;
    // Tells the engine that a device wrote there.
    void written(u64 gpa, u64 size) { memory_.commit(gpa, size); }

private:
    [[nodiscard]] bool readonly_at(u64 gpa) const;
    GuestMemory& memory_;
};

}  // namespace tandem::devices::virtio
