// The 256 bits of ISR, TMR and IRR (Intel SDM volume 3, 10.8.4): any thread, each access atomic.
#pragma once

#include <array>
#include <atomic>
#include <bit>

#include "base/types.h"

namespace tandem::devices {

class VectorMap {
public:
    // The registers, of 32 vectors each; index: 0 to 7.
    std::atomic<u32>& operator[](unsigned index) { return words_[index]; }
    const std::atomic<u32>& operator[](unsigned index) const { return words_[index]; }

    [[nodiscard]] bool test(u8 v) const { return (words_[v / 32].load() >> (v % 32) & 1) != 0; }
    // Returns whether the bit was set before.
    bool set(u8 v) { return (words_[v / 32].fetch_or(1u << (v % 32)) >> (v % 32) & 1) != 0; }
    void clear(u8 v) { words_[v / 32].fetch_and(~(1u << (v % 32))); }
    void clear() {
        for (auto& word : words_) word = 0;
    }
    // -1: none.
    [[nodiscard]] int highest() const {
        for (unsigned i = 8; i-- > 0;) {
            if (const u32 word = words_[i].load(); word != 0) return static_cast<int>(i * 32 + 31) - std::countl_zero(word);
        }
        return -1;
    }

private:
    std::array<std::atomic<u32>, 8> words_{};
};

}  // namespace tandem::devices
