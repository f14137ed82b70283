// A fuzzer's bytes as a stream of small values; zero when they are used up.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "base/types.h"

namespace tandem::fuzz {

class Input {
public:
    explicit Input(std::span<const u8> bytes) : bytes_(bytes) {}
    [[nodiscard]] bool at_end() const { return bytes_.empty(); }
    u8 byte() {
        if (bytes_.empty()) return 0;
        const u8 b = bytes_.front();
        bytes_ = bytes_.subspan(1);
        return b;
    }
    u64 word() {
        u64 value = 0;
        for (int i = 0; i < 4; ++i) value = value << 8 | byte();
        return value;
    }
    std::vector<u8> bytes(std::size_t size) {
        const auto part = bytes_.first(std::min(size, bytes_.size()));
        bytes_ = bytes_.subspan(part.size());
        return {part.begin(), part.end()};
    }

private:
    std::span<const u8> bytes_;
};

}  // namespace tandem::fuzz
