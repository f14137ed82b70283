// Division, decimal adjustment, rotation through carry, bit gathering, checksums.
#include <sys/random.h>

#include <array>
#include <cstring>

#include "cpu/x86/lift/helpers.h"
#include "cpu/x86/random_source.h"
#include "jit/guest/memory.h"

namespace tandem::cpu::x86 {
namespace {

// Writes the low `size` bytes of a register as an instruction does.
void set_register(State& s, unsigned reg, u64 value, unsigned size) {
    if (size >= 4) {
        s.gpr[reg] = value & mask(size * 8);
    } else {
        s.gpr[reg] = (s.gpr[reg] & ~mask(size * 8)) | (value & mask(size * 8));
    }
}

u128 dividend(const State& s, unsigned size) {
    if (size == 1) return s.gpr[RAX] & 0xffff;
    const unsigned width = size * 8;
    return static_cast<u128>(s.gpr[RDX] & mask(width)) << width | (s.gpr[RAX] & mask(width));
}

void set_quotient(State& s, u64 quotient, u64 remainder, unsigned size) {
    if (size == 1) {
        set_register(s, RAX, (remainder & 0xff) << 8 | (quotient & 0xff), 2);
        return;
    }
    set_register(s, RAX, quotient, size);
    set_register(s, RDX, remainder, size);
}

struct Decimal {
    u8 al, ah;
    bool af, cf;
};

Decimal adjust_packed(Decimal d, bool subtract) {
    const u8 old_al = d.al;
    const bool old_cf = d.cf;
    d.cf = false;
    if ((d.al & 15) > 9 || d.af) {
        d.cf = old_cf || (subtract ? d.al < 6 : d.al > 0xf9);
        d.al = static_cast<u8>(subtract ? d.al - 6 : d.al + 6);
        d.af = true;
    } else {
        d.af = false;
    }
    if (old_al > 0x99 || old_cf) {
        d.al = static_cast<u8>(subtract ? d.al - 0x60 : d.al + 0x60);
        d.cf = true;
    }
    return d;
}

Decimal adjust_unpacked(Decimal d, bool subtract) {
    d.cf = d.af = (d.al & 15) > 9 || d.af;
    if (d.cf) {
        const unsigned ax = static_cast<unsigned>(d.ah) << 8 | d.al;
        const unsigned adjusted = subtract ? ax - 0x106 : ax + 0x106;
        d.al = static_cast<u8>(adjusted);
        d.ah = static_cast<u8>(adjusted >> 8);
    }
    d.al &= 15;
    return d;
}

struct Rotated {
    u64 value;
    bool carry;
};

struct RotateSpec {
    unsigned width, steps;
    bool left;

    explicit RotateSpec(u32 spec)
        : width((spec >> 8 & 0xff) * 8), steps((spec & 0xff) % (width + 1)), left((spec >> 16) != 0) {}
};

Rotated rotate_carry(u64 value, const RotateSpec& r, bool carry) {
    for (unsigned i = 0; i < r.steps; ++i) {
        const bool out = bit(value, r.left ? r.width - 1 : 0);
        value = r.left ? value << 1 | (carry ? 1 : 0) : value >> 1 | (carry ? u64{1} : 0) << (r.width - 1);
        value &= mask(r.width);
        carry = out;
    }
    return {value, carry};
}

constexpr auto kCrc32c = [] {
    std::array<u32, 256> table{};
    for (u32 i = 0; i < table.size(); ++i) {
        u32 crc = i;
        for (int k = 0; k < 8; ++k) crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
        table[i] = crc;
    }
    return table;
}();

}  // namespace

LeaveReason retry_unless(TranslateState*, u8 done) { return done != 0 ? LeaveReason::None : LeaveReason::Lookup; }

LeaveReason divide_unsigned(TranslateState* t, u64 divisor, u32 size) {
    const u128 value = dividend(t->s, size);
    if (divisor == 0) return raise(*t, kDE);
    if ((value >> 64) == 0) {
        const u64 low = static_cast<u64>(value);
        const u64 quotient = low / divisor;
        if (quotient > mask(size * 8)) return raise(*t, kDE);
        set_quotient(t->s, quotient, low % divisor, size);
        return LeaveReason::None;
    }
    const u128 quotient = value / divisor;
    if (quotient > mask(size * 8)) return raise(*t, kDE);
    set_quotient(t->s, static_cast<u64>(quotient), static_cast<u64>(value % divisor), size);
    return LeaveReason::None;
}

// By magnitudes, so that no host operation can overflow.
LeaveReason divide_signed(TranslateState* t, u64 divisor, u32 size) {
    const unsigned width = size == 1 ? 16 : size * 16;
    const u128 raw = dividend(t->s, size);
    const bool negative = ((raw >> (width - 1)) & 1) != 0;
    const u128 all = width == 128 ? ~u128{0} : (u128{1} << width) - 1;
    const u128 magnitude = negative ? (~raw + 1) & all : raw;
    const bool divisor_negative = bit(divisor, 63);
    const u64 by = divisor_negative ? ~divisor + 1 : divisor;
    if (by == 0) return raise(*t, kDE);
    const u128 quotient = magnitude / by;
    const bool quotient_negative = negative != divisor_negative;
    const u128 limit = (u128{1} << (size * 8 - 1)) - (quotient_negative ? 0 : 1);
    if (quotient > limit) return raise(*t, kDE);
    const u64 q = static_cast<u64>(quotient);
    const u64 r = static_cast<u64>(magnitude % by);
    set_quotient(t->s, quotient_negative ? ~q + 1 : q, negative ? ~r + 1 : r, size);
    return LeaveReason::None;
}

LeaveReason cmpxchg16b(TranslateState* t, u64 va, u32 mmu) {
    if ((va & 15) != 0) return raise(*t, kGP);
    State& s = t->s;
    const std::array<u64, 2> expected{s.gpr[RAX], s.gpr[RDX]};
    const std::array<u64, 2> desired{s.gpr[RBX], s.gpr[RCX]};
    std::array<u64, 2> seen{};
    if (!jit::compare_and_swap_16(t, va, mmu, expected, desired, seen)) return jit::leave_status(t);
    const bool equal = seen == expected;
    if (!equal) {
        s.gpr[RAX] = seen[0];
        s.gpr[RDX] = seen[1];
    }
    t->scratch[0] = equal ? 1 : 0;
    return LeaveReason::None;
}

LeaveReason decimal_adjust(TranslateState* t, u32 operation, u32 base) {
    const u64 flags = compute_flags(t->cc_op, t->cc_dst, t->cc_src, t->cc_src2);
    const u64 ax = t->s.gpr[RAX];
    Decimal d{static_cast<u8>(ax), static_cast<u8>(ax >> 8), (flags & eflags::AF) != 0, (flags & eflags::CF) != 0};
    switch (static_cast<BcdOp>(operation)) {
        case BcdOp::Daa: d = adjust_packed(d, false); break;
        case BcdOp::Das: d = adjust_packed(d, true); break;
        case BcdOp::Aaa: d = adjust_unpacked(d, false); break;
        case BcdOp::Aas: d = adjust_unpacked(d, true); break;
        case BcdOp::Aam:
            if (base == 0) return raise(*t, kDE);
            d = {static_cast<u8>(d.al % base), static_cast<u8>(d.al / base), false, false};
            break;
        case BcdOp::Aad: d = {static_cast<u8>(d.al + d.ah * base), 0, false, false}; break;
    }
    set_register(t->s, RAX, static_cast<u64>(d.ah) << 8 | d.al, 2);
    const u32 result = compute_flags(cc_op(CcKind::Logic, 1), d.al, 0, 0);
    t->cc_op = cc_op(CcKind::Explicit, 1);
    t->cc_src = result | (d.af ? eflags::AF : 0) | (d.cf ? eflags::CF : 0);
    return LeaveReason::None;
}

u64 rotate_carry_value(TranslateState*, u64 value, u32 spec, u64 flags) {
    return rotate_carry(value, RotateSpec(spec), (flags & eflags::CF) != 0).value;
}

u64 rotate_carry_flags(TranslateState*, u64 value, u32 spec, u64 flags) {
    const RotateSpec r(spec);
    if (r.steps == 0) return flags;
    const Rotated rotated = rotate_carry(value, r, (flags & eflags::CF) != 0);
    const bool sign = bit(rotated.value, r.width - 1);
    const bool overflow = sign != (r.left ? rotated.carry : bit(rotated.value, r.width - 2));
    const u64 kept = flags & ~(eflags::CF | eflags::OF);
    return kept | (rotated.carry ? eflags::CF : 0) | (overflow ? eflags::OF : 0);
}

u64 bit_deposit(TranslateState*, u64 source, u64 selector) {
    u64 result = 0;
    for (; selector != 0; selector &= selector - 1, source >>= 1) {
        if ((source & 1) != 0) result |= selector & (~selector + 1);
    }
    return result;
}

u64 bit_extract(TranslateState*, u64 source, u64 selector) {
    u64 result = 0;
    for (u64 place = 1; selector != 0; selector &= selector - 1, place <<= 1) {
        if ((source & selector & (~selector + 1)) != 0) result |= place;
    }
    return result;
}

u32 crc32c(TranslateState*, u32 crc, u64 data, u32 size) {
    for (u32 i = 0; i < size; ++i) crc = kCrc32c[(crc ^ static_cast<u32>(data >> (8 * i))) & 0xff] ^ crc >> 8;
    return crc;
}

LeaveReason random_number(TranslateState* t) {
    if (held_before(t, Hold::Reason::Value)) return LeaveReason::Interpret;
    auto* const source = dynamic_cast<RandomSource*>(t->platform);
    if (source != nullptr && source->random(t->scratch[0])) return LeaveReason::None;
    // A request of this size is never cut short once the host's pool is initialised.
    if (getrandom(&t->scratch[0], sizeof(u64), 0) != static_cast<ssize_t>(sizeof(u64))) t->scratch[0] = 0;
    return LeaveReason::None;
}

LeaveReason hold_if_sought(TranslateState* t) {
    const jit::Hold* const hold = jit::hold_of(jit::header_of(t));
    if (hold == nullptr || hold->registers == nullptr) return LeaveReason::None;
    if (std::memcmp(hold->registers, t->s.gpr.data(), sizeof t->s.gpr) != 0) return LeaveReason::None;
    return held_before(t, Hold::Reason::Sought) ? LeaveReason::Interpret : LeaveReason::None;
}

}  // namespace tandem::cpu::x86
