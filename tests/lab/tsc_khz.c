// Prints the frequency of this host's time-stamp counter in kHz, which QEMU's TCG hands to its guest.
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static unsigned long long now(unsigned long long* ticks) {
    unsigned long long best = ~0ull, ns = 0;
    for (int i = 0; i < 100; ++i) {  // the narrowest reading is the one that nothing interrupted
        struct timespec t;
        const unsigned long long before = __rdtsc();
        clock_gettime(CLOCK_MONOTONIC, &t);
        const unsigned long long after = __rdtsc();
        if (after - before >= best) continue;
        best = after - before;
        *ticks = before + best / 2;
        ns = (unsigned long long)t.tv_sec * 1000000000 + (unsigned long long)t.tv_nsec;
    }
    return ns;
}

int main(void) {
    unsigned long long first = 0, last = 0;
    const unsigned long long start = now(&first);
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    const unsigned long long end = now(&last);
    printf("%.0f\n", (double)(last - first) * 1e6 / (double)(end - start));
    return 0;
}
