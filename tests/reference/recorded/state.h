/* The state that a recorded vector starts from: a function of its seed alone, for the recorder (C, any AArch64 Linux) and
   the test (C++). */
#pragma once

#include <stdint.h>

enum {
    kRecordedWords = 12,      /* of code: prefix, instruction, what follows it, and at kRecordedLiteral data for literals */
    kRecordedInstruction = 1, /* the next one, and the one behind that, are where it may go on */
    kRecordedLiteral = 8,
    kRecordedDataBytes = 0x2000,
    kRecordedMiddle = 0x1000 /* of the data: what base registers point to */
};

struct recorded_state {
    uint64_t x[31];
    uint64_t sp;
    uint64_t v[32][2];
    uint64_t nzcv; /* bits 31:28 */
    uint64_t fpcr;
    uint64_t fpsr;
};

static inline uint64_t recorded_random(uint64_t* seed) { /* SplitMix64 */
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Numbers of floating-point formats that are near each other, special values, and integers near their limits. */
static inline uint64_t recorded_element(uint64_t* seed, unsigned bits) {
    const unsigned fraction = bits == 64 ? 52 : bits == 32 ? 23 : bits == 16 ? 10 : 3;
    const uint64_t ones = bits == 64 ? ~UINT64_C(0) : (UINT64_C(1) << bits) - 1;
    const uint64_t infinity = (ones >> 1) & ~((UINT64_C(1) << fraction) - 1);
    const uint64_t r = recorded_random(seed);
    const uint64_t sign = (r >> 60 & 1) << (bits - 1);
    switch (r & 15) {
        case 0: return sign;
        case 1: return sign | infinity;
        case 2: return sign | infinity | UINT64_C(1) << (fraction - 1) | (r >> 40 & 3); /* quiet NaN */
        case 3: return sign | infinity | ((r >> 40 & 3) + 1);                           /* signalling NaN */
        case 4: return sign | (r >> 8 & ((UINT64_C(1) << fraction) - 1));               /* denormal */
        case 5: return (r >> 40 & 7) & ones;
        case 6: return ones - (r >> 40 & 7);
        case 7: return (ones >> 1) + (r >> 40 & 1);
        default: break;
    }
    if ((r & 8) != 0 && (r & 1) != 0) return r >> 3 & ones;
    const uint64_t exponent = (infinity >> fraction) / 2 - 6 + (r >> 8) % 14;
    return (sign | (exponent << fraction & infinity) | (recorded_random(seed) & ((UINT64_C(1) << fraction) - 1))) & ones;
}

/* `data`: the address of its middle. `small`: general-purpose registers below 32, for offsets. */
static inline void recorded_start(uint64_t seed, uint64_t data, int base, int small, struct recorded_state* s,
                                  unsigned char* bytes) {
    const uint64_t kinds = recorded_random(&seed);
    const unsigned width = 8u << (kinds & 3);
    for (int i = 0; i < 31; ++i) {
        const uint64_t value = recorded_element(&seed, 64);
        s->x[i] = small ? value & 31 : value;
    }
    for (int i = 0; i < 64; ++i) {
        uint64_t lane = 0;
        for (unsigned at = 0; at < 64; at += width) lane |= recorded_element(&seed, width) << at;
        s->v[i / 2][i % 2] = lane;
    }
    s->sp = data;
    if (base >= 0 && base < 31) s->x[base] = data;
    s->nzcv = kinds & UINT64_C(0xf0000000);
    s->fpsr = 0;
    /* Every other vector has another rounding mode, and some of them DN and FZ. */
    s->fpcr = (kinds >> 4 & 1) ? kinds & UINT64_C(0x03c00000) : 0;
    for (int i = 0; i < kRecordedDataBytes; ++i) bytes[i] = (unsigned char)recorded_random(&seed);
}
