// Inside the interpreter: the kernel of one row of vector_ops.inc on 128 bits, from which execute_vector_row() makes the
// wider forms.
#pragma once

#include <emmintrin.h>

#include "jit/interp/vector_rows.h"

namespace tandem::jit::interp {

struct Operands {
    ir::Op op;
    __m128i a;
    __m128i b;
    __m128i c;
    u64 integer;  // last argument where it is an integer
    u32 imm;
    bool wide;  // the integer side is I64
};

// Fills a vector or integer result.
using RowFunction = Slot (*)(const Operands&);

inline Slot vector_slot(__m128i v) {
    Slot s;
    _mm_store_si128(reinterpret_cast<__m128i*>(&s), v);
    return s;
}
inline __m128i load_slot(const Slot& s) { return _mm_load_si128(reinterpret_cast<const __m128i*>(&s)); }

// The lanes of a 128-bit value.
template <class T>
struct Lanes {
    static constexpr unsigned kCount = 16 / sizeof(T);
    T lane[kCount];
    Lanes() : lane{} {}
    explicit Lanes(__m128i v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(lane), v); }
    [[nodiscard]] __m128i value() const { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(lane)); }
};

// Kernels of the rows without a legacy SSE instruction; null for the rows that cross the halves, which cross_halves() does.
RowFunction avx_kernel(ir::Op op);
// VPERMD, VPERMQ, VPERM2I128.
Slot cross_halves(ir::Op op, const Slot& a, const Slot& b, u32 imm);

// VCVTPH2PS, VCVTPS2PH and the VFMADD family, by the host's instruction where it has one; else computed.
Slot half_to_single(const Operands& o);
Slot single_to_half(const Operands& o);
Slot fused_multiply_add(const Operands& o);
Slot half_to_single_computed(const Operands& o);
Slot single_to_half_computed(const Operands& o);
Slot fused_multiply_add_computed(const Operands& o);

// The predicates 8 to 31 of CMPPS, CMPPD, CMPSS and CMPSD; `compare` is the kernel for 0 to 7.
Slot compare_extended(const Operands& o, RowFunction compare);

}  // namespace tandem::jit::interp
