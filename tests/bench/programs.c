// Guest benchmark programs: hot loops that fit in cache, each with a checksum so that a wrong result is seen. Runs on the host too.
// Usage: bench [PREFIX...]; prints "bench NAME MILLISECONDS CHECKSUM" per program whose name begins with one of them.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

static const uint64_t first_seed = 88172645463325252ull;
static uint64_t seed;
uint64_t next_random(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint8_t buffer[1 << 16];

static uint64_t crc32_table(void) {
    static uint32_t table[256];
    for (uint32_t i = 0; i < 256; ++i) {
        uint32_t c = i;
        for (int k = 0; k < 8; ++k) c = (c & 1) ? 0xedb88320u ^ (c >> 1) : c >> 1;
        table[i] = c;
    }
    uint32_t crc = ~0u;
    for (int round = 0; round < 600; ++round) {
        for (size_t i = 0; i < sizeof buffer; ++i) crc = table[(crc ^ buffer[i]) & 0xff] ^ (crc >> 8);
    }
    return crc;
}

static uint32_t rotate_right(uint32_t x, int n) { return x >> n | x << (32 - n); }

// SHA-256's compression function (FIPS 180-4, 6.2.2) with the round constants replaced by a generator's: the same work, less text.
static uint64_t sha256(void) {
    static uint32_t k[64];
    for (int i = 0; i < 64; ++i) k[i] = (uint32_t)next_random();
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    for (int round = 0; round < 120; ++round) {
        for (size_t at = 0; at + 64 <= sizeof buffer; at += 64) {
            uint32_t w[64];
            for (int i = 0; i < 16; ++i) {
                memcpy(&w[i], buffer + at + 4 * (size_t)i, 4);
                w[i] = __builtin_bswap32(w[i]);
            }
            for (int i = 16; i < 64; ++i) {
                const uint32_t s0 = rotate_right(w[i - 15], 7) ^ rotate_right(w[i - 15], 18) ^ w[i - 15] >> 3;
                const uint32_t s1 = rotate_right(w[i - 2], 17) ^ rotate_right(w[i - 2], 19) ^ w[i - 2] >> 10;
                w[i] = w[i - 16] + s0 + w[i - 7] + s1;
            }
            uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], x = h[7];
            for (int i = 0; i < 64; ++i) {
                const uint32_t s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
                const uint32_t t1 = x + s1 + ((e & f) ^ (~e & g)) + k[i] + w[i];
                const uint32_t s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
                const uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
                x = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
            }
            h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += x;
        }
    }
    return (uint64_t)h[0] << 32 | h[7];
}

static int compare(const void* a, const void* b) {
    const uint32_t x = *(const uint32_t*)a, y = *(const uint32_t*)b;
    return (x > y) - (x < y);
}

static uint64_t sorting(void) {
    static uint32_t data[100000];
    uint64_t sum = 0;
    for (int round = 0; round < 6; ++round) {
        const size_t n = sizeof data / sizeof data[0];
        for (size_t i = 0; i < n; ++i) data[i] = (uint32_t)next_random();
        qsort(data, n, sizeof data[0], compare);
        sum += data[n / 2] ^ data[n / 7];
    }
    return sum;
}

enum { N = 96 };

static uint64_t matrix_int(void) {
    static int32_t a[N][N], b[N][N], c[N][N];
    for (int i = 0; i < N * N; ++i) {
        a[i / N][i % N] = (int32_t)(next_random() & 0xff);
        b[i / N][i % N] = (int32_t)(next_random() & 0xff);
    }
    uint64_t sum = 0;
    for (int round = 0; round < 40; ++round) {
        for (int i = 0; i < N; ++i) {
            for (int j = 0; j < N; ++j) {
                int32_t s = 0;
                for (int k = 0; k < N; ++k) s += a[i][k] * b[k][j];
                c[i][j] = s + round;
            }
        }
        sum += (uint32_t)c[round % N][N - 1 - round % N];
    }
    return sum;
}

// A bytecode interpreter that sums the lengths of Collatz sequences: dispatch by a jump table, operands in memory.
enum Code { COPY, SHIFT, TRIPLE, COUNT, IF_ODD, IF_MORE, LOOP, STOP };
struct Word {
    enum Code code;
    int target;
};

static uint64_t bytecode(void) {
    static const struct Word program[] = {{COPY, 0},    {COUNT, 0}, {IF_ODD, 5}, {SHIFT, 0}, {IF_MORE, 1},
                                          {TRIPLE, 0},  {IF_MORE, 1}, {LOOP, 0},  {STOP, 0}};
    // The fall-through of instruction 4 (sequence finished on an even number) must skip TRIPLE: value is 1 there, and TRIPLE
    // leaves 1 alone.
    uint64_t value = 1, counter = 40000, steps = 0;
    for (int pc = 0;;) {
        const struct Word* w = &program[pc++];
        switch (w->code) {
            case COPY: value = counter; break;
            case COUNT: ++steps; break;
            case SHIFT: value >>= 1; break;
            case TRIPLE: value = value == 1 ? 1 : 3 * value + 1; break;
            case IF_ODD: pc = value & 1 ? w->target : pc; break;
            case IF_MORE: pc = value > 1 ? w->target : pc; break;
            case LOOP: pc = --counter > 1 ? w->target : pc; break;
            case STOP: return steps;
        }
    }
}

static uint64_t strings(void) {
    static char text[1 << 15];
    for (size_t i = 0; i + 1 < sizeof text; ++i) text[i] = (char)('a' + next_random() % 26);
    uint64_t sum = 0;
    for (int round = 0; round < 3000; ++round) {
        text[(size_t)round % (sizeof text - 1)] ^= 1;
        sum += strlen(text);
        const char* at = memchr(text + round % 1000, '{', sizeof text - 1001);
        sum += at ? (uint64_t)(at - text) : 1;
        memmove(text + 1, text, sizeof text / 2);
    }
    return sum;
}

static uint64_t fold(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static uint64_t nbody(void) {
    double x[5] = {0, 4.84, 8.34, 12.89, 15.37}, y[5] = {0, -1.16, 4.12, -15.11, -25.9}, z[5] = {0, -.10, -4.03, -.22, .17};
    double vx[5] = {0, .6, -1.01, 1.08, .97}, vy[5] = {0, 2.8, 1.8, .86, .59}, vz[5] = {0, -.02, .008, -.01, -.03};
    const double m[5] = {39.47, .037, .011, .0017, .002};
    for (int step = 0; step < 60000; ++step) {
        for (int i = 0; i < 5; ++i) {
            for (int j = i + 1; j < 5; ++j) {
                const double dx = x[i] - x[j], dy = y[i] - y[j], dz = z[i] - z[j];
                const double d2 = dx * dx + dy * dy + dz * dz;
                const double mag = 0.001 / (d2 * __builtin_sqrt(d2));
                vx[i] -= dx * m[j] * mag, vy[i] -= dy * m[j] * mag, vz[i] -= dz * m[j] * mag;
                vx[j] += dx * m[i] * mag, vy[j] += dy * m[i] * mag, vz[j] += dz * m[i] * mag;
            }
        }
        for (int i = 0; i < 5; ++i) x[i] += .001 * vx[i], y[i] += .001 * vy[i], z[i] += .001 * vz[i];
    }
    return fold(x[0] + y[1] + z[2] + vx[3]);
}

static uint64_t mandelbrot(void) {
    uint64_t count = 0;
    for (int py = 0; py < 120; ++py) {
        for (int px = 0; px < 160; ++px) {
            const double cx = px / 60.0 - 2, cy = py / 60.0 - 1;
            double a = 0, b = 0;
            int n = 0;
            while (n < 200 && a * a + b * b < 4) {
                const double t = a * a - b * b + cx;
                b = 2 * a * b + cy;
                a = t;
                ++n;
            }
            count += (uint64_t)n;
        }
    }
    return count;
}

static uint64_t matrix_float(void) {
    static float a[N][N], b[N][N], c[N][N];
    for (int i = 0; i < N; ++i) {
        for (int j = 0; j < N; ++j) {
            a[i][j] = (float)(i * j % 17) / 3;
            b[i][j] = (float)(i + j) / 7;
            c[i][j] = 0;
        }
    }
    for (int round = 0; round < 40; ++round) {
        for (int i = 0; i < N; ++i) {
            for (int k = 0; k < N; ++k) {
                for (int j = 0; j < N; ++j) c[i][j] += a[i][k] * b[k][j];
            }
        }
    }
    return fold((double)c[N / 2][N / 3]);
}

static const struct program hot_programs[] = {
    {"int-crc32", crc32_table, NULL}, {"int-sha256", sha256, NULL},   {"int-sort", sorting, NULL},
    {"int-matrix", matrix_int, NULL}, {"int-bytecode", bytecode, NULL}, {"int-strings", strings, NULL},
    {"fp-nbody", nbody, NULL},        {"fp-mandelbrot", mandelbrot, NULL}, {"fp-matrix", matrix_float, NULL},
    {NULL, NULL, NULL},
};

static void run_one(const struct program* program) {
    struct timespec start, end;
    seed = first_seed;
    clock_gettime(CLOCK_MONOTONIC, &start);
    const uint64_t sum = program->run();
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double ms = (double)(end.tv_sec - start.tv_sec) * 1e3 + (double)(end.tv_nsec - start.tv_nsec) / 1e6;
    printf("bench %s %.2f %016llx\n", program->name, ms, (unsigned long long)sum);
    fflush(stdout);
}

static int wanted(const char* name, int argc, char** argv) {
    int found = argc == 1;
    for (int i = 1; i < argc; ++i) found |= strncmp(name, argv[i], strlen(argv[i])) == 0;
    return found;
}

int main(int argc, char** argv) {
    seed = first_seed;
    for (size_t i = 0; i < sizeof buffer; ++i) buffer[i] = (uint8_t)next_random();
    const struct program* const tables[] = {hot_programs, system_programs, isa_programs, io_programs};
    for (size_t t = 0; t < sizeof tables / sizeof *tables; ++t) {
        for (const struct program* p = tables[t]; p->name; ++p) {
            if (wanted(p->name, argc, argv) && (!p->offered || p->offered())) run_one(p);
        }
    }
    return 0;
}
