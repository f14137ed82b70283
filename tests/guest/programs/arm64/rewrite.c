// Code that is written over: in place, through a second mapping, in the page that is running, and under another thread.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tasks.h"

enum { PAGE = 4096, ROUNDS = 3000 };
typedef uint64_t (*function)(uint64_t);

enum { kRet = 0xd65f03c0u, kNop = 0xd503201fu };
static uint32_t movz(unsigned reg, uint32_t value) { return 0xd2800000u | value << 5 | reg; }
static uint32_t add(unsigned to, uint32_t value) { return 0x91000000u | value << 10 | to << 5 | to; }
static uint32_t branch(int words) { return 0x14000000u | ((uint32_t)words & 0x3ffffff); }

static void flush(void* at, unsigned bytes) { __builtin___clear_cache((char*)at, (char*)at + bytes); }
static function as_function(uint32_t* p) { return (function)(uintptr_t)p; }

static int in_place(uint32_t* code) {
    for (uint32_t i = 0; i < ROUNDS; ++i) {
        code[0] = add(0, i & 0xfff);
        code[1] = i % 2 == 0 ? add(0, 1) : kNop;
        code[2] = kRet;
        flush(code, 12);
        if (as_function(code)(7) != 7 + (i & 0xfff) + (i % 2 == 0)) return 1;
    }
    return 0;
}

// The function writes its own last instruction but one, in its own page, and then runs into it.
static int itself(uint32_t* code) {
    const uint32_t body[] = {
        0xb9001c01u,  // str w1, [x0, #28]: x0 is the code, w1 the instruction
        0xd50b7b20u,  // dc cvau, x0
        0xd5033b9fu,  // dsb ish
        0xd50b7520u,  // ic ivau, x0
        0xd5033b9fu,  // dsb ish
        0xd5033fdfu,  // isb
        kNop,
        kNop,  // the one that is replaced
        kRet,
    };
    memcpy(code, body, sizeof body);
    flush(code, sizeof body);
    uint64_t (*run)(void*, uint32_t) = (uint64_t(*)(void*, uint32_t))(uintptr_t)code;
    for (uint32_t i = 0; i < ROUNDS; ++i) {
        if (run(code, movz(0, i & 0xffff)) != (i & 0xffff)) return 1;
    }
    return 0;
}

static int two_mappings(void) {
    const int file = memfd_create("code", 0);
    if (file < 0 || ftruncate(file, PAGE) != 0) return 1;
    uint32_t* write_here = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    uint32_t* run_here = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
    if (write_here == MAP_FAILED || run_here == MAP_FAILED) return 1;
    int bad = 0;
    for (uint32_t i = 0; i < ROUNDS && !bad; ++i) {
        write_here[0] = movz(0, i);
        write_here[1] = kRet;
        flush(write_here, 8);
        flush(run_here, 8);
        bad = as_function(run_here)(0) != i;
    }
    munmap(write_here, PAGE);
    munmap(run_here, PAGE);
    close(file);
    return bad;
}

// B and NOP may be exchanged while others run them (Arm ARM, B2.2.5): the old or the new one is executed, nothing else.
static uint32_t* shared_code;
static _Atomic int stop, wrong;
static _Atomic uint64_t taken[2];
static void* run_shared(void* arg) {
    (void)arg;
    while (!stop) {
        const uint64_t value = as_function(shared_code)(0);
        if (value != 1 && value != 2) {
            wrong = 1;
        } else {
            ++taken[value - 1];
        }
    }
    return NULL;
}
static int under_another_thread(uint32_t* code) {
    pthread_t thread;
    const uint32_t program[] = {kNop, movz(0, 1), kRet, movz(0, 2), kRet};
    memcpy(code, program, sizeof program);
    flush(code, sizeof program);
    shared_code = code;
    pthread_create(&thread, NULL, run_shared, NULL);
    for (int i = 0; i < 400 && !wrong; ++i) {
        const int side = i % 2;
        __atomic_store_n(code, side == 0 ? branch(3) : kNop, __ATOMIC_RELAXED);
        flush(code, 4);
        // The other thread gets to see it without any barrier of its own.
        const uint64_t before = taken[1 - side];
        while (taken[1 - side] < before + 3 && !wrong) usleep(10);
    }
    stop = 1;
    pthread_join(thread, NULL);
    return wrong;
}

int run_rewrite(void) {
    uint32_t* code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED) return 1;
    const struct {
        const char* name;
        int bad;
    } rows[] = {{"in place", in_place(code)},
                {"itself", itself(code)},
                {"two mappings", two_mappings()},
                {"under another thread", under_another_thread(code)}};
    int bad = 0;
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; ++i) {
        printf("rewrite: %s: %s\n", rows[i].name, rows[i].bad ? "WRONG" : "right");
        bad |= rows[i].bad;
    }
    printf("rewrite: %s\n", bad == 0 ? "all right" : "WRONG");
    return bad;
}
