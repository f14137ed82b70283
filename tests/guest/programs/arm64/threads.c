// Atomic operations of several threads on the same words: what each added must be there at the end.
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/auxv.h>

#include "tasks.h"

enum { THREADS = 4, ROUNDS = 100000 };

static volatile uint64_t by_exclusives, by_lse, lock_word, under_lock;
static uint64_t pair[2] __attribute__((aligned(16)));
static _Atomic uint64_t ready, payload, reordered;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t under_mutex;

static int has_lse(void) { return (getauxval(AT_HWCAP) & 1u << 8) != 0; }

static void add_exclusive(volatile uint64_t* at) {
    uint64_t value;
    uint32_t failed;
    do {
        __asm__ volatile("ldxr %0, [%2]\n add %0, %0, #1\n stxr %w1, %0, [%2]" : "=&r"(value), "=&r"(failed) : "r"(at) : "memory");
    } while (failed != 0);
}

// Both words of the pair move together.
static void add_pair(void) {
    uint64_t low, high;
    uint32_t failed;
    do {
        __asm__ volatile("ldaxp %0, %1, [%3]\n add %0, %0, #1\n sub %1, %1, #1\n stlxp %w2, %0, %1, [%3]"
                         : "=&r"(low), "=&r"(high), "=&r"(failed)
                         : "r"(pair)
                         : "memory");
    } while (failed != 0);
}

static void take_lock(void) {
    uint32_t old, failed;
    do {
        __asm__ volatile("ldaxr %w0, [%2]\n cbnz %w0, 1f\n stxr %w0, %w3, [%2]\n 1: mov %w1, %w0"
                         : "=&r"(old), "=&r"(failed)
                         : "r"(&lock_word), "r"(1)
                         : "memory");
    } while (failed != 0);
}
static void release_lock(void) { __asm__ volatile("stlr wzr, [%0]" : : "r"(&lock_word) : "memory"); }

static void* work(void* arg) {
    const int lse = has_lse();
    (void)arg;
    for (int i = 0; i < ROUNDS; ++i) {
        add_exclusive(&by_exclusives);
        if (lse) __asm__ volatile(".arch armv8.1-a\n stadd %0, [%1]" : : "r"((uint64_t)1), "r"(&by_lse) : "memory");
        add_pair();
        if (i % 4 == 0) {
            take_lock();
            ++under_lock;
            release_lock();
        }
        if (i % 16 == 0) {
            pthread_mutex_lock(&mutex);
            ++under_mutex;
            pthread_mutex_unlock(&mutex);
        }
    }
    return NULL;
}

// What is written before a release is seen behind the acquire.
static void* produce(void* arg) {
    (void)arg;
    for (uint64_t i = 1; i <= ROUNDS; ++i) {
        atomic_store_explicit(&payload, i, memory_order_relaxed);
        atomic_store_explicit(&ready, i, memory_order_release);
    }
    return NULL;
}
static void* consume(void* arg) {
    uint64_t seen;
    (void)arg;
    do {
        seen = atomic_load_explicit(&ready, memory_order_acquire);
        if (atomic_load_explicit(&payload, memory_order_relaxed) < seen) atomic_fetch_add(&reordered, 1);
    } while (seen < ROUNDS);
    return NULL;
}

static int expect(const char* what, uint64_t value, uint64_t wanted) {
    printf("threads: %s %llu of %llu\n", what, (unsigned long long)value, (unsigned long long)wanted);
    return value == wanted ? 0 : 1;
}

int run_threads(void) {
    pthread_t thread[THREADS];
    const uint64_t all = (uint64_t)THREADS * ROUNDS;
    int bad = 0;
    for (int i = 0; i < THREADS; ++i) pthread_create(&thread[i], NULL, work, NULL);
    for (int i = 0; i < THREADS; ++i) pthread_join(thread[i], NULL);
    pthread_create(&thread[0], NULL, produce, NULL);
    pthread_create(&thread[1], NULL, consume, NULL);
    for (int i = 0; i < 2; ++i) pthread_join(thread[i], NULL);
    bad |= expect("exclusives", by_exclusives, all);
    bad |= expect("LSE", by_lse, has_lse() ? all : 0);
    bad |= expect("pair, low", pair[0], all);
    bad |= expect("pair, high", 0 - pair[1], all);
    bad |= expect("lock", under_lock, all / 4);
    bad |= expect("mutex", under_mutex, all / 16);
    bad |= expect("out of order", reordered, 0);
    printf("threads: %s\n", bad == 0 ? "all right" : "WRONG");
    return bad;
}
