// What the benchmarks have of x86: machine code that they make, vector intrinsics, string instructions.
#ifdef __x86_64__
#include <immintrin.h>
#include <string.h>

#include "bench.h"

void make_function(uint8_t* p) {
    memcpy(p, "\x48\x89\xf8", 3), p += 3;  // mov rax, rdi
    for (int i = 0; i < 16; ++i) {
        const uint32_t value = (uint32_t)next_random() & 0x7fffffff;
        memcpy(p, "\x48\x05", 2), memcpy(p + 2, &value, 4), p += 6;       // add rax, value
        memcpy(p, "\x48\xc1\xc0", 3), p[3] = (uint8_t)(i + 1), p += 4;  // rol rax, i + 1
        if (i % 4 == 3) memcpy(p, "\x79\x03\x48\xf7\xd0", 5), p += 5;      // jns over: not rax
    }
    *p = 0xc3;
}

static uint64_t vec_sse(void) {
    fill_vectors();
    __m128i sum = _mm_setzero_si128();
    for (int round = 0; round < 1500; ++round) {
        for (int i = 0; i < WORDS; i += 4) {
            const __m128i a = _mm_load_si128((const __m128i*)(vector_a + i)), b = _mm_load_si128((const __m128i*)(vector_b + i));
            const __m128i mixed = _mm_xor_si128(_mm_add_epi32(a, sum), _mm_srli_epi32(b, 3));
            sum = _mm_add_epi32(sum, _mm_shuffle_epi32(_mm_mul_epu32(mixed, b), 0x4e));
        }
    }
    return (uint64_t)_mm_cvtsi128_si64(sum);
}

static int has_avx2(void) { return __builtin_cpu_supports("avx2") != 0; }
__attribute__((target("avx2"))) static uint64_t vec_avx2(void) {
    fill_vectors();
    __m256i sum = _mm256_setzero_si256();
    for (int round = 0; round < 1500; ++round) {
        for (int i = 0; i < WORDS; i += 8) {
            const __m256i a = _mm256_load_si256((const __m256i*)(vector_a + i));
            const __m256i b = _mm256_load_si256((const __m256i*)(vector_b + i));
            const __m256i mixed = _mm256_xor_si256(_mm256_add_epi32(a, sum), _mm256_srli_epi32(b, 3));
            sum = _mm256_add_epi32(sum, _mm256_permute4x64_epi64(_mm256_mul_epu32(mixed, b), 0x4e));
        }
    }
    return (uint64_t)_mm_cvtsi128_si64(_mm256_castsi256_si128(sum));
}

static void copy_rep(void* to, const void* from, size_t n) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}
static uint64_t copy_rep_24(void) { return copies(24, 100000, copy_rep); }
static uint64_t copy_rep_4k(void) { return copies(4096, 2000, copy_rep); }
static uint64_t copy_rep_400k(void) { return copies(400000, 20, copy_rep); }

const struct program isa_programs[] = {
    {"vec-sse", vec_sse, NULL},
    {"vec-avx2", vec_avx2, has_avx2},
    {"rep-24", copy_rep_24, NULL},
    {"rep-4k", copy_rep_4k, NULL},
    {"rep-400k", copy_rep_400k, NULL},
    {NULL, NULL, NULL},
};
#endif
