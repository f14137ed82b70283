#include "accel/diff/test_case.h"

#include <algorithm>
#include <cstring>

namespace tandem::accel::diff {

void truncate(CpuImage& image) {
    for (unsigned i = 0; i < 16; ++i) image.gpr[i] = i < 8 ? image.gpr[i] & 0xffffffff : 0;
    image.rip &= 0xffffffff;
}

MemoryChange memory_change(const u8* before, const u8* now, u64 size) {
    MemoryChange change;
    if (std::memcmp(before, now, size) == 0) return change;
    u64 first = 0;
    while (before[first] == now[first]) ++first;
    u64 end = size;
    while (before[end - 1] == now[end - 1]) --end;
    change.offset = static_cast<u32>(first);
    change.end = static_cast<u32>(end);
    std::memcpy(change.bytes.data(), now + first, std::min<u64>(end - first, change.bytes.size()));
    u64 hash = 0xcbf29ce484222325;
    for (u64 i = first; i < end; ++i) hash = (hash ^ now[i]) * 0x100000001b3;
    change.hash = hash | 1;
    return change;
}

}  // namespace tandem::accel::diff
