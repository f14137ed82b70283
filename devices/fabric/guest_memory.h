// Guest-physical RAM and ROM as devices (DMA) and engines see it. RAM is anonymous host memory, allocated lazily by the host
// kernel. Layout is fixed after set-up; data accesses are then safe from any thread (guest races are the guest's).
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace tandem::devices {

struct MemoryRange {
    std::string name;
    u64 gpa = 0;
    u64 size = 0;  // multiple of 4 KiB
    u8* host = nullptr;
    bool readonly = false;
};

class GuestMemory {
public:
    GuestMemory() = default;
    ~GuestMemory();
    GuestMemory(const GuestMemory&) = delete;
    GuestMemory& operator=(const GuestMemory&) = delete;

    // Maps a new zeroed range. InvalidArgument: unaligned, empty, wrapping or overlapping; Io: the host refused.
    Result<void> add(std::string name, u64 gpa, u64 size, bool readonly = false);
    [[nodiscard]] std::span<const MemoryRange> ranges() const { return ranges_; }
    [[nodiscard]] u64 ram_bytes() const;

    // The part of [gpa, gpa + size) that is contiguous from gpa on in one range; empty when gpa is not memory. Reading only;
    // for writing use write() or commit() so that engines see it.
    [[nodiscard]] std::span<u8> span(u64 gpa, u64 size) const;

    // Whole accesses; false (and nothing, or a prefix, transferred) when any byte is not memory. write() ignores readonly.
    bool read(u64 gpa, void* out, u64 size) const;
    bool write(u64 gpa, const void* in, u64 size);
    // Tells the engines that [gpa, gpa + size) was written through span().
    void commit(u64 gpa, u64 size) {
        if (on_write_) on_write_(gpa, size);
    }
    // Called after every write from outside the engine, on the writing thread. One observer: the engine. Set before use.
    void set_write_observer(std::function<void(u64 gpa, u64 size)> f) { on_write_ = std::move(f); }

private:
    std::vector<MemoryRange> ranges_;
    std::function<void(u64, u64)> on_write_;
};

}  // namespace tandem::devices
