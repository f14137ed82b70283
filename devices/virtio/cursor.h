// A position in the readable or writable part of a request.
#pragma once

#include <span>

#include "devices/virtio/dma.h"

namespace tandem::devices::virtio {

class Cursor {
public:
    explicit Cursor(std::span<const Segment> segments) : segments_(segments) {}
    [[nodiscard]] u64 left() const;
    // The next contiguous piece of at most `size` bytes; empty at the end.
    Segment take(u64 size);
    // Copies the next `size` bytes; false when there are fewer.
    bool copy_out(void* to, u64 size);
    // Fills the next bytes of a writable part and tells the engine; how many found room.
    u64 copy_in(Dma& dma, std::span<const u8> bytes);

private:
    std::span<const Segment> segments_;
    u64 used_ = 0;  // bytes of the first segment
};

}  // namespace tandem::devices::virtio
