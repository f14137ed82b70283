// What a guest's spin-wait hint (x86 PAUSE, AArch64 YIELD) does on the host.
#pragma once

#include <sched.h>

#include <chrono>
#include <thread>

#include "base/types.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tandem::jit {

// One hint of a machine with `vcpus` processors. With more of them than the host has, the one that is waited for may not be
// running: the host's processor is given away now and then. Not at every hint: on a busy host each costs milliseconds, and
// guests count hints to measure short delays. vCPU thread.
inline void spin_wait(unsigned vcpus) {
    static const unsigned kHostProcessors = std::thread::hardware_concurrency();
    if (vcpus > kHostProcessors) {
        constexpr u64 kPeriod = 1 << 16, kWindow = 1 << 12;  // nanoseconds
        const auto now = std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
        if (static_cast<u64>(now) % kPeriod < kWindow) sched_yield();
    }
#if defined(__x86_64__)
    _mm_pause();
#endif
}

}  // namespace tandem::jit
