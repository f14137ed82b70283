// The lazy arithmetic flags. Flags that the manual leaves undefined are what recent Intel processors produce.
#include <bit>

#include "base/bits.h"
#include "cpu/x86/system/registers.h"
#include "cpu/x86/translate_state.h"

namespace tandem::cpu::x86 {
namespace {

struct Operands {
    unsigned width;
    u64 dst, src, src2;

    [[nodiscard]] u64 top(u64 value) const { return value >> (width - 1) & 1; }
    [[nodiscard]] u64 cut(u64 value) const { return value & mask(width); }
};

// CF, AF and OF of a result; PF, ZF and SF follow from it alone.
struct Carries {
    bool cf = false, af = false, of = false;
};

Carries carries_of_sum(const Operands& o, u64 carry_in) {
    const u64 first = o.cut(o.dst - o.src - carry_in);
    return {.cf = carry_in != 0 ? o.dst <= o.src : o.dst < o.src,
            .af = ((first ^ o.src ^ o.dst) & 0x10) != 0,
            .of = o.top((first ^ o.dst) & (o.src ^ o.dst)) != 0};
}

Carries carries_of_difference(const Operands& o, u64 borrow_in) {
    const u64 first = o.cut(o.dst + o.src + borrow_in);
    return {.cf = borrow_in != 0 ? first <= o.src : first < o.src,
            .af = ((first ^ o.src ^ o.dst) & 0x10) != 0,
            .of = o.top((first ^ o.src) & (first ^ o.dst)) != 0};
}

Carries carries(CcKind kind, const Operands& o) {
    const u64 sign = u64{1} << (o.width - 1);
    switch (kind) {
        case CcKind::Add: return carries_of_sum(o, 0);
        case CcKind::Adc: return carries_of_sum(o, o.src2 & 1);
        case CcKind::Sub: return carries_of_difference(o, 0);
        case CcKind::Sbb: return carries_of_difference(o, o.src2 & 1);
        case CcKind::Inc: return {.cf = (o.src & 1) != 0, .af = (o.dst & 15) == 0, .of = o.dst == sign};
        case CcKind::Dec: return {.cf = (o.src & 1) != 0, .af = (o.dst & 15) == 15, .of = o.dst == sign - 1};
        case CcKind::Shl: return {.cf = o.top(o.src) != 0, .of = o.top(o.src ^ o.dst) != 0};
        case CcKind::Shr: return {.cf = (o.src & 1) != 0, .of = o.top(o.src ^ o.dst) != 0};
        case CcKind::Mul: return {.cf = o.src != 0, .of = o.src != 0};
        case CcKind::Blsi: return {.cf = o.src != 0};
        case CcKind::Blsr:
        case CcKind::Bmsk: return {.cf = o.src == 0};
        case CcKind::Explicit:
        case CcKind::Logic: break;
    }
    return {};
}

// Multiplication and the BMI1 group differ from the rest in what they do with ZF and PF.
u64 result_flags(CcKind kind, const Operands& o) {
    const bool bmi = kind >= CcKind::Blsi;
    u64 flags = o.top(o.dst) != 0 ? eflags::SF : 0;
    if (o.dst == 0 && kind != CcKind::Mul) flags |= eflags::ZF;
    if (!bmi && (std::popcount(o.dst & 0xff) & 1) == 0) flags |= eflags::PF;
    return flags;
}

// The flags of the description itself, before what changed of them alone since.
u32 described_flags(u32 description, u64 dst, u64 src, u64 src2) {
    const auto kind = static_cast<CcKind>(description >> 2);
    if (kind == CcKind::Explicit) return static_cast<u32>(src & eflags::Arithmetic);
    Operands o{8u << (description & 3), dst, src, src2};
    o.dst = o.cut(dst);
    // Mul's source is a truth value and may have any bit set.
    o.src = kind == CcKind::Mul ? src : o.cut(src);
    const Carries c = carries(kind, o);
    u64 flags = result_flags(kind, o);
    if (c.cf) flags |= eflags::CF;
    if (c.af) flags |= eflags::AF;
    if (c.of) flags |= eflags::OF;
    return static_cast<u32>(flags);
}

}  // namespace

u32 compute_flags(u32 cc_op, u64 dst, u64 src, u64 src2) {
    u32 flags = described_flags(cc_op & (kCcCarry - 1), dst, src, src2);
    if ((cc_op & kCcCarry) != 0) flags = static_cast<u32>(with_bits(flags, 0, 0, src2 >> 1));
    if ((cc_op & kCcOverflow) != 0) flags = static_cast<u32>(with_bits(flags, 11, 11, src2 >> 2));
    return flags;
}

void export_flags(TranslateState& t) {
    const u64 arithmetic = compute_flags(t.cc_op, t.cc_dst, t.cc_src, t.cc_src2);
    const u64 df = bit(t.df_step, 63) ? eflags::DF : 0;
    t.s.rflags = (t.s.rflags & ~(eflags::Arithmetic | eflags::DF)) | arithmetic | df | eflags::One;
    t.cc_op = cc_op(CcKind::Explicit, 1);
    t.cc_src = arithmetic;
}

void import_flags(TranslateState& t) {
    t.cc_op = cc_op(CcKind::Explicit, 1);
    t.cc_src = t.s.rflags & eflags::Arithmetic;
    t.df_step = (t.s.rflags & eflags::DF) != 0 ? ~u64{0} : 1;
}

}  // namespace tandem::cpu::x86
