#include "accel/signals.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

namespace tandem::accel {
namespace {

constexpr u64 kSecond = 1'000'000'000;

timespec monotonic_in(u64 ns) {
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    const u64 at = static_cast<u64>(t.tv_nsec) + ns % kSecond;
    t.tv_sec += static_cast<time_t>(ns / kSecond + at / kSecond);
    t.tv_nsec = static_cast<long>(at % kSecond);
    return t;
}

// The kernel's name of an atomic word (futex(2)).
u32* address_of(const std::atomic<u32>& word) {
    static_assert(sizeof(word) == sizeof(u32) && std::atomic<u32>::is_always_lock_free);
    return reinterpret_cast<u32*>(const_cast<std::atomic<u32>*>(&word));
}

}  // namespace

// Who raises looks for a sleeper after the word has changed, and who sleeps at the word after it has said so.
void SignalWord::wait(u32 bits, u64 limit_ns) const {
    if ((word_.load() & bits) != 0) return;
    const bool limited = limit_ns < kNoLimit / 2;
    const timespec end = limited ? monotonic_in(limit_ns) : timespec{};
    sleeping_.store(true);
    for (u32 now = word_.load(); (now & bits) == 0; now = word_.load()) {
        const long error = ::syscall(SYS_futex, address_of(word_), FUTEX_WAIT_BITSET_PRIVATE, now, limited ? &end : nullptr,
                                     nullptr, FUTEX_BITSET_MATCH_ANY);
        if (error != 0 && errno == ETIMEDOUT) break;
    }
    sleeping_.store(false);
}

void SignalWord::wake_sleeper() {
    const int before = errno;  // also in signal handlers
    ::syscall(SYS_futex, address_of(word_), FUTEX_WAKE_PRIVATE, 1);
    errno = before;
}

void SignalWord::raise_sipi(u8 vector) {
    u32 old = word_.load();
    u32 next = 0;
    do {
        next = (old & ~0xff00u) | Sipi | static_cast<u32>(vector) << kSipiVectorShift;
    } while (!word_.compare_exchange_weak(old, next));
    wake();
}

u32 SignalWord::take(u32 bits) {
    if ((word_.load() & bits) == 0) return 0;  // as always on the way back into the guest
    const u32 mask = (bits & Sipi) != 0 ? bits | 0xff00u : bits;
    return word_.fetch_and(~mask) & mask;
}

}  // namespace tandem::accel
