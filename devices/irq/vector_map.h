// The 256 bits of ISR, TMR and IRR (Intel SDM volume 3, 10.8.4): any thread, each access atomic.
#pragma once

#include <array>
#include <atomic>
#include <bit>

#include "base/types.h"

namespace tandem::devices {

using VectorMap = std::array<std::atomic<u32>, 8>;

inline u32 load(const std::atomic<u32>& a) { return a.load(std::memory_order_relaxed); }
inline bool test(const VectorMap& map, u8 v) { return (map[v / 32].load() >> (v % 32) & 1) != 0; }
// Returns whether the bit was set before.
inline bool set(VectorMap& map, u8 v) { return (map[v / 32].fetch_or(1u << (v % 32)) >> (v % 32) & 1) != 0; }
inline void clear(VectorMap& map, u8 v) { map[v / 32].fetch_and(~(1u << (v % 32))); }
// -1: none.
inline int highest(const VectorMap& map) {
    for (int i = 7; i >= 0; --i) {
        if (const u32 word = map[static_cast<unsigned>(i)].load(); word != 0) return i * 32 + 31 - std::countl_zero(word);
    }
    return -1;
}

}  // namespace tandem::devices
