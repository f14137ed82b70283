// Benchmarks of what a real guest does besides arithmetic: system calls, page faults, processes, code that is made and thrown
// away, vectors, copies, calls, threads.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static uint64_t sys_getpid(void) {
    uint64_t same = 0;
    const long pid = syscall(SYS_getpid);
    for (int i = 0; i < 200000; ++i) same += syscall(SYS_getpid) == pid;
    return same;
}

enum { PAGE = 4096, PAGES = 64 };

static uint64_t sys_pagefault(void) {
    uint64_t sum = 0;
    for (int round = 0; round < 400; ++round) {
        uint8_t* p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) return 0;
        for (int i = 0; i < PAGES; ++i) sum += ++p[i * PAGE];
        munmap(p, PAGES * PAGE);
    }
    return sum;
}

static uint64_t sys_context(void) {
    int there[2], back[2];
    uint64_t sum = 0;
    uint32_t word = 0;
    if (pipe(there) != 0 || pipe(back) != 0) return 0;
    const pid_t child = fork();
    if (child == 0) {
        close(there[1]);
        while (read(there[0], &word, sizeof word) == sizeof word) {
            ++word;
            if (write(back[1], &word, sizeof word) != sizeof word) break;
        }
        _exit(0);
    }
    for (uint32_t i = 0; i < 8000; ++i) {
        word = i;
        if (write(there[1], &word, sizeof word) != sizeof word || read(back[0], &word, sizeof word) != sizeof word) break;
        sum += word;
    }
    for (int i = 0; i < 2; ++i) close(there[i]), close(back[i]);
    waitpid(child, NULL, 0);
    return sum;
}

static uint64_t children(int count, int execute) {
    static uint8_t data[PAGES * PAGE];
    uint64_t sum = 0;
    for (int i = 0; i < count; ++i) {
        int status = -1;
        const pid_t child = fork();
        if (child == 0) {
            if (execute) execl("/proc/self/exe", "bench", "none", (char*)NULL);
            for (int n = 0; n < PAGES; n += 4) ++data[n * PAGE];  // copied on write
            _exit(data[0]);
        }
        waitpid(child, &status, 0);
        sum += (uint64_t)(status >> 8) + 1;
    }
    return sum;
}
static uint64_t sys_fork(void) { return children(300, 0); }
static uint64_t sys_exec(void) { return children(80, 1); }

static volatile sig_atomic_t caught;
static void catch_signal(int number) { caught += number; }
static uint64_t sys_signal(void) {
    struct sigaction action = {.sa_handler = catch_signal};
    sigaction(SIGUSR1, &action, NULL);
    caught = 0;
    for (int i = 0; i < 20000; ++i) raise(SIGUSR1);
    return (uint64_t)caught;
}

// Code that is written, run once and written over.
static uint64_t fresh_code(void) {
    enum { SIZE = 256, FUNCTIONS = 64, ROUNDS = 150 };
    uint8_t* code = mmap(NULL, SIZE * FUNCTIONS, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED) return 0;
    uint64_t sum = 0;
    for (int round = 0; round < ROUNDS; ++round) {
        for (int f = 0; f < FUNCTIONS; ++f) {
            make_function(code + f * SIZE);
            sum += ((uint64_t(*)(uint64_t))(uintptr_t)(code + f * SIZE))(sum);
        }
    }
    munmap(code, SIZE * FUNCTIONS);
    return sum;
}

// Code that runs once: as above, but never over what has run before.
static uint64_t fresh_once(void) {
    enum { SIZE = 256, FUNCTIONS = 8000 };
    uint8_t* code = mmap(NULL, SIZE * FUNCTIONS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED) return 0;
    uint64_t sum = 0;
    for (int f = 0; f < FUNCTIONS; ++f) make_function(code + f * SIZE);
    mprotect(code, SIZE * FUNCTIONS, PROT_READ | PROT_EXEC);
    for (int f = 0; f < FUNCTIONS; ++f) sum += ((uint64_t(*)(uint64_t))(uintptr_t)(code + f * SIZE))(sum);
    munmap(code, SIZE * FUNCTIONS);
    return sum;
}

uint32_t vector_a[WORDS] __attribute__((aligned(64))), vector_b[WORDS] __attribute__((aligned(64)));

void fill_vectors(void) {
    for (int i = 0; i < WORDS; ++i) vector_a[i] = (uint32_t)next_random(), vector_b[i] = (uint32_t)next_random();
}

// memchr() looks at every byte that was copied.
uint64_t copies(size_t bytes, int count, void (*copy)(void*, const void*, size_t)) {
    static uint8_t from[1 << 20], to[1 << 20];
    uint64_t sum = 0;
    for (int i = 0; i < count; ++i) {
        const size_t at = (size_t)i * 67 % 997;
        memset(from + at, 0, bytes);
        from[at + bytes - 1] = (uint8_t)(i | 1);
        copy(to + at % 61, from + at, bytes);
        sum += (uint64_t)((uint8_t*)memchr(to + at % 61, (uint8_t)(i | 1), bytes) - to);
    }
    return sum;
}
static void copy_libc(void* to, const void* from, size_t n) { memcpy(to, from, n); }
static uint64_t copy_libc_24(void) { return copies(24, 400000, copy_libc); }
static uint64_t copy_libc_4k(void) { return copies(4096, 40000, copy_libc); }
static uint64_t copy_libc_400k(void) { return copies(400000, 400, copy_libc); }

// A tree-walking interpreter: an indirect call and a return for every node.
struct node {
    uint64_t (*eval)(const struct node*, uint64_t);
    const struct node *left, *right;
    uint64_t value;
};
static uint64_t eval_value(const struct node* n, uint64_t x) { return n->value + x; }
static uint64_t eval_add(const struct node* n, uint64_t x) { return n->left->eval(n->left, x) + n->right->eval(n->right, x); }
static uint64_t eval_xor(const struct node* n, uint64_t x) { return n->left->eval(n->left, x + 1) ^ n->right->eval(n->right, x); }
static uint64_t eval_mul(const struct node* n, uint64_t x) { return n->left->eval(n->left, x) * (n->right->eval(n->right, x) | 1); }

static uint64_t call_tree(void) {
    enum { LEAVES = 64 };
    static struct node nodes[2 * LEAVES];
    static uint64_t (*const kinds[])(const struct node*, uint64_t) = {eval_add, eval_xor, eval_mul};
    for (int i = 2 * LEAVES - 1; i > 0; --i) {
        nodes[i].value = next_random();
        nodes[i].eval = i >= LEAVES ? eval_value : kinds[nodes[i].value % 3];
        if (i < LEAVES) nodes[i].left = &nodes[2 * i], nodes[i].right = &nodes[2 * i + 1];
    }
    uint64_t sum = 0;
    for (int i = 0; i < 40000; ++i) sum += nodes[1].eval(&nodes[1], sum);
    return sum;
}

static uint64_t mix(uint64_t x, int rounds) {
    for (int i = 0; i < rounds; ++i) x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9ull + (uint64_t)i;
    return x;
}
static void* busy(void* arg) {
    *(uint64_t*)arg = mix(*(uint64_t*)arg, 60000000);
    return NULL;
}
static uint64_t on_threads(int count, void* (*work)(void*)) {
    pthread_t thread[8];
    uint64_t arg[8], sum = 0;
    for (int i = 0; i < count; ++i) arg[i] = (uint64_t)i, pthread_create(&thread[i], NULL, work, &arg[i]);
    for (int i = 0; i < count; ++i) pthread_join(thread[i], NULL), sum += arg[i];
    return sum;
}
static int several(void) { return sysconf(_SC_NPROCESSORS_ONLN) > 1; }
static uint64_t smp_one(void) { return on_threads(1, busy); }
static uint64_t smp_two(void) { return on_threads(2, busy); }

static _Atomic uint64_t shared;
static void* contend(void* arg) {
    for (int i = 0; i < 2000000; ++i) atomic_fetch_add(&shared, 1);
    *(uint64_t*)arg = 0;
    return NULL;
}
static uint64_t smp_atomics(void) {
    shared = 0;
    return on_threads(2, contend) + shared;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t guarded;
static void* lock_often(void* arg) {
    for (int i = 0; i < 200000; ++i) {
        pthread_mutex_lock(&mutex);
        ++guarded;
        pthread_mutex_unlock(&mutex);
    }
    *(uint64_t*)arg = 0;
    return NULL;
}
static uint64_t smp_mutex(void) {
    guarded = 0;
    return on_threads(2, lock_often) + guarded;
}

// Every munmap() interrupts the other processor to drop its translations.
static void* map_often(void* arg) {
    uint64_t sum = 0;
    for (int i = 0; i < 400; ++i) {
        uint8_t* p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) break;
        for (int n = 0; n < 4; ++n) sum += ++p[n * PAGE];
        munmap(p, 4 * PAGE);
    }
    *(uint64_t*)arg = sum;
    return NULL;
}
static uint64_t smp_maps(void) { return on_threads(2, map_often); }

// Programs of the guest's own: the checksum is the beginning of the MD5 sum of what they print.
static uint64_t shell(const char* command) {
    char line[512];
    unsigned long long sum = 0;
    snprintf(line, sizeof line, "{ %s; } | md5sum | cut -c 1-16", command);
    FILE* output = popen(line, "r");
    if (output == NULL || fscanf(output, "%llx", &sum) != 1) sum = 0;
    if (output != NULL) pclose(output);
    return sum;
}
static int in_guest(void) { return access("/bin/busybox", X_OK) == 0 && getpid() < 1000; }
static uint64_t app_bzip2(void) { return shell("head -c 300000 /bin/busybox | bzip2"); }
static uint64_t app_gzip(void) { return shell("gzip -9 < /bin/busybox"); }
static uint64_t app_sha(void) { return shell("cat /bin/busybox /bin/busybox | sha512sum"); }
static uint64_t app_sort(void) { return shell("seq 1 15000 | sed 's/\\(.*\\)\\(.\\)/\\2\\1/' | sort"); }
static uint64_t app_awk(void) {
    return shell("awk 'BEGIN { for (i = 0; i < 40000; i++) { s = (s * 31 + i) % 65521; a[s % 500] = a[s % 500] + s } "
                 "for (i = 0; i < 500; i++) print a[i] }'");
}
static uint64_t app_loop(void) { return shell("i=0; while [ $i -lt 30000 ]; do i=$((i + 1)); done; echo $i"); }
static uint64_t app_tools(void) { return shell("for i in $(seq 1 60); do expr $i + 1; basename /a/b$i; done"); }

const struct program system_programs[] = {
    {"sys-getpid", sys_getpid, NULL},
    {"sys-pagefault", sys_pagefault, NULL},
    {"sys-context", sys_context, NULL},
    {"sys-fork", sys_fork, NULL},
    {"sys-exec", sys_exec, NULL},
    {"sys-signal", sys_signal, NULL},
    {"fresh-code", fresh_code, NULL},
    {"fresh-once", fresh_once, NULL},
    {"copy-24", copy_libc_24, NULL},
    {"copy-4k", copy_libc_4k, NULL},
    {"copy-400k", copy_libc_400k, NULL},
    {"call-tree", call_tree, NULL},
    {"app-bzip2", app_bzip2, in_guest},
    {"app-gzip", app_gzip, in_guest},
    {"app-sha", app_sha, in_guest},
    {"app-sort", app_sort, in_guest},
    {"app-awk", app_awk, in_guest},
    {"app-loop", app_loop, in_guest},
    {"app-tools", app_tools, in_guest},
    {"smp-one", smp_one, several},
    {"smp-two", smp_two, several},
    {"smp-atomics", smp_atomics, several},
    {"smp-mutex", smp_mutex, several},
    {"smp-maps", smp_maps, several},
    {NULL, NULL, NULL},
};
