// The host's time-stamp counter: whether it can serve as a clock, and its rate.
#pragma once

#include "base/types.h"

namespace tandem::devices {

struct HostTscRate {
    u64 hz = 0;             // 0: not invariant, or no such counter on this host
    bool measured = false;  // no CPUID leaf stated it
};

// Takes about 8 ms when the rate has to be measured (it then logs that), 2 ms otherwise: a stated rate is checked against
// the host's clock and replaced by a measurement when it is off by more than 1 %.
HostTscRate detect_host_tsc();

// RDTSC on x86-64; 0 elsewhere.
u64 read_host_tsc();

}  // namespace tandem::devices
