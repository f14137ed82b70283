#include "accel/signals.h"

namespace tandem::accel {

void SignalWord::raise_sipi(u8 vector) {
    u32 old = word_.load();
    u32 next = 0;
    do {
        next = (old & ~0xff00u) | Sipi | static_cast<u32>(vector) << kSipiVectorShift;
    } while (!word_.compare_exchange_weak(old, next));
    word_.notify_one();
}

u32 SignalWord::take(u32 bits) {
    if ((word_.load() & bits) == 0) return 0;  // as always on the way back into the guest
    const u32 mask = (bits & Sipi) != 0 ? bits | 0xff00u : bits;
    return word_.fetch_and(~mask) & mask;
}

}  // namespace tandem::accel
