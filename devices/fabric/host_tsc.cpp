#include "devices/fabric/host_tsc.h"

#include <time.h>

#include "base/log.h"
#include "devices/fabric/clock.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>

#include <fstream>
#include <string>
#endif

namespace tandem::devices {

#if defined(__x86_64__)
namespace {

constexpr u64 kSecond = 1'000'000'000;

struct Sample {
    u64 tsc = 0;
    u64 ns = 0;
};

u64 monotonic_ns() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<u64>(t.tv_sec) * kSecond + static_cast<u64>(t.tv_nsec);
}

// Counter and clock at the same moment: the tightest of a few attempts.
Sample sample() {
    Sample best;
    u64 tightest = ~u64{0};
    for (int i = 0; i < 8; ++i) {
        const u64 before = read_host_tsc();
        const u64 ns = monotonic_ns();
        const u64 after = read_host_tsc();
        if (after - before < tightest) {
            tightest = after - before;
            best = {before + (after - before) / 2, ns};
        }
    }
    return best;
}

u64 measure(u64 duration_ns) {
    const Sample from = sample();
    while (monotonic_ns() - from.ns < duration_ns) {
        const timespec nap{0, 200'000};
        nanosleep(&nap, nullptr);
    }
    const Sample to = sample();
    return mul_div(to.tsc - from.tsc, kSecond, to.ns - from.ns);
}

bool invariant() {
    u32 a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & (1u << 8)) != 0;
}

// A kernel keeps its own time by the counter only where it found nothing wrong with it, whatever CPUID says; or, in a
// virtual machine, by the rate and offset at which the hypervisor says that the counter is the time.
bool kernel_keeps_time_by_it() {
    std::ifstream file("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    std::string name;
    return std::getline(file, name) && (name == "tsc" || name == "kvm-clock" || name == "hyperv_clocksource_tsc_page");
}

u64 stated_hz() {
    u32 a = 0, b = 0, c = 0, d = 0;
    // SDM volume 2, CPUID leaf 15H: EBX/EAX is TSC per crystal clock, ECX the crystal's frequency.
    if (__get_cpuid(0x15, &a, &b, &c, &d) != 0 && a != 0 && b != 0 && c != 0) return mul_div(c, b, a);
    __cpuid(1, a, b, c, d);
    if ((c & (1u << 31)) == 0) return 0;
    // Timing leaf that several hypervisors share: EAX is the TSC's rate in kHz.
    __cpuid(0x40000000, a, b, c, d);
    if (a < 0x40000010 || a > 0x4000ffff) return 0;
    __cpuid(0x40000010, a, b, c, d);
    return u64{a} * 1000;
}

}  // namespace

u64 read_host_tsc() { return __rdtsc(); }

HostTscRate detect_host_tsc() {
    if (!invariant() && !kernel_keeps_time_by_it()) {
        log::info(
            "clock: this host's TSC is not invariant, nor the kernel's clock; guest time follows the host's monotonic "
            "clock");
        return {};
    }
    if (const u64 stated = stated_hz(); stated != 0) {
        const u64 seen = measure(2'000'000);
        const u64 difference = seen > stated ? seen - stated : stated - seen;
        if (difference <= stated / 100) return {stated, false};
    }
    const u64 hz = measure(8'000'000);
    log::info("clock: CPUID does not state the TSC's rate; measured {}.{:03} MHz", hz / 1'000'000, hz / 1000 % 1000);
    return {hz, true};
}

#else

u64 read_host_tsc() { return 0; }
HostTscRate detect_host_tsc() { return {}; }

#endif

}  // namespace tandem::devices
