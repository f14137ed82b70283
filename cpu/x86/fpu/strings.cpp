#include "cpu/x86/fpu/strings.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/bits.h"
#include "jit/guest/memory.h"

namespace tandem::cpu::x86 {

namespace {

// The immediate's fields (SDM volume 2, tables 4-1 to 4-5).
struct Control {
    u32 value;
    [[nodiscard]] bool words() const { return bit(value, 0); }
    [[nodiscard]] bool is_signed() const { return bit(value, 1); }
    [[nodiscard]] unsigned aggregation() const { return (value >> 2) & 3; }
    [[nodiscard]] unsigned polarity() const { return (value >> 4) & 3; }
    [[nodiscard]] bool most_significant() const { return bit(value, 6); }  // of STRI; the expanded mask of STRM
    [[nodiscard]] bool explicit_lengths() const { return bit(value, 8); }
    [[nodiscard]] unsigned count() const { return words() ? 8 : 16; }
};
enum Aggregation : unsigned { EqualAny, Ranges, EqualEach, EqualOrdered };

struct Operand128 {
    std::array<i32, 16> element{};
    unsigned length = 0;  // valid elements
};

Operand128 unpack(const u64 (&lanes)[2], Control c) {
    std::array<u8, 16> bytes{};
    std::memcpy(bytes.data(), lanes, sizeof bytes);
    Operand128 o;
    for (unsigned i = 0; i < c.count(); ++i) {
        const u32 raw = c.words() ? bytes[2 * i] | u32{bytes[2 * i + 1]} << 8 : bytes[i];
        o.element[i] = c.is_signed() ? static_cast<i32>(sign_extend(raw, c.words() ? 16 : 8)) : static_cast<i32>(raw);
    }
    return o;
}

unsigned implicit_length(const Operand128& o, Control c) {
    unsigned n = 0;
    while (n < c.count() && o.element[n] != 0) ++n;
    return n;
}

// |length| saturated to the number of elements.
unsigned explicit_length(u64 length, Control c) {
    const i64 value = static_cast<i64>(length);
    const u64 magnitude = value < 0 ? u64{0} - length : length;
    return static_cast<unsigned>(std::min<u64>(magnitude, c.count()));
}

u32 equal_any(const Operand128& a, const Operand128& b) {
    u32 result = 0;
    for (unsigned j = 0; j < b.length; ++j) {
        for (unsigned i = 0; i < a.length; ++i) result |= a.element[i] == b.element[j] ? 1u << j : 0;
    }
    return result;
}

u32 ranges(const Operand128& a, const Operand128& b) {
    u32 result = 0;
    for (unsigned j = 0; j < b.length; ++j) {
        for (unsigned i = 0; i + 1 < a.length; i += 2) {
            const bool inside = b.element[j] >= a.element[i] && b.element[j] <= a.element[i + 1];
            result |= inside ? 1u << j : 0;
        }
    }
    return result;
}

u32 equal_each(const Operand128& a, const Operand128& b, unsigned count) {
    u32 result = 0;
    for (unsigned i = 0; i < count; ++i) {
        const bool va = i < a.length;
        const bool vb = i < b.length;
        const bool equal = va && vb ? a.element[i] == b.element[i] : va == vb;  // both past the end: equal
        result |= equal ? 1u << i : 0;
    }
    return result;
}

u32 equal_ordered(const Operand128& a, const Operand128& b, unsigned count) {
    u32 result = 0;
    for (unsigned j = 0; j < count; ++j) {
        bool found = true;
        for (unsigned i = 0; i < a.length && i + j < count; ++i) {
            found = found && i + j < b.length && a.element[i] == b.element[i + j];
        }
        result |= found ? 1u << j : 0;
    }
    return result;
}

u32 aggregate(const Operand128& a, const Operand128& b, Control c) {
    switch (c.aggregation()) {
        case EqualAny: return equal_any(a, b);
        case Ranges: return ranges(a, b);
        case EqualEach: return equal_each(a, b, c.count());
        default: return equal_ordered(a, b, c.count());
    }
}

u32 apply_polarity(u32 result, const Operand128& b, Control c) {
    const u32 all = static_cast<u32>(mask(c.count()));
    switch (c.polarity()) {
        case 1: return ~result & all;
        case 3: return result ^ static_cast<u32>(mask(b.length));  // valid elements only
        default: return result;
    }
}

void write_mask(u64 (&out)[2], u32 result, Control c) {
    std::array<u8, 16> bytes{};
    if (c.most_significant()) {
        const unsigned width = c.words() ? 2 : 1;
        for (unsigned i = 0; i < 16; ++i) bytes[i] = bit(result, i / width) ? 0xff : 0;
    } else {
        std::memcpy(bytes.data(), &result, 2);
    }
    std::memcpy(out, bytes.data(), sizeof bytes);
}

}  // namespace

u64 compare_strings(TranslateState* t, u32 control, u64 length1, u64 length2) {
    const Control c{control};
    Operand128 a = unpack(t->scratch_vec[0], c);
    Operand128 b = unpack(t->scratch_vec[1], c);
    a.length = c.explicit_lengths() ? explicit_length(length1, c) : implicit_length(a, c);
    b.length = c.explicit_lengths() ? explicit_length(length2, c) : implicit_length(b, c);
    const u32 result = apply_polarity(aggregate(a, b, c), b, c);
    write_mask(t->scratch_vec[2], result, c);
    unsigned index = c.count();
    if (result != 0) {
        const int place = c.most_significant() ? static_cast<int>(std::bit_width(result)) - 1 : std::countr_zero(result);
        index = static_cast<unsigned>(place);
    }
    const u64 flags = (result != 0 ? eflags::CF : 0) | (b.length < c.count() ? eflags::ZF : 0) |
                      (a.length < c.count() ? eflags::SF : 0) | (bit(result, 0) ? eflags::OF : 0);
    return flags | u64{index} << 32;
}

LeaveReason masked_store(TranslateState* t, u64 va, u32 info) {
    const unsigned size = info & 0xff;
    const unsigned mmu = (info >> 8) & 0xff;
    std::array<u8, 16> data{};
    std::array<u8, 16> select{};
    std::memcpy(data.data(), t->scratch_vec[0], data.size());
    std::memcpy(select.data(), t->scratch_vec[1], select.size());
    for (unsigned i = 0; i < size; ++i) {
        if (bit(select[i], 7) && !jit::probe(t, va + i, mmu, jit::Access::Write, 1)) return jit::leave_status(t);
    }
    for (unsigned i = 0; i < size; ++i) {
        if (bit(select[i], 7) && !jit::store_bytes(t, va + i, mmu, &data[i], 1)) return jit::leave_status(t);
    }
    return LeaveReason::None;
}

}  // namespace tandem::cpu::x86
