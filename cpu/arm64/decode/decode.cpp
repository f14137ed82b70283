#include <algorithm>
#include <bit>
#include <numeric>
#include <vector>

#include "base/bits.h"
#include "cpu/arm64/decode/predicates.h"
#include "cpu/arm64/decode/rows.h"
#include "cpu/arm64/decode/simd_predicates.h"
#include "cpu/arm64/lift/functions.h"

namespace tandem::cpu::arm64 {
namespace {

constexpr Row kRows[] = {
#define A64(pattern, name, feature, lift) {pattern, name, Feature::feature, &lift, nullptr, RowGroup::A64_GROUP},
#define A64C(pattern, name, feature, lift, allocated) \
    {pattern, name, Feature::feature, &lift, &allocated, RowGroup::A64_GROUP},
#include "cpu/arm64/decode/rows.inc"
#undef A64
#undef A64C
};

// Words are sorted into buckets by bits 31:21 and 11:10, the ones that tell most encodings apart.
constexpr unsigned kBuckets = 1u << 13;
constexpr u32 kIndexBits = 0xffe00c00;
constexpr unsigned bucket_of(u32 word) { return (word >> 21) << 2 | (word >> 10 & 3); }

class Buckets {
public:
    Buckets() {
        std::vector<u16> order(std::size(kRows));
        std::iota(order.begin(), order.end(), u16{0});
        std::sort(order.begin(), order.end(), [](u16 a, u16 b) {
            const int of_a = std::popcount(kRows[a].pattern.mask), of_b = std::popcount(kRows[b].pattern.mask);
            return of_a != of_b ? of_a > of_b : a < b;
        });
        for (const u16 i : order) for_buckets(kRows[i].pattern, [&](unsigned b) { ++start_[b + 1]; });
        for (unsigned b = 0; b < kBuckets; ++b) start_[b + 1] += start_[b];
        members_.resize(start_[kBuckets]);
        std::vector<u32> next(start_.begin(), start_.end() - 1);
        for (const u16 i : order) for_buckets(kRows[i].pattern, [&](unsigned b) { members_[next[b]++] = i; });
    }

    [[nodiscard]] const Row* find(u32 word) const {
        const unsigned b = bucket_of(word);
        for (u32 i = start_[b]; i < start_[b + 1]; ++i) {
            const Row& row = kRows[members_[i]];
            if ((word & row.pattern.mask) != row.pattern.value) continue;
            if (row.allocated == nullptr || row.allocated(word)) return &row;
        }
        return nullptr;
    }

private:
    // Calls f with every bucket that words of the pattern fall into.
    template <class F>
    static void for_buckets(const Pattern& p, F f) {
        const u32 open = kIndexBits & ~p.mask;
        u32 subset = 0;
        do {
            f(bucket_of(p.value | subset));
            subset = (subset - open) & open;
        } while (subset != 0);
    }

    std::vector<u32> start_ = std::vector<u32>(kBuckets + 1);
    std::vector<u16> members_;
};

}  // namespace

std::span<const Row> rows() { return kRows; }

const Row* decode(u32 word) {
    static const Buckets kTable;
    return kTable.find(word);
}

bool decode_bit_masks(unsigned n, unsigned imms, unsigned immr, unsigned width, u64& wmask) {
    const u32 selector = n << 6 | (~imms & 0x3f);
    if (selector < 2) return false;
    const unsigned length = static_cast<unsigned>(std::bit_width(selector)) - 1;
    const unsigned size = 1u << length;
    if (size > width) return false;
    const unsigned levels = size - 1;
    const unsigned s = imms & levels;
    const unsigned r = immr & levels;
    if (s == levels) return false;
    u64 element = mask(s + 1);
    if (r != 0) element = (element >> r | element << (size - r)) & mask(size);
    for (unsigned filled = size; filled < 64; filled *= 2) element |= element << filled;
    wmask = element & mask(width);
    return true;
}

}  // namespace tandem::cpu::arm64
