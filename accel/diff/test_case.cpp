#include "accel/diff/test_case.h"

#include <algorithm>
#include <cstring>

namespace tandem::accel::diff {

std::string_view reason_of(Skip skip) {
    static constexpr std::string_view kReasons[kSkips] = {"", "it did not end in time",
                                                          "KVM does not execute it as a processor does",
                                                          "its exception cannot be delivered on its stack"};
    return kReasons[static_cast<std::size_t>(skip)];
}

void truncate(CpuImage& image) {
    for (unsigned i = 0; i < 16; ++i) image.gpr[i] = i < 8 ? image.gpr[i] & 0xffffffff : 0;
    image.rip &= 0xffffffff;
}

MemoryChange memory_change(const u8* before, const u8* now, u64 size) {
    constexpr u64 kWord = sizeof(u64);
    MemoryChange change;
    if (std::memcmp(before, now, size) == 0) return change;
    const auto changed = [&](u64 word) { return std::memcmp(before + word, now + word, kWord) != 0; };
    u64 first = 0, last = size - kWord;
    while (!changed(first)) first += kWord;
    while (!changed(last)) last -= kWord;
    // Of what has changed alone, wherever it is: page tables have a few bits in many pages.
    u64 hash = 0xcbf29ce484222325;
    for (u64 at = first; at <= last; at += kWord) {
        if (!changed(at)) continue;
        u64 value = 0;
        std::memcpy(&value, now + at, kWord);
        hash = ((hash ^ at) * 0x100000001b3 ^ value) * 0x9e3779b97f4a7c15;
        hash ^= hash >> 32;
    }
    change.hash = hash | 1;
    u64 end = last + kWord;
    while (before[first] == now[first]) ++first;
    while (before[end - 1] == now[end - 1]) --end;
    change.offset = static_cast<u32>(first);
    change.end = static_cast<u32>(end);
    std::memcpy(change.bytes.data(), now + first, std::min<u64>(end - first, change.bytes.size()));
    return change;
}

}  // namespace tandem::accel::diff
