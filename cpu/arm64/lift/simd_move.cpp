// Copies, permutations, table lookups, immediates, logic, and cryptography.
#include <array>

#include "cpu/arm64/lift/simd.h"

namespace tandem::cpu::arm64 {
namespace {

// imm5 of the copy group: element size and index.
struct Lane {
    unsigned esize;
    unsigned index;
};
Lane lane(u32 imm5) {
    if ((imm5 & 1) != 0) return {8, imm5 >> 1};
    if ((imm5 & 2) != 0) return {16, imm5 >> 2};
    if ((imm5 & 4) != 0) return {32, imm5 >> 3};
    return {64, imm5 >> 4};
}
Type lane_type(const Lane& at) { return jit::ir::int_type(at.esize / 8); }

bool host_has_aes() { return __builtin_cpu_supports("aes") != 0; }
bool host_has_carryless() { return __builtin_cpu_supports("pclmul") != 0; }

// AdvSIMDExpandImm.
u64 expand_immediate(unsigned op, unsigned cmode, u64 imm8) {
    switch (cmode >> 1) {
        case 0:
        case 1:
        case 2:
        case 3: return replicate(imm8 << (8 * (cmode >> 1)), 32);
        case 4: return replicate(imm8, 16);
        case 5: return replicate(imm8 << 8, 16);
        case 6: return replicate((cmode & 1) != 0 ? imm8 << 16 | 0xffff : imm8 << 8 | 0xff, 32);
        default: break;
    }
    if (cmode == 14) {
        if (op == 0) return replicate(imm8, 8);
        u64 r = 0;
        for (unsigned i = 0; i < 8; ++i) r |= bit(imm8, i) ? u64{0xff} << (8 * i) : 0;
        return r;
    }
    const u64 sign = imm8 >> 7, b = imm8 >> 6 & 1;
    if (op == 0) return replicate(sign << 31 | (b ^ 1) << 30 | (b != 0 ? 0x1fu : 0u) << 25 | (imm8 & 63) << 19, 32);
    return sign << 63 | (b ^ 1) << 62 | (b != 0 ? u64{0xff} << 54 : 0) | (imm8 & 63) << 48;
}

// Rotates doublewords to the right.
Value rotate_right(Lifter& l, Value v, unsigned count) {
    if (count == 0) return v;
    return v_op(l, Op::POr, v_imm(l, Op::PSrlQI, v, count), v_imm(l, Op::PSllQI, v, 64 - count));
}

}  // namespace

void lift_dup_element(Lifter& l) {
    const Lane at = lane(l.field(20, 16));
    l.set_v(l.rd(), low_bits(l, duplicate(l, l.v(l.rn()), at.esize, at.index), is_q(l) ? 128 : 64));
}
void lift_dup_general(Lifter& l) {
    const Lane at = lane(l.field(20, 16));
    l.set_v(l.rd(), low_bits(l, duplicate_general(l, l.rn(), at.esize), is_q(l) ? 128 : 64));
}
void lift_dup_scalar(Lifter& l) {
    const Lane at = lane(l.field(20, 16));
    const Value e = l.b.v_extract(lane_type(at), l.v(l.rn()), at.index);
    l.set_v(l.rd(), l.b.v_from(at.esize < 32 ? l.b.zext(Type::I32, e) : e));
}
void lift_move_to_general(Lifter& l) {  // SMOV, UMOV
    const Lane at = lane(l.field(20, 16));
    const Value e = l.b.v_extract(lane_type(at), l.v(l.rn()), at.index);
    l.set_x(l.rd(), l.is(12) ? e : l.b.sext(is_q(l) ? Type::I64 : Type::I32, e));
}
void lift_insert_general(Lifter& l) {
    const Lane at = lane(l.field(20, 16));
    l.set_v(l.rd(), l.b.v_insert(l.v(l.rd()), l.x(l.rn(), lane_type(at)), at.index));
}
void lift_insert_element(Lifter& l) {
    const Lane to = lane(l.field(20, 16));
    const unsigned from = l.field(14, 11) / (to.esize / 8);
    const Value e = l.b.v_extract(lane_type(to), l.v(l.rn()), from);
    l.set_v(l.rd(), l.b.v_insert(l.v(l.rd()), e, to.index));
}

void lift_table(Lifter& l) {  // TBL, TBX
    const unsigned registers = l.field(14, 13) + 1;
    const Value indexes = l.v(l.rm());
    Value result = kNone;
    for (unsigned i = 0; i < registers; ++i) {
        // An index of 16 and more gets its top bit from the saturated sum, and PSHUFB yields zero for it.
        const Value relative = i == 0 ? indexes : v_op(l, Op::PSubB, indexes, splat(l, 8, 16 * i));
        const Value selector = v_op(l, Op::PAddUSB, relative, splat(l, 8, 0x70));
        const Value part = v_op(l, Op::PShufB, l.v((l.rn() + i) % 32), selector);
        result = i == 0 ? part : v_op(l, Op::POr, result, part);
    }
    if (l.is(12)) {
        const Value outside = v_op(l, Op::PAddUSB, indexes, splat(l, 8, 0x80 - 16 * registers));
        result = l.b.v_op(Op::PBlendVB, {result, l.v(l.rd()), outside});
    }
    l.set_v(l.rd(), low_bits(l, result, is_q(l) ? 128 : 64));
}

void lift_permute(Lifter& l) {
    const unsigned bytes = 1u << size_field(l);
    const bool second = l.is(14);
    const bool q = is_q(l);
    const Value a = l.v(l.rn());
    const Value b = l.v(l.rm());
    const unsigned kind = l.field(13, 12);  // 1 UZP, 2 TRN, 3 ZIP
    if (kind == 1) return l.set_v(l.rd(), low_bits(l, unzip(l, a, b, 8 * bytes, second, q), q ? 128 : 64));
    const unsigned elements = (q ? 16 : 8) / bytes;
    ByteMap map;
    map.fill(-1);
    for (unsigned e = 0; e < elements; ++e) {
        const bool from_b = (e & 1) != 0;
        const unsigned source = kind == 2 ? (e & ~1u) + (second ? 1 : 0) : e / 2 + (second ? elements / 2 : 0);
        for (unsigned i = 0; i < bytes; ++i) map[e * bytes + i] = static_cast<int>((from_b ? 16 : 0) + source * bytes + i);
    }
    const Value sources[] = {a, b};
    l.set_v(l.rd(), permute_bytes(l, sources, map));
}

void lift_extract_vector(Lifter& l) {  // EXT
    const unsigned from = l.field(14, 11);
    const Value a = l.v(l.rn());
    const Value b = l.v(l.rm());
    if (is_q(l)) return l.set_v(l.rd(), l.b.v_op(Op::PAlignR, {b, a}, static_cast<u8>(from)));
    const Value both = v_op(l, Op::PUnpckLQDQ, a, b);
    l.set_v(l.rd(), low_bits(l, v_imm(l, Op::PSrlDQ, both, from), 64));
}

void lift_modified_immediate(Lifter& l) {
    const unsigned op = l.field(29, 29), cmode = l.field(15, 12);
    const u64 imm8 = l.field(18, 16) << 5 | l.field(9, 5);
    const u64 high = is_q(l) ? ~u64{0} : 0;
    if (cmode == 15 && l.is(11)) {  // FMOV, half precision
        const u64 b = imm8 >> 6 & 1;
        const u64 half = imm8 >> 7 << 15 | (b ^ 1) << 14 | (b != 0 ? 3u : 0u) << 12 | (imm8 & 63) << 6;
        return l.set_v(l.rd(), constant(l, replicate(half, 16), replicate(half, 16) & high));
    }
    const u64 imm = expand_immediate(op, cmode, imm8);
    if (cmode < 12 && (cmode & 1) != 0) {
        const Value old = low_bits(l, l.v(l.rd()), is_q(l) ? 128 : 64);
        if (op == 0) return l.set_v(l.rd(), v_op(l, Op::POr, old, constant(l, imm, imm & high)));  // ORR
        return l.set_v(l.rd(), v_op(l, Op::PAnd, old, constant(l, ~imm, ~imm)));                   // BIC
    }
    const u64 value = op == 1 && cmode < 14 ? ~imm : imm;  // MVNI
    l.set_v(l.rd(), constant(l, value, value & high));
}

void lift_logical_vector(Lifter& l) {
    const Value a = l.v(l.rn());
    const Value b = l.v(l.rm());
    const auto selected = [&](Value choice, Value yes, Value no) {
        return v_op(l, Op::PXor, no, v_op(l, Op::PAnd, v_op(l, Op::PXor, yes, no), choice));
    };
    Value r = kNone;
    switch (l.field(29, 29) << 2 | size_field(l)) {
        case 0: r = v_op(l, Op::PAnd, a, b); break;
        case 1: r = v_op(l, Op::PAndN, b, a); break;                              // BIC
        case 2: r = l.rn() == l.rm() ? a : v_op(l, Op::POr, a, b); break;         // ORR, MOV
        case 3: r = v_op(l, Op::POr, a, v_not(l, b)); break;                      // ORN
        case 4: r = l.rn() == l.rm() ? zero(l) : v_op(l, Op::PXor, a, b); break;  // EOR
        case 5: r = selected(l.v(l.rd()), a, b); break;                           // BSL
        case 6: r = selected(b, a, l.v(l.rd())); break;                           // BIT
        default: r = selected(b, l.v(l.rd()), a); break;                          // BIF
    }
    set_vector(l, r);
}

// --- Cryptography. The host's AESENCLAST and AESDECLAST with a key of zero are Arm's AESE and AESD after its key.

void lift_aes_encrypt(Lifter& l) {
    if (!host_has_aes()) return exact(l, Kernel::aes_encrypt);
    const Value mixed = v_op(l, Op::PXor, l.v(l.rd()), l.v(l.rn()));
    l.set_v(l.rd(), v_op(l, Op::AesEncLast, mixed, zero(l)));
}
void lift_aes_decrypt(Lifter& l) {
    if (!host_has_aes()) return exact(l, Kernel::aes_decrypt);
    const Value mixed = v_op(l, Op::PXor, l.v(l.rd()), l.v(l.rn()));
    l.set_v(l.rd(), v_op(l, Op::AesDecLast, mixed, zero(l)));
}
void lift_aes_mix_columns(Lifter& l) {
    if (!host_has_aes()) return exact(l, Kernel::aes_mix_columns);
    const Value a = l.v(l.rn());
    if (l.is(12)) return l.set_v(l.rd(), l.b.v_op(Op::AesImc, {a}));
    // AESENC undoes what AESDECLAST does before it mixes columns.
    l.set_v(l.rd(), v_op(l, Op::AesEnc, v_op(l, Op::AesDecLast, a, zero(l)), zero(l)));
}
void lift_polynomial_multiply(Lifter& l) {
    if (!host_has_carryless()) return exact(l, Kernel::polynomial_multiply_long);
    l.set_v(l.rd(), l.b.v_op(Op::PClMulQDQ, {l.v(l.rn()), l.v(l.rm())}, is_q(l) ? 0x11 : 0x00));
}
void lift_xor3(Lifter& l) { l.set_v(l.rd(), v_op(l, Op::PXor, v_op(l, Op::PXor, l.v(l.rn()), l.v(l.rm())), l.v(l.ra()))); }
void lift_bit_clear_xor(Lifter& l) {
    l.set_v(l.rd(), v_op(l, Op::PXor, l.v(l.rn()), v_op(l, Op::PAndN, l.v(l.ra()), l.v(l.rm()))));
}
void lift_rotate_xor1(Lifter& l) { l.set_v(l.rd(), v_op(l, Op::PXor, l.v(l.rn()), rotate_right(l, l.v(l.rm()), 63))); }
void lift_xor_rotate(Lifter& l) {
    l.set_v(l.rd(), rotate_right(l, v_op(l, Op::PXor, l.v(l.rn()), l.v(l.rm())), l.field(15, 10)));
}

}  // namespace tandem::cpu::arm64
