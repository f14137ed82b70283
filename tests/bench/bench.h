// The rows of the benchmark programs: programs.c has hot loops, system.c what a guest asks of its kernel, of the translator
// and of several processors, io.c of its disk and network.
#ifndef TANDEM_BENCH_H
#define TANDEM_BENCH_H

#include <stddef.h>
#include <stdint.h>

struct program {
    const char* name;       // GROUP-WHAT; groups are summed up by geometric means
    uint64_t (*run)(void);  // the work's checksum, the same on every machine
    int (*offered)(void);   // null: always; else whether the processor can
};

extern const struct program system_programs[];  // ends with a row without name
extern const struct program isa_programs[];     // the same; what only this processor has
extern const struct program io_programs[];

uint64_t next_random(void);
// Two vectors of random numbers.
enum { WORDS = 4096 };
extern uint32_t vector_a[WORDS], vector_b[WORDS];
void fill_vectors(void);
// Copies so many bytes `count` times, from and to changing addresses. Every byte of the copy is looked at.
uint64_t copies(size_t bytes, int count, void (*copy)(void*, const void*, size_t));
// Writes a function uint64_t(uint64_t) of 40 instructions and five blocks that computes with random constants, in at most
// 256 bytes, ready to be run.
void make_function(uint8_t* at);

#endif
