#include "cpu/arm64/system/inspect.h"

#include <array>

#include "base/bits.h"

namespace tandem::cpu::arm64 {
namespace {

// HCR_EL2, SCTLR_ELx
constexpr u64 kVm = 1, kTge = u64{1} << 27, kE2h = u64{1} << 34, kMmuOn = 1;
constexpr u64 kOutput = 0x0000fffffffff000;

struct Tables {
    u64 base = 0;
    unsigned grain = 12;  // log2 of the granule
    unsigned input_bits = 48;
    unsigned level = 0;  // of the first table
};

u64 low_mask(unsigned count) { return count >= 64 ? ~u64{0} : (u64{1} << count) - 1; }

using Load = std::function<std::optional<u64>(u64 address)>;

std::optional<u64> descend(const Tables& t, u64 address, const Load& load) {
    const unsigned stride = t.grain - 3;
    u64 base = t.base;
    for (unsigned level = t.level, top = t.input_bits; level <= 3; ++level) {
        const unsigned shift = t.grain + (3 - level) * stride;
        const auto descriptor = load(base + ((address & low_mask(top)) >> shift) * 8);
        if (!descriptor || (*descriptor & 1) == 0) return {};
        const bool table = (*descriptor & 2) != 0;
        if (level == 3 && !table) return {};  // reserved
        const u64 output = *descriptor & kOutput & ~low_mask(t.grain);
        if (level == 3 || !table) return (output & ~low_mask(shift)) | (address & low_mask(shift));
        base = output;
        top = shift;
    }
    return {};
}

// VTCR_EL2: size, granule and first level are the hypervisor's; tables of the first level may be concatenated.
std::optional<u64> stage2(const State& s, const PhysicalReader& read, u64 ipa) {
    if ((s.sys.hcr_el2 & kVm) == 0 || (s.sys.hcr_el2 & kTge) != 0) return ipa;
    static constexpr std::array<unsigned, 4> kGrain{12, 16, 14, 12};
    const u64 vtcr = s.sys.vtcr_el2;
    Tables t;
    t.grain = kGrain[bits(vtcr, 15, 14)];
    t.input_bits = 64 - static_cast<unsigned>(bits(vtcr, 5, 0));
    const auto sl0 = static_cast<unsigned>(bits(vtcr, 7, 6));
    t.level = (t.grain == 12 ? 2 : 3) - sl0;
    t.base = s.sys.vttbr_el2 & kOutput & ~u64{1};
    if (t.level > 3 || ipa > low_mask(t.input_bits)) return {};
    return descend(t, ipa, read);
}

}  // namespace

std::optional<u64> look_up(const State& s, const PhysicalReader& read, u64 va) {
    const u64 hcr = s.sys.hcr_el2;
    const bool host = (hcr & kE2h) != 0 && (hcr & kTge) != 0;
    const bool el2 = s.el() == 2 || (host && s.el() == 0);
    const bool two_ranges = !el2 || (hcr & kE2h) != 0;
    const u64 tcr = el2 ? s.sys.tcr_el2 : s.sys.tcr_el1;
    const Load through = [&](u64 ipa) -> std::optional<u64> {
        const auto pa = el2 ? std::optional<u64>(ipa) : stage2(s, read, ipa);
        return pa ? read(*pa) : std::nullopt;
    };
    std::optional<u64> ipa = va;
    if (((el2 ? s.sys.sctlr_el2 : s.sys.sctlr_el1) & kMmuOn) != 0) {
        static constexpr std::array<unsigned, 4> kLower{12, 16, 14, 12}, kUpper{12, 14, 12, 16};
        const bool upper = two_ranges && bit(va, 55);
        Tables t;
        t.grain = upper ? kUpper[bits(tcr, 31, 30)] : kLower[bits(tcr, 15, 14)];
        t.input_bits = 64 - static_cast<unsigned>(upper ? bits(tcr, 21, 16) : bits(tcr, 5, 0));
        if (t.input_bits <= t.grain || t.input_bits > 48) return {};
        // Bits between the range and the tag are all alike.
        const u64 between = va >> t.input_bits & low_mask(55 - t.input_bits);
        if (between != (upper ? low_mask(55 - t.input_bits) : 0)) return {};
        const unsigned stride = t.grain - 3;
        t.level = 4 - (t.input_bits - t.grain + stride - 1) / stride;
        t.base = (el2 ? (upper ? s.sys.ttbr1_el2 : s.sys.ttbr0_el2) : (upper ? s.sys.ttbr1_el1 : s.sys.ttbr0_el1)) & kOutput;
        ipa = descend(t, va, through);
    }
    return ipa && !el2 ? stage2(s, read, *ipa) : ipa;
}

}  // namespace tandem::cpu::arm64
