#include "cpu/arm64/lift/simd.h"

#include "cpu/arm64/fpu/status.h"

namespace tandem::cpu::arm64 {

// --- Helpers

void simd_exact(TranslateState* t, u32 kernel, u32 word) { simd::execute(t->s, static_cast<Kernel>(kernel), word); }

LeaveReason simd_retry(TranslateState* t, u32 kernel, u32 word) {
    simd::execute(t->s, static_cast<Kernel>(kernel), word);
    t->s.pstate &= ~pstate::kBtype;
    t->s.pc += 4;
    return LeaveReason::Lookup;
}

u64 fp_compare_exact(TranslateState* t, u32 word, u32 condition_holds) {
    return u64{condition_holds != 0 ? simd::execute_compare(t->s, word) : word & 15} << 28;
}
u64 fp_javascript_exact(TranslateState* t, u32 word) { return simd::execute_javascript_convert(t->s, word); }

// --- Rows that are their kernel

#define TANDEM_ARM64_KERNEL(name) \
    void exact_##name(Lifter& l) { exact(l, Kernel::name); }
#include "cpu/arm64/simd/kernels.inc"
#undef TANDEM_ARM64_KERNEL

// --- Vectors

Value low_bits(Lifter& l, Value v, unsigned bits) {
    switch (bits) {
        case 8: return v_op(l, Op::PAnd, v, constant(l, 0xff, 0));
        case 16: return v_op(l, Op::PAnd, v, constant(l, 0xffff, 0));
        case 32: return l.b.v_op(Op::InsertPS, {v, v}, 0x0e);
        case 64: return v_op(l, Op::PUnpckLQDQ, v, zero(l));
        default: return v;
    }
}

void set_vector(Lifter& l, Value v, unsigned esize) {
    l.set_v(l.rd(), low_bits(l, v, is_scalar_form(l) ? esize : is_q(l) ? 128 : 64));
}

Value permute_bytes(Lifter& l, std::span<const Value> sources, const ByteMap& map) {
    Value result = kNone;
    for (unsigned s = 0; s < sources.size(); ++s) {
        u8 selector[16];
        bool used = false, identity = true;
        for (unsigned i = 0; i < 16; ++i) {
            const bool from = map[i] >= 0 && static_cast<unsigned>(map[i]) / 16 == s;
            selector[i] = from ? static_cast<u8>(map[i] % 16) : u8{0x80};
            used |= from;
            identity &= selector[i] == i;
        }
        if (!used) continue;
        u64 lo = 0, hi = 0;
        for (unsigned i = 0; i < 8; ++i) {
            lo |= u64{selector[i]} << (8 * i);
            hi |= u64{selector[i + 8]} << (8 * i);
        }
        const Value part = identity ? sources[s] : v_op(l, Op::PShufB, sources[s], constant(l, lo, hi));
        result = result == kNone ? part : v_op(l, Op::POr, result, part);
    }
    return result == kNone ? zero(l) : result;
}

Value duplicate(Lifter& l, Value v, unsigned esize, unsigned index) {
    if (esize == 32) return v_imm(l, Op::PShufD, v, index * 0x55);
    if (esize == 64) return v_op(l, index == 0 ? Op::PUnpckLQDQ : Op::PUnpckHQDQ, v, v);
    ByteMap map{};
    const unsigned bytes = esize / 8;
    for (unsigned i = 0; i < 16; ++i) map[i] = static_cast<int>(index * bytes + i % bytes);
    return permute_bytes(l, {&v, 1}, map);
}

Value duplicate_general(Lifter& l, unsigned reg, unsigned esize) {
    return duplicate(l, l.b.v_from(l.x(reg, esize == 64 ? Type::I64 : Type::I32)), esize, 0);
}

Value unzip(Lifter& l, Value a, Value b, unsigned esize, bool odd, bool q) {
    if (esize == 64) return v_op(l, odd ? Op::PUnpckHQDQ : Op::PUnpckLQDQ, a, b);
    if (esize == 32 && q) return l.b.v_op(Op::ShufPS, {a, b}, odd ? 0xdd : 0x88);
    const unsigned bytes = esize / 8;
    const unsigned half = q ? 16 : 8;  // bytes of each source
    const Value sources[] = {q ? a : v_op(l, Op::PUnpckLQDQ, a, b), b};
    ByteMap map{};
    for (unsigned i = 0; i < 16; ++i) {
        const unsigned element = 2 * (i / bytes) + (odd ? 1 : 0);
        const unsigned at = element * bytes + i % bytes;
        map[i] = at < 2 * half ? static_cast<int>(at) : -1;
    }
    return permute_bytes(l, {sources, q ? 2u : 1u}, map);
}

Value widen(Lifter& l, Value v, unsigned esize, bool is_unsigned, bool high) {
    const Value from = high ? high_half(l, v) : v;
    const Op op = esize == 8    ? (is_unsigned ? Op::PMovZXBW : Op::PMovSXBW)
                  : esize == 16 ? (is_unsigned ? Op::PMovZXWD : Op::PMovSXWD)
                                : (is_unsigned ? Op::PMovZXDQ : Op::PMovSXDQ);
    return l.b.v_op(op, {from});
}

// --- Shifts by a constant

Value shift_left(Lifter& l, Value v, unsigned esize, unsigned count) {
    if (count == 0) return v;
    if (count >= esize) return zero(l);
    switch (esize) {
        case 8: return v_op(l, Op::PAnd, v_imm(l, Op::PSllWI, v, count), splat(l, 8, 0xffu << count));
        case 16: return v_imm(l, Op::PSllWI, v, count);
        case 32: return v_imm(l, Op::PSllDI, v, count);
        default: return v_imm(l, Op::PSllQI, v, count);
    }
}

Value shift_right_logical(Lifter& l, Value v, unsigned esize, unsigned count) {
    if (count == 0) return v;
    if (count >= esize) return zero(l);
    switch (esize) {
        case 8: return v_op(l, Op::PAnd, v_imm(l, Op::PSrlWI, v, count), splat(l, 8, 0xffu >> count));
        case 16: return v_imm(l, Op::PSrlWI, v, count);
        case 32: return v_imm(l, Op::PSrlDI, v, count);
        default: return v_imm(l, Op::PSrlQI, v, count);
    }
}

Value shift_right_arithmetic(Lifter& l, Value v, unsigned esize, unsigned count) {
    if (count == 0) return v;
    if (count >= esize) count = esize - 1;
    switch (esize) {
        case 8: {  // (x ^ m) - m extends the sign bit m
            const Value m = splat(l, 8, 0x80u >> count);
            return v_op(l, Op::PSubB, v_op(l, Op::PXor, shift_right_logical(l, v, 8, count), m), m);
        }
        case 16: return v_imm(l, Op::PSraWI, v, count);
        case 32: return v_imm(l, Op::PSraDI, v, count);
        default: {
            const Value sign = v_op(l, Op::PCmpGtQ, zero(l), v);
            return v_op(l, Op::POr, v_imm(l, Op::PSrlQI, v, count), v_imm(l, Op::PSllQI, sign, 64 - count));
        }
    }
}

}  // namespace tandem::cpu::arm64
