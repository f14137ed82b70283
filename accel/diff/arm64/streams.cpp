#include "accel/diff/arm64/streams.h"

#include "cpu/arm64/fpu/control.h"

namespace tandem::accel::diff::arm64 {

using namespace cpu::arm64;

namespace {

// One element of `bits`: bit patterns at which floating point and saturation change their ways.
u64 element(Random& random, unsigned bits) {
    const unsigned fraction = bits == 64 ? 52 : bits == 32 ? 23 : bits == 16 ? 10 : 3;
    const u64 ones = bits == 64 ? ~u64{0} : (u64{1} << bits) - 1;
    const u64 sign = (random() & 1) << (bits - 1);
    const u64 infinity = (ones >> 1) & ~((u64{1} << fraction) - 1);
    const u64 middle = (infinity >> fraction) / 2;
    const u64 r = random();
    switch (r & 31) {
        case 0: return sign;
        case 1: return sign | infinity;
        case 2: return sign | infinity | (u64{1} << (fraction - 1)) | (r >> 40 & 7);  // quiet NaN
        case 3: return sign | infinity | ((r >> 40 & 7) + 1);                         // signalling NaN
        case 4: return sign | (r >> 8 & ((u64{1} << fraction) - 1));                  // denormal
        case 5: return sign | (u64{1} << fraction) | (r >> 40 & 3);                   // smallest normals
        case 6: return sign | (infinity - 1 - (r >> 40 & 3));                         // largest
        case 7: return sign | middle << fraction | (r >> 40 & 3) << (fraction - 2);   // 1 to 2
        case 8: return (sign | (r >> 40 & 3)) & ones;                                 // small integers
        case 9: return ones - (r >> 40 & 3);
        case 10: return (ones >> 1) - (r >> 40 & 3);
        default: break;
    }
    if ((r & 3) != 0) {  // numbers that meet each other
        const u64 exponent = middle - 6 + (r >> 8) % 14;
        return (sign | (exponent << fraction & infinity) | (random() & ((u64{1} << fraction) - 1))) & ones;
    }
    return random() & ones;
}

// Operands whose products, quotients and conversions round up to the smallest normal number from below it.
u64 tiny_element(Random& random, unsigned bits) {
    constexpr u64 kDoubles[] = {0x0010000000000000, 0x3fefffffffffffff, 0x380fffffffffffff, 0};
    constexpr u64 kSingles[] = {0x00800000, 0x3f7fffff, 0x387fffff, 0};
    const u64 choice = random() & 3;
    const u64 sign = (random() & 1) << (bits - 1);
    return sign | (bits == 64 ? kDoubles[choice] : kSingles[choice]);
}

// op0 = x1x0: loads and stores.
bool accesses_memory(const Row& row) {
    return (row.pattern.mask >> 25 & 5) == 5 && (row.pattern.value >> 27 & 1) == 1 && (row.pattern.value >> 25 & 1) == 0;
}

}  // namespace

GroupRows simd_rows() {
    GroupRows out;
    for (const Row& row : rows()) {
        if (row.group != RowGroup::Simd) continue;
        (accesses_memory(row) ? out.memory : out.data).push_back(&row);
    }
    return out;
}

GroupRows general_rows() {
    GroupRows out;
    for (const Row& row : rows()) {
        const u32 op0 = row.pattern.value >> 25 & 15;
        const bool data = op0 == 8 || op0 == 9 || op0 == 5 || op0 == 13;
        const bool relative = row.name == "ADR" || row.name == "ADRP" || row.name.find("literal") != std::string_view::npos;
        if (row.group != RowGroup::General || relative) continue;
        if (data) out.data.push_back(&row);
        if (accesses_memory(row)) out.memory.push_back(&row);
    }
    return out;
}

u32 random_word(const Row& row, Random& random) {
    for (;;) {
        const u32 word = (static_cast<u32>(random()) & ~row.pattern.mask) | row.pattern.value;
        if (decode(word) == &row) return word;
    }
}

void randomize(MachineState& state, Random& random, Control control) {
    for (u64& x : state.x) x = element(random, 64);
    const bool tiny = (random() & 3) == 0;
    const unsigned tiny_bits = (random() & 1) != 0 ? 64 : 32;
    for (auto& v : state.v) {
        const unsigned bits = tiny ? tiny_bits : 8u << (random() & 3);
        for (u64& lane : v) {
            lane = 0;
            for (unsigned at = 0; at < 64; at += bits) {
                lane |= (tiny ? tiny_element(random, bits) : element(random, bits)) << at;
            }
        }
    }
    state.nzcv = static_cast<u32>(random()) & 0xf0000000;
    state.fpsr = 0;
    state.fpcr = 0;
    if (control == Control::Nearest) state.fpcr = (random() & 7) == 0 ? fpu::fpcr::DN : 0;
    if (control != Control::Nearest) state.fpcr = static_cast<u32>(random()) & fpu::fpcr::RMode;
    if (control == Control::Any) state.fpcr = static_cast<u32>(random()) & fpu::fpcr::Defined;
}

void randomize_integers(MachineState& state, Random& random, Control control) {
    randomize(state, random, control);
    for (unsigned i = 1; i < state.x.size(); ++i) {
        if ((random() & 7) == 0) state.x[i] = state.x[i - 1];
        if ((random() & 7) == 0) state.x[i] = u64{0} - state.x[i - 1];
        if ((random() & 7) == 0) state.x[i] &= 0xffffffff;
    }
    state.sp = random() & ~u64{15};
}

bool predictable(const Row& row, u32 word) {
    const unsigned rt = word & 31, rn = word >> 5 & 31, rt2 = word >> 10 & 31;
    if (rn == 31) return false;
    const bool pair = (word >> 27 & 7) == 5;
    if (rt == rn || (pair && (rt2 == rn || rt == rt2))) return false;
    const unsigned rs = word >> 16 & 31;
    if (row.name.starts_with("STX") || row.name.starts_with("STLX")) {
        return rs != rt && rs != rn && (row.name.back() != 'P' || rs != rt2);
    }
    if (row.name == "LDXP" || row.name == "LDAXP") return rt != rt2 && rt2 != rn;
    return !row.name.starts_with("CASP") || (rt != rn - 1 && rs != rn && rs + 1 != rn);
}

u32 within_data(const Row& row, u32 word) {
    const bool unsigned_offset = (word & 0x3b000000) == 0x39000000;
    if (unsigned_offset) return word & ~(0xfu << 18);
    if (row.name.starts_with("LDAPUR") || row.name.starts_with("STLUR")) return word & ~(0xfu << 12);
    return word;
}

}  // namespace tandem::accel::diff::arm64
