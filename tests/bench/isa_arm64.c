// What the benchmarks have of AArch64: machine code that they make, vector intrinsics.
#ifdef __aarch64__
#include <arm_neon.h>
#include <string.h>

#include "bench.h"

static uint32_t* put(uint32_t* p, uint32_t word) {
    *p = word;
    return p + 1;
}

void make_function(uint8_t* at) {
    uint32_t* p = (uint32_t*)at;
    for (uint32_t i = 0; i < 16; ++i) {
        p = put(p, 0x91000000u | (uint32_t)(next_random() & 0xfff) << 10);  // add x0, x0, #value
        p = put(p, 0x93c00000u | (i + 1) << 10);                            // ror x0, x0, #(i + 1)
        if (i % 4 == 3) {
            p = put(p, 0xb6f80040u);  // tbz x0, #63, over
            p = put(p, 0xaa2003e0u);  // mvn x0, x0
        }
    }
    p = put(p, 0xd65f03c0u);  // ret
    __builtin___clear_cache((char*)at, (char*)p);
}

static uint64_t vec_neon(void) {
    fill_vectors();
    uint32x4_t sum = vdupq_n_u32(0);
    for (int round = 0; round < 1500; ++round) {
        for (int i = 0; i < WORDS; i += 4) {
            const uint32x4_t a = vld1q_u32(vector_a + i), b = vld1q_u32(vector_b + i);
            const uint32x4_t mixed = veorq_u32(vaddq_u32(a, sum), vshrq_n_u32(b, 3));
            const uint64x2_t product = vmull_u32(vmovn_u64(vreinterpretq_u64_u32(mixed)), vmovn_u64(vreinterpretq_u64_u32(b)));
            const uint32x4_t p = vreinterpretq_u32_u64(product);
            sum = vaddq_u32(sum, vextq_u32(p, p, 2));
        }
    }
    return vgetq_lane_u64(vreinterpretq_u64_u32(sum), 0);
}

const struct program isa_programs[] = {
    {"vec-neon", vec_neon, NULL},
    {NULL, NULL, NULL},
};
#endif
