// Advanced SIMD integer instructions on elements of one size.
#include "cpu/arm64/lift/simd.h"

namespace tandem::cpu::arm64 {
namespace {

constexpr BySize kMaxSigned{{Op::PMaxSB, Op::PMaxSW, Op::PMaxSD, Op::Count_}};
constexpr BySize kMaxUnsigned{{Op::PMaxUB, Op::PMaxUW, Op::PMaxUD, Op::Count_}};
constexpr BySize kMinSigned{{Op::PMinSB, Op::PMinSW, Op::PMinSD, Op::Count_}};
constexpr BySize kMinUnsigned{{Op::PMinUB, Op::PMinUW, Op::PMinUD, Op::Count_}};

unsigned esize_of(const Lifter& l) { return 8u << size_field(l); }

Op max_or_min(unsigned esize, bool is_unsigned, bool minimum) {
    const BySize& row = minimum ? (is_unsigned ? kMinUnsigned : kMinSigned) : (is_unsigned ? kMaxUnsigned : kMaxSigned);
    return row.of(esize);
}

// All ones where a >= b.
Value greater_equal(Lifter& l, Value a, Value b, unsigned esize, bool is_unsigned) {
    if (esize != 64) return v_op(l, kEqual.of(esize), v_op(l, max_or_min(esize, is_unsigned, false), a, b), a);
    if (is_unsigned) {
        const Value bias = splat(l, 64, u64{1} << 63);
        a = v_op(l, Op::PXor, a, bias);
        b = v_op(l, Op::PXor, b, bias);
    }
    return v_not(l, v_op(l, Op::PCmpGtQ, b, a));
}

Value product(Lifter& l, Value a, Value b, unsigned esize) {
    if (esize == 16) return v_op(l, Op::PMulLW, a, b);
    if (esize == 32) return v_op(l, Op::PMulLD, a, b);
    // Bytes: even and odd ones as words.
    const Value even = v_op(l, Op::PAnd, v_op(l, Op::PMulLW, a, b), splat(l, 16, 0xff));
    const Value odd = v_op(l, Op::PMulLW, v_imm(l, Op::PSrlWI, a, 8), v_imm(l, Op::PSrlWI, b, 8));
    return v_op(l, Op::POr, even, v_imm(l, Op::PSllWI, odd, 8));
}

// Adjacent elements summed to twice their size.
Value long_pairs(Lifter& l, Value a, unsigned esize, bool is_unsigned) {
    if (esize == 8) {
        const Value one = splat(l, 8, 1);  // PMADDUBSW takes its first operand as unsigned
        return is_unsigned ? v_op(l, Op::PMAddUBSW, a, one) : v_op(l, Op::PMAddUBSW, one, a);
    }
    if (esize == 16 && !is_unsigned) return v_op(l, Op::PMAddWD, a, splat(l, 16, 1));
    const unsigned wide = 2 * esize;
    const auto extended = [&](Value v) {  // the upper halves of the wide elements, in their place
        return is_unsigned ? shift_right_logical(l, v, wide, esize) : shift_right_arithmetic(l, v, wide, esize);
    };
    return v_op(l, kAdd.of(wide), extended(a), extended(shift_left(l, a, wide, esize)));
}

Value compare_zero(Lifter& l, Value a, unsigned esize) {
    const Value none = zero(l);
    switch (l.field(29, 29) << 2 | l.field(13, 12)) {
        case 0: return v_op(l, kGreater.of(esize), a, none);             // CMGT
        case 1: return v_op(l, kEqual.of(esize), a, none);               // CMEQ
        case 2: return v_op(l, kGreater.of(esize), none, a);             // CMLT
        case 4: return v_not(l, v_op(l, kGreater.of(esize), none, a));   // CMGE
        default: return v_not(l, v_op(l, kGreater.of(esize), a, none));  // CMLE
    }
}

}  // namespace

void lift_add_sub_vector(Lifter& l) {
    const unsigned esize = esize_of(l);
    set_vector(l, v_op(l, (l.is(29) ? kSub : kAdd).of(esize), l.v(l.rn()), l.v(l.rm())), esize);
}

void lift_compare(Lifter& l) {
    const unsigned esize = esize_of(l);
    const bool u = l.is(29);
    const Value a = l.v(l.rn());
    const Value b = l.v(l.rm());
    Value r = kNone;
    switch (l.field(15, 11)) {
        case 0b00110:  // CMGT, CMHI: not b >= a
            r = u ? v_not(l, greater_equal(l, b, a, esize, true)) : v_op(l, kGreater.of(esize), a, b);
            break;
        case 0b00111: r = greater_equal(l, a, b, esize, u); break;
        default:  // CMTST, CMEQ
            r = u ? v_op(l, kEqual.of(esize), a, b) : v_not(l, v_op(l, kEqual.of(esize), v_op(l, Op::PAnd, a, b), zero(l)));
            break;
    }
    set_vector(l, r, esize);
}

void lift_compare_zero(Lifter& l) { set_vector(l, compare_zero(l, l.v(l.rn()), esize_of(l)), esize_of(l)); }

void lift_max_min(Lifter& l) {
    set_vector(l, v_op(l, max_or_min(esize_of(l), l.is(29), l.is(11)), l.v(l.rn()), l.v(l.rm())));
}

void lift_absolute_difference(Lifter& l) {  // SABD to UABA
    const unsigned esize = esize_of(l);
    const Value a = l.v(l.rn());
    const Value b = l.v(l.rm());
    Value r = v_op(l, kSub.of(esize), v_op(l, max_or_min(esize, l.is(29), false), a, b),
                   v_op(l, max_or_min(esize, l.is(29), true), a, b));
    if (l.is(11)) r = v_op(l, kAdd.of(esize), l.v(l.rd()), r);
    set_vector(l, r);
}

void lift_rounding_halving_add(Lifter& l) {  // URHADD
    if (size_field(l) == 2) return exact(l, Kernel::rounding_halving_add);
    set_vector(l, v_op(l, size_field(l) == 0 ? Op::PAvgB : Op::PAvgW, l.v(l.rn()), l.v(l.rm())));
}

void lift_multiply_vector(Lifter& l) {  // MUL, MLA, MLS
    const unsigned esize = esize_of(l);
    Value r = product(l, l.v(l.rn()), l.v(l.rm()), esize);
    if (!l.is(11)) r = v_op(l, (l.is(29) ? kSub : kAdd).of(esize), l.v(l.rd()), r);
    set_vector(l, r);
}

void lift_multiply_by_element(Lifter& l) {
    const unsigned esize = esize_of(l);
    const unsigned h = l.field(11, 11), lm = l.field(21, 20);
    const unsigned reg = esize == 16 ? l.field(19, 16) : l.rm();
    const unsigned index = esize == 16 ? h << 2 | lm : h << 1 | lm >> 1;
    Value r = product(l, l.v(l.rn()), duplicate(l, l.v(reg), esize, index), esize);
    if (l.is(29)) r = v_op(l, (l.is(14) ? kSub : kAdd).of(esize), l.v(l.rd()), r);
    set_vector(l, r);
}

void lift_pairwise(Lifter& l) {  // ADDP, SMAXP to UMINP
    const unsigned esize = esize_of(l);
    const Value a = l.v(l.rn());
    const Value b = l.v(l.rm());
    const Value even = unzip(l, a, b, esize, false, is_q(l));
    const Value odd = unzip(l, a, b, esize, true, is_q(l));
    const Op op = l.is(12) ? kAdd.of(esize) : max_or_min(esize, l.is(29), l.is(11));
    set_vector(l, v_op(l, op, even, odd));
}

void lift_add_pair(Lifter& l) {
    const Value a = l.v(l.rn());
    l.set_v(l.rd(), low_bits(l, v_op(l, Op::PAddQ, a, high_half(l, a)), 64));
}

void lift_add_long_pairwise(Lifter& l) {  // SADDLP, UADDLP, SADALP, UADALP
    const unsigned esize = esize_of(l);
    Value r = long_pairs(l, l.v(l.rn()), esize, l.is(29));
    if (l.is(14)) r = v_op(l, kAdd.of(2 * esize), l.v(l.rd()), r);
    set_vector(l, r);
}

void lift_absolute_negate(Lifter& l) {  // ABS, NEG
    const unsigned esize = esize_of(l);
    const Value a = l.v(l.rn());
    if (l.is(29)) return set_vector(l, v_op(l, kSub.of(esize), zero(l), a), esize);
    if (esize != 64) {
        return set_vector(l, l.b.v_op(esize == 8 ? Op::PAbsB : esize == 16 ? Op::PAbsW : Op::PAbsD, {a}), esize);
    }
    const Value sign = v_op(l, Op::PCmpGtQ, zero(l), a);
    set_vector(l, v_op(l, Op::PSubQ, v_op(l, Op::PXor, a, sign), sign), esize);
}

void lift_not_vector(Lifter& l) { set_vector(l, v_not(l, l.v(l.rn()))); }

void lift_reverse_vector(Lifter& l) {  // REV16, REV32, REV64
    const unsigned bytes = 1u << size_field(l);
    const unsigned container = l.is(12) ? 2 : l.is(29) ? 4 : 8;
    ByteMap map{};
    for (unsigned i = 0; i < 16; ++i) {
        const unsigned element = i % container / bytes;
        map[i] = static_cast<int>(i / container * container + (container / bytes - 1 - element) * bytes + i % bytes);
    }
    const Value a = l.v(l.rn());
    set_vector(l, permute_bytes(l, {&a, 1}, map));
}

void lift_count_bits(Lifter& l) {  // CNT: the bits of each nibble from a table
    const Value a = l.v(l.rn());
    const Value table = constant(l, 0x0302020102010100, 0x0403030203020201);
    const Value nibble = splat(l, 8, 0x0f);
    const Value low = v_op(l, Op::PShufB, table, v_op(l, Op::PAnd, a, nibble));
    const Value high = v_op(l, Op::PShufB, table, v_op(l, Op::PAnd, v_imm(l, Op::PSrlWI, a, 4), nibble));
    set_vector(l, v_op(l, Op::PAddB, low, high));
}

void lift_reverse_bits(Lifter& l) {  // RBIT: reversed nibbles from tables, exchanged
    const Value a = l.v(l.rn());
    const Value nibble = splat(l, 8, 0x0f);
    const Value low_table = constant(l, 0xe060a020c0408000, 0xf070b030d0509010);
    const Value high_table = constant(l, 0x0e060a020c040800, 0x0f070b030d050901);
    const Value low = v_op(l, Op::PShufB, low_table, v_op(l, Op::PAnd, a, nibble));
    const Value high = v_op(l, Op::PShufB, high_table, v_op(l, Op::PAnd, v_imm(l, Op::PSrlWI, a, 4), nibble));
    set_vector(l, v_op(l, Op::POr, low, high));
}

// --- Across lanes: halves are combined until one element is left; what stands above it does not matter.

void lift_max_min_across(Lifter& l) {
    const unsigned esize = esize_of(l);
    const Op op = max_or_min(esize, l.is(29), l.is(16));
    Value r = l.v(l.rn());
    for (unsigned bytes = is_q(l) ? 8 : 4; bytes >= esize / 8; bytes /= 2) {
        r = v_op(l, op, r, v_imm(l, Op::PSrlDQ, r, bytes));
    }
    l.set_v(l.rd(), low_bits(l, r, esize));
}

void lift_add_across(Lifter& l) {
    const unsigned esize = esize_of(l);
    Value r = l.v(l.rn());
    if (esize == 8) {
        r = v_op(l, Op::PSadBW, r, zero(l));
        if (is_q(l)) r = v_op(l, Op::PAddQ, r, high_half(l, r));
        return l.set_v(l.rd(), low_bits(l, r, 8));
    }
    for (unsigned bytes = is_q(l) ? 8 : 4; bytes >= esize / 8; bytes /= 2) {
        r = v_op(l, kAdd.of(esize), r, v_imm(l, Op::PSrlDQ, r, bytes));
    }
    l.set_v(l.rd(), low_bits(l, r, esize));
}

void lift_add_long_across(Lifter& l) {  // SADDLV, UADDLV
    const unsigned esize = esize_of(l);
    Value r = long_pairs(l, l.v(l.rn()), esize, l.is(29));
    for (unsigned bytes = is_q(l) ? 8 : 4; bytes >= 2 * esize / 8; bytes /= 2) {
        r = v_op(l, kAdd.of(2 * esize), r, v_imm(l, Op::PSrlDQ, r, bytes));
    }
    l.set_v(l.rd(), low_bits(l, r, 2 * esize));
}

void lift_dot_product(Lifter& l) {
    // Bytes are widened to words of both halves; PMADDWD adds two products, a pairwise sum the other two.
    const bool by_element = l.is(24);
    const bool u = l.is(29);
    const unsigned index = l.field(11, 11) << 1 | l.field(21, 21);
    const Value a = l.v(l.rn());
    const Value b = by_element ? duplicate(l, l.v(l.rm()), 32, index) : l.v(l.rm());
    const Value low = v_op(l, Op::PMAddWD, widen(l, a, 8, u, false), widen(l, b, 8, u, false));
    const Value high = v_op(l, Op::PMAddWD, widen(l, a, 8, u, true), widen(l, b, 8, u, true));
    set_vector(l, v_op(l, Op::PAddD, l.v(l.rd()), v_op(l, Op::PHAddD, low, high)));
}

}  // namespace tandem::cpu::arm64
