// "Scalar floating-point" data processing (DDI 0487, C4.1): conversions, one to three sources, comparison.
#include "cpu/arm64/simd/float_shapes.h"
#include "cpu/arm64/simd/kernels.h"

namespace tandem::cpu::arm64::simd {
namespace {

u64 source(const Unit& u, Format f, unsigned reg) { return element(u.v(reg), f.bits, 0); }
void set_result(Unit& u, u32 word, u64 value) { u.s.v[rd(word)] = {{value, 0}}; }

u64 general(const Unit& u, unsigned reg) { return reg == 31 ? 0 : u.s.x[reg]; }
void set_general(Unit& u, unsigned reg, u64 value) {
    if (reg != 31) u.s.x[reg] = value;
}

}  // namespace

void fp_scalar_two(Unit& u, u32 word) {
    const Format f = scalar_format(word);
    const u64 a = source(u, f, rn(word));
    const u64 b = source(u, f, rm(word));
    u64 r = 0;
    switch (word >> 12 & 15) {
        case 0: r = fpu::mul(f, a, b, u.env); break;
        case 1: r = fpu::div(f, a, b, u.env); break;
        case 2: r = fpu::add(f, a, b, u.env); break;
        case 3: r = fpu::sub(f, a, b, u.env); break;
        case 4: r = fpu::max(f, a, b, u.env); break;
        case 5: r = fpu::min(f, a, b, u.env); break;
        case 6: r = fpu::max_num(f, a, b, u.env); break;
        case 7: r = fpu::min_num(f, a, b, u.env); break;
        default: r = fpu::neg(f, fpu::mul(f, a, b, u.env)); break;
    }
    set_result(u, word, r);
}

void fp_scalar_fused(Unit& u, u32 word) {  // FMADD, FMSUB, FNMADD, FNMSUB
    const Format f = scalar_format(word);
    const bool negate_addend = bit(word, 21);
    const bool negate_product = bit(word, 21) != bit(word, 15);
    const u64 addend = source(u, f, ra(word));
    const u64 a = source(u, f, rn(word));
    const u64 r = fpu::mul_add(f, negate_addend ? fpu::neg(f, addend) : addend, negate_product ? fpu::neg(f, a) : a,
                               source(u, f, rm(word)), u.env);
    set_result(u, word, r);
}

void fp_scalar_square_root(Unit& u, u32 word) {
    const Format f = scalar_format(word);
    set_result(u, word, fpu::sqrt(f, source(u, f, rn(word)), u.env));
}

void fp_scalar_convert(Unit& u, u32 word) {  // FCVT
    const Format from = scalar_format(word);
    const unsigned opcode = word >> 15 & 3;
    const Format to = opcode == 0 ? fpu::kSingle : opcode == 1 ? fpu::kDouble : fpu::kHalf;
    set_result(u, word, fpu::convert(to, from, source(u, from, rn(word)), u.env.rounding(), u.env));
}

void fp_scalar_round_integral(Unit& u, u32 word) {
    const Format f = scalar_format(word);
    const unsigned opcode = word >> 15 & 7;  // N P M Z A - X I
    const Rounding r = opcode == 4 ? Rounding::TieAway : opcode > 4 ? u.env.rounding() : static_cast<Rounding>(opcode);
    set_result(u, word, fpu::round_int(f, source(u, f, rn(word)), r, opcode == 6, u.env));
}

void fp_scalar_round_sized(Unit& u, u32 word) {  // FRINT32Z, FRINT32X, FRINT64Z, FRINT64X
    const Format f = scalar_format(word);
    const Rounding r = bit(word, 15) ? u.env.rounding() : Rounding::Zero;
    const unsigned int_bits = bit(word, 16) ? 64 : 32;
    set_result(u, word, fpu::round_int_sized(f, source(u, f, rn(word)), r, int_bits, u.env));
}

u32 fp_scalar_compare(Unit& u, u32 word) {
    const Format f = scalar_format(word);
    // FCMP and FCMPE have bits 11:10 clear and may compare with zero; FCCMP has E in bit 4.
    const bool conditional = bit(word, 10);
    const bool with_zero = !conditional && bit(word, 3);
    return fpu::compare(f, source(u, f, rn(word)), with_zero ? 0 : source(u, f, rm(word)), bit(word, 4), u.env);
}

void fp_scalar_to_integer(Unit& u, u32 word) {
    const Format f = scalar_format(word);
    const unsigned bits = bit(word, 31) ? 64 : 32;
    const bool is_unsigned = bit(word, 16);
    const bool fixed = !bit(word, 21);
    const bool away = (word >> 16 & 7) >= 4;  // FCVTAS, FCVTAU
    const Rounding r = fixed ? Rounding::Zero : away ? Rounding::TieAway : static_cast<Rounding>(word >> 19 & 3);
    const unsigned fbits = fixed ? 64 - (word >> 10 & 63) : 0;
    set_general(u, rd(word), fpu::to_fixed(f, source(u, f, rn(word)), fbits, is_unsigned, r, bits, u.env));
}

void fp_scalar_from_integer(Unit& u, u32 word) {
    const Format f = scalar_format(word);
    const unsigned bits = bit(word, 31) ? 64 : 32;
    const unsigned fbits = bit(word, 21) ? 0 : 64 - (word >> 10 & 63);
    set_result(u, word, fpu::from_fixed(f, general(u, rn(word)), bits, fbits, bit(word, 16), u.env));
}

u64 fp_javascript_convert(Unit& u, u32 word) {
    bool exact = false;
    const u32 r = fpu::to_fixed_js(source(u, fpu::kDouble, rn(word)), exact, u.env);
    return u64{r} | (exact ? u64{1} << 32 : 0);
}

}  // namespace tandem::cpu::arm64::simd
