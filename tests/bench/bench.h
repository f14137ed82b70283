// The rows of the benchmark programs: programs.c has hot loops, system.c what a guest asks of its kernel, of the translator
// and of several processors, io.c of its disk and network.
#ifndef TANDEM_BENCH_H
#define TANDEM_BENCH_H

#include <stdint.h>

struct program {
    const char* name;       // GROUP-WHAT; groups are summed up by geometric means
    uint64_t (*run)(void);  // the work's checksum, the same on every machine
    int (*offered)(void);   // null: always; else whether the processor can
};

extern const struct program system_programs[];  // ends with a row without name
extern const struct program io_programs[];      // the same

uint64_t next_random(void);

#endif
