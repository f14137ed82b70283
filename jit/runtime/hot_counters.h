// How often a block's baseline code may still run on a vCPU before the LLVM tier is asked for. Each vCPU counts for itself:
// counters that vCPUs shared would have them take each block's cache line from each other.
#pragma once

#include <atomic>
#include <vector>

#include "jit/guest/frame.h"

namespace tandem::jit {

// Counters of a vCPU lie before its FrameHeader, the one of slot 0 last. Slot 0 is everybody's for whom there is no other,
// and never hot for long; there are more slots than blocks.
constexpr u32 kHotCounters = 5u << 18;
constexpr std::size_t kHotCounterBytes = kHotCounters * sizeof(i32);

// From the frame pointer, in bytes.
constexpr i32 hot_counter_offset(u32 slot) {
    return -static_cast<i32>(sizeof(FrameHeader)) - static_cast<i32>((slot + 1) * sizeof(i32));
}

// Any thread; the vCPU's own decrements may overwrite what another one stores, so that a block may be hot once more.
inline void set_hot_counter(FrameHeader& header, u32 slot, i32 value) {
    i32* const end = reinterpret_cast<i32*>(&header);
    std::atomic_ref<i32>(*(end - slot - 1)).store(value, std::memory_order_relaxed);
}

// Which slots blocks have. Under the translator's lock.
class HotSlots {
public:
    // 0 when there is none left.
    u32 take() {
        if (free_.empty()) return used_ < kHotCounters ? used_++ : 0;
        const u32 slot = free_.back();
        free_.pop_back();
        return slot;
    }
    void give(u32 slot) {
        if (slot != 0) free_.push_back(slot);
    }
    // Slots from here on have never been taken.
    [[nodiscard]] u32 used() const { return used_; }

private:
    u32 used_ = 1;
    std::vector<u32> free_;
};

}  // namespace tandem::jit
