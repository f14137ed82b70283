// Rows of AVX and AVX2 that have no legacy SSE instruction, in portable code.
#include <cstring>

#include "jit/interp/vector_kernels.h"

namespace tandem::jit::interp {
namespace {

using ir::Op;

template <class T>
Slot broadcast(const Operands& o) {
    Lanes<T> v(o.a);
    for (T& lane : v.lane) lane = v.lane[0];
    return vector_slot(v.value());
}

enum class Shift : u8 { Left, Right, Arithmetic };

// Counts beyond the width give zero, or the sign.
template <class T, Shift kind>
Slot shift_each(const Operands& o) {
    constexpr unsigned kWidth = sizeof(T) * 8;
    Lanes<T> v(o.a);
    const Lanes<T> counts(o.b);
    for (unsigned n = 0; n < v.kCount; ++n) {
        const T count = counts.lane[n];
        T& lane = v.lane[n];
        if constexpr (kind == Shift::Arithmetic) {
            lane = static_cast<T>(static_cast<std::make_signed_t<T>>(lane) >> (count < kWidth ? count : kWidth - 1));
        } else if (count >= kWidth) {
            lane = 0;
        } else {
            lane = kind == Shift::Left ? static_cast<T>(lane << count) : static_cast<T>(lane >> count);
        }
    }
    return vector_slot(v.value());
}

Slot permute_singles(const Operands& o) {
    const Lanes<u32> from(o.a);
    const Lanes<u32> control(o.b);
    Lanes<u32> v;
    for (unsigned n = 0; n < 4; ++n) v.lane[n] = from.lane[control.lane[n] & 3];
    return vector_slot(v.value());
}

Slot permute_doubles(const Operands& o) {
    const Lanes<u64> from(o.a);
    const Lanes<u64> control(o.b);
    Lanes<u64> v;
    for (unsigned n = 0; n < 2; ++n) v.lane[n] = from.lane[control.lane[n] >> 1 & 1];
    return vector_slot(v.value());
}

Slot permute_singles_imm(const Operands& o) {
    const Lanes<u32> from(o.a);
    Lanes<u32> v;
    for (unsigned n = 0; n < 4; ++n) v.lane[n] = from.lane[o.imm >> 2 * n & 3];
    return vector_slot(v.value());
}

Slot permute_doubles_imm(const Operands& o) {
    const Lanes<u64> from(o.a);
    Lanes<u64> v;
    for (unsigned n = 0; n < 2; ++n) v.lane[n] = from.lane[o.imm >> n & 1];
    return vector_slot(v.value());
}

Slot blend_words(const Operands& o) {
    Lanes<u32> v(o.a);
    const Lanes<u32> other(o.b);
    for (unsigned n = 0; n < 4; ++n) {
        if ((o.imm >> n & 1) != 0) v.lane[n] = other.lane[n];
    }
    return vector_slot(v.value());
}

// ZF: no sign bit of a AND b; CF: none of NOT a AND b.
template <class T>
Slot test_signs(const Operands& o) {
    constexpr unsigned kSign = sizeof(T) * 8 - 1;
    const Lanes<T> a(o.a);
    const Lanes<T> b(o.b);
    T both = 0;
    T second = 0;
    for (unsigned n = 0; n < a.kCount; ++n) {
        both |= a.lane[n] & b.lane[n];
        second |= static_cast<T>(~a.lane[n]) & b.lane[n];
    }
    return {(both >> kSign == 0 ? u64{0x40} : 0) | (second >> kSign == 0 ? 1u : 0u)};
}

}  // namespace

RowFunction avx_kernel(Op op) {
    switch (op) {
        case Op::PBroadcastB: return broadcast<u8>;
        case Op::PBroadcastW: return broadcast<u16>;
        case Op::PBroadcastD: return broadcast<u32>;
        case Op::PBroadcastQ: return broadcast<u64>;
        case Op::PSllVD: return shift_each<u32, Shift::Left>;
        case Op::PSllVQ: return shift_each<u64, Shift::Left>;
        case Op::PSrlVD: return shift_each<u32, Shift::Right>;
        case Op::PSrlVQ: return shift_each<u64, Shift::Right>;
        case Op::PSraVD: return shift_each<u32, Shift::Arithmetic>;
        case Op::PermilPS: return permute_singles;
        case Op::PermilPD: return permute_doubles;
        case Op::PermilPSI: return permute_singles_imm;
        case Op::PermilPDI: return permute_doubles_imm;
        case Op::PBlendD: return blend_words;
        case Op::VTestPS: return test_signs<u32>;
        case Op::VTestPD: return test_signs<u64>;
        case Op::CvtPH2PS: return half_to_single;
        case Op::CvtPS2PH: return single_to_half;
        default: return op >= Op::FMAdd132PS && op <= Op::FMSubAdd231PD ? fused_multiply_add : nullptr;
    }
}

Slot cross_halves(Op op, const Slot& a, const Slot& b, u32 imm) {
    Slot out;
    if (op == Op::PermD) {
        u32 index[8], from[8], to[8];
        std::memcpy(index, &a, sizeof index);
        std::memcpy(from, &b, sizeof from);
        for (unsigned n = 0; n < 8; ++n) to[n] = from[index[n] & 7];
        std::memcpy(static_cast<void*>(&out), to, sizeof to);
        return out;
    }
    u64 from[8], to[4];
    std::memcpy(from, &a, 32);
    std::memcpy(from + 4, &b, 32);
    for (unsigned n = 0; n < 4; ++n) {
        if (op == Op::PermQ) {
            to[n] = from[imm >> 2 * n & 3];
        } else {  // Perm2I128: four bits of imm for each half
            const u32 control = imm >> n / 2 * 4;
            to[n] = (control & 8) != 0 ? 0 : from[(control & 3) * 2 + n % 2];
        }
    }
    std::memcpy(static_cast<void*>(&out), to, sizeof to);
    return out;
}

Slot compare_extended(const Operands& o, RowFunction compare) {
    const bool scalar = o.op == Op::CmpSS || o.op == Op::CmpSD;
    const u32 relation = o.imm & 15;
    // By relation, on ordered operands: less, equal or greater; and whether NaNs satisfy it, whether it signals quiet ones.
    constexpr u32 kLess = 1, kEqual = 2, kGreater = 4;
    constexpr u8 kOrdered[16] = {kEqual, kLess, kLess | kEqual, 0, kLess | kGreater, kEqual | kGreater, kGreater, 7,
                                 kEqual, kLess, kLess | kEqual, 0, kLess | kGreater, kEqual | kGreater, kGreater, 7};
    constexpr u32 kUnordered = 0x8778;
    constexpr u32 kSignals = 0x6666;
    const auto run = [&](u32 predicate, __m128i a, __m128i b) {
        Operands basic = o;
        basic.a = a;
        basic.b = b;
        basic.imm = predicate;
        return load_slot(compare(basic));
    };
    const __m128i ones = _mm_set1_epi32(-1);
    const __m128i unordered = run(3, o.a, o.b);
    if (((kSignals >> relation & 1) != 0) != (o.imm >= 16)) run(1, o.a, o.b);
    const __m128i a = _mm_andnot_si128(unordered, o.a);
    const __m128i b = _mm_andnot_si128(unordered, o.b);
    const __m128i less = run(1, a, b);
    const __m128i equal = run(0, a, b);
    __m128i truth = _mm_setzero_si128();
    if ((kOrdered[relation] & kLess) != 0) truth = _mm_or_si128(truth, less);
    if ((kOrdered[relation] & kEqual) != 0) truth = _mm_or_si128(truth, equal);
    if ((kOrdered[relation] & kGreater) != 0) {
        truth = _mm_or_si128(truth, _mm_andnot_si128(_mm_or_si128(less, equal), ones));
    }
    truth = _mm_andnot_si128(unordered, truth);
    if ((kUnordered >> relation & 1) != 0) truth = _mm_or_si128(truth, unordered);
    if (!scalar) return vector_slot(truth);
    const __m128i lane = o.op == Op::CmpSS ? _mm_setr_epi32(-1, 0, 0, 0) : _mm_setr_epi32(-1, -1, 0, 0);
    return vector_slot(_mm_or_si128(_mm_and_si128(lane, truth), _mm_andnot_si128(lane, o.a)));
}

}  // namespace tandem::jit::interp
