// Loads and stores of SIMD&FP registers: scalars, pairs, and structures.
#include <algorithm>
#include <array>
#include <bit>

#include "cpu/arm64/lift/simd.h"
#include "jit/ir/strict.h"

namespace tandem::cpu::arm64 {
namespace {

Value load_register(Lifter& l, const Address& at, unsigned bytes) {
    if (bytes == 16) return l.load(Type::V128, at);
    const Value v = l.load(jit::ir::int_type(bytes), at);
    return l.b.v_from(bytes < 4 ? l.b.zext(Type::I32, v) : v);
}

void store_register(Lifter& l, const Address& at, unsigned bytes, unsigned reg) {
    const Value v = l.v(reg);
    l.store(at, bytes == 16 ? v : l.b.v_extract(jit::ir::int_type(bytes), v, 0));
}

// Load/store register: size in bits 31:30, opc<1> the 128-bit form.
unsigned register_log2(const Lifter& l) { return l.is(23) ? 4 : l.field(31, 30); }

void transfer(Lifter& l, const Addressing& a) {
    const unsigned bytes = 1u << register_log2(l);
    if (l.is(22)) {
        const Value v = load_register(l, a.at, bytes);
        l.write_back(a);
        l.set_v(l.rt(), v);
    } else {
        store_register(l, a.at, bytes, l.rt());
        l.write_back(a);
    }
}

// --- Structures

// The base and, post-indexed, what it becomes: + Rm, or + the bytes transferred for Rm = 31.
Addressing structure_address(Lifter& l, unsigned total) {
    const Value base = l.base_register(l.rn());
    if (!l.is(23)) return {{base, 0}, false, kNone};
    const Value step = l.rm() == 31 ? l.imm64(total) : l.x(l.rm());
    return {{base, 0}, true, l.b.add(base, step)};
}

Address displaced(const Address& a, u64 by) { return {a.base, a.disp + by}; }

// Accesses of elements need their own alignment only, so wider ones must not be checked for theirs.
u32 element_flags(const Lifter& l, unsigned ebytes) {
    return l.mode.data_mmu() | jit::ir::StrictAlignment::of(static_cast<unsigned>(std::countr_zero(ebytes)));
}
bool checks_alignment(const Lifter& l, unsigned bytes) { return l.mode.has(ModeBits::kAlign) && bytes > 1; }

struct Structure {
    unsigned count;     // registers
    unsigned elements;  // of a structure: 1 for LD1, else count
};
Structure multiple_structures(u32 word) {
    switch (word >> 12 & 15) {
        case 0b0000: return {4, 4};
        case 0b0010: return {4, 1};
        case 0b0100: return {3, 3};
        case 0b0110: return {3, 1};
        case 0b0111: return {1, 1};
        case 0b1000: return {2, 2};
        default: return {2, 1};
    }
}

// Byte i of register r of an interleaved transfer lies at this byte of memory.
unsigned interleaved(unsigned r, unsigned i, unsigned count, unsigned ebytes) {
    return (i / ebytes * count + r) * ebytes + i % ebytes;
}

Value load_chunk(Lifter& l, const Address& at, unsigned bytes, unsigned ebytes) {
    if (!checks_alignment(l, ebytes)) {
        if (bytes == 16) return l.load(Type::V128, at, element_flags(l, ebytes));
        return l.b.v_from(l.load(Type::I64, at, element_flags(l, ebytes)));
    }
    Value v = zero(l);
    for (unsigned i = 0; i < bytes / ebytes; ++i) {
        v = l.b.v_insert(v, l.load(jit::ir::int_type(ebytes), displaced(at, u64{i} * ebytes)), i);
    }
    return v;
}

void store_chunk(Lifter& l, const Address& at, Value v, unsigned bytes, unsigned ebytes) {
    if (!checks_alignment(l, ebytes)) {
        return l.store(at, bytes == 16 ? v : l.b.v_extract(Type::I64, v, 0), element_flags(l, ebytes));
    }
    for (unsigned i = 0; i < bytes / ebytes; ++i) {
        l.store(displaced(at, u64{i} * ebytes), l.b.v_extract(jit::ir::int_type(ebytes), v, i));
    }
}

void load_structures(Lifter& l, const Structure& s, const Address& at, unsigned bytes, unsigned ebytes) {
    std::array<Value, 4> chunk{};
    for (unsigned r = 0; r < s.count; ++r) chunk[r] = load_chunk(l, displaced(at, u64{r} * bytes), bytes, ebytes);
    std::array<Value, 4> result = chunk;
    for (unsigned r = 0; r < s.count && s.elements > 1; ++r) {
        ByteMap map;
        map.fill(-1);
        for (unsigned i = 0; i < bytes; ++i) {
            const unsigned from = interleaved(r, i, s.count, ebytes);
            map[i] = static_cast<int>(from / bytes * 16 + from % bytes);
        }
        result[r] = permute_bytes(l, {chunk.data(), s.count}, map);
    }
    for (unsigned r = 0; r < s.count; ++r) l.set_v((l.rt() + r) % 32, result[r]);
}

void store_structures(Lifter& l, const Structure& s, const Address& at, unsigned bytes, unsigned ebytes) {
    std::array<Value, 4> source{};
    for (unsigned r = 0; r < s.count; ++r) source[r] = l.v((l.rt() + r) % 32);
    for (unsigned c = 0; c < s.count; ++c) {
        Value v = source[c];
        if (s.elements > 1) {
            ByteMap map;
            map.fill(-1);
            for (unsigned r = 0; r < s.count; ++r) {
                for (unsigned i = 0; i < bytes; ++i) {
                    const unsigned to = interleaved(r, i, s.count, ebytes);
                    if (to / bytes == c) map[to % bytes] = static_cast<int>(r * 16 + i);
                }
            }
            v = permute_bytes(l, {source.data(), s.count}, map);
        }
        store_chunk(l, displaced(at, u64{c} * bytes), v, bytes, ebytes);
    }
}

// Single structures: how many registers, R and opcode<0>.
unsigned single_count(const Lifter& l) { return (l.is(21) ? 2u : 1u) + (l.is(13) ? 2u : 0u); }

}  // namespace

void lift_fp_load_literal(Lifter& l) {
    const u64 address = l.pc + static_cast<u64>(l.sfield(23, 5)) * 4;
    l.set_v(l.rt(), load_register(l, {l.imm64(address), 0}, 4u << l.field(31, 30)));
}

void lift_fp_pair(Lifter& l) {
    const unsigned log2 = 2 + l.field(31, 30);
    const unsigned bytes = 1u << log2;
    const Addressing a = l.pair(log2);
    const Address second = displaced(a.at, bytes);
    if (l.is(22)) {
        const Value v1 = load_register(l, a.at, bytes);
        const Value v2 = load_register(l, second, bytes);
        l.write_back(a);
        l.set_v(l.rt(), v1);
        l.set_v(l.rt2(), v2);
    } else {
        store_register(l, a.at, bytes, l.rt());
        store_register(l, second, bytes, l.rt2());
        l.write_back(a);
    }
}

void lift_fp_unscaled(Lifter& l) { transfer(l, l.unscaled_offset()); }
void lift_fp_post_index(Lifter& l) { transfer(l, l.post_index()); }
void lift_fp_pre_index(Lifter& l) { transfer(l, l.pre_index()); }
void lift_fp_register_offset(Lifter& l) { transfer(l, l.register_offset(register_log2(l))); }
void lift_fp_unsigned_offset(Lifter& l) { transfer(l, l.unsigned_offset(register_log2(l))); }

void lift_structures(Lifter& l) {
    const Structure s = multiple_structures(l.word);
    const unsigned bytes = is_q(l) ? 16 : 8;
    const unsigned ebytes = 1u << l.field(11, 10);
    const Addressing a = structure_address(l, s.count * bytes);
    if (l.is(22)) {
        load_structures(l, s, a.at, bytes, ebytes);
    } else {
        store_structures(l, s, a.at, bytes, ebytes);
    }
    l.write_back(a);
}

void lift_structure_lane(Lifter& l) {
    // opcode<2:1> is the size but for doublewords; Q:S:size holds the index above what the size takes.
    const unsigned group = l.field(15, 14);
    const unsigned log2 = group == 2 && l.is(10) ? 3 : group;
    const unsigned index = (l.field(30, 30) << 3 | l.field(12, 10)) >> log2;
    const unsigned ebytes = 1u << log2;
    const unsigned count = single_count(l);
    const Addressing a = structure_address(l, count * ebytes);
    if (l.is(22)) {
        std::array<Value, 4> loaded{};
        for (unsigned r = 0; r < count; ++r) loaded[r] = l.load(jit::ir::int_type(ebytes), displaced(a.at, u64{r} * ebytes));
        for (unsigned r = 0; r < count; ++r) {
            const unsigned reg = (l.rt() + r) % 32;
            l.set_v(reg, l.b.v_insert(l.v(reg), loaded[r], index));
        }
    } else {
        for (unsigned r = 0; r < count; ++r) {
            const Value v = l.b.v_extract(jit::ir::int_type(ebytes), l.v((l.rt() + r) % 32), index);
            l.store(displaced(a.at, u64{r} * ebytes), v);
        }
    }
    l.write_back(a);
}

void lift_structure_replicate(Lifter& l) {
    const unsigned ebytes = 1u << l.field(11, 10);
    const unsigned count = single_count(l);
    const Addressing a = structure_address(l, count * ebytes);
    std::array<Value, 4> loaded{};
    for (unsigned r = 0; r < count; ++r) loaded[r] = load_register(l, displaced(a.at, u64{r} * ebytes), ebytes);
    for (unsigned r = 0; r < count; ++r) {
        const Value v = duplicate(l, loaded[r], 8 * ebytes, 0);
        l.set_v((l.rt() + r) % 32, low_bits(l, v, is_q(l) ? 128 : 64));
    }
    l.write_back(a);
}

}  // namespace tandem::cpu::arm64
