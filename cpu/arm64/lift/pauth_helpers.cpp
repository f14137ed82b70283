// Pointer authentication codes (DDI 0487, shared pseudocode: AddPAC, Auth, Strip). ComputePAC is IMPLEMENTATION DEFINED, as
// ID_AA64ISAR1_EL1.API says: a multiplicative hash of pointer, modifier and key.
#include "base/bits.h"
#include "cpu/arm64/lift/helpers.h"
#include "cpu/arm64/mode.h"

namespace tandem::cpu::arm64 {
namespace {

struct Key {
    u64 low = 0, high = 0;
};

Key key_of(const TranslateState& t, PauthKey which) {
    const Sysregs& sys = t.s.sys;
    switch (which) {
        case PauthKey::Ia: return {sys.apiakeylo_el1, sys.apiakeyhi_el1};
        case PauthKey::Ib: return {sys.apibkeylo_el1, sys.apibkeyhi_el1};
        case PauthKey::Da: return {sys.apdakeylo_el1, sys.apdakeyhi_el1};
        default: return {sys.apdbkeylo_el1, sys.apdbkeyhi_el1};
    }
}

u64 mixed(u64 value) {
    value ^= value >> 32;
    value *= 0xd6e8feb86659fd93;
    value ^= value >> 32;
    value *= 0xd6e8feb86659fd93;
    return value ^ value >> 32;
}

u64 compute_pac(u64 data, u64 modifier, Key key) { return mixed(mixed(data ^ key.low) + mixed(modifier ^ key.high)); }

// Where a pointer's authentication code is, in the current regime.
struct Layout {
    bool top_byte_ignored = false;
    bool upper = false;  // bit 55
    unsigned bottom = 48;
    [[nodiscard]] u64 field() const {
        const u64 all = mask(top_byte_ignored ? 55 : 64) & ~mask(bottom);
        return all & ~(u64{1} << 55);
    }
    // The pointer as it was before it was signed.
    [[nodiscard]] u64 original(u64 pointer) const { return upper ? pointer | field() : pointer & ~field(); }
};

// CalculateTBI and CalculateBottomPACBit.
Layout layout_of(const TranslateState& t, u64 pointer, bool data) {
    const bool el2 = t.s.el() == 2 || host_mode(t);
    const bool two_ranges = t.s.el() != 2 || host_mode(t);
    const u64 tcr = el2 ? t.s.sys.tcr_el2 : t.s.sys.tcr_el1;
    Layout l;
    l.upper = bit(pointer, 55);
    u64 tsz = 0;
    if (two_ranges) {
        const bool tbi = bit(tcr, l.upper ? 38 : 37);
        const bool tbid = bit(tcr, l.upper ? 52 : 51);
        l.top_byte_ignored = tbi && (data || !tbid);
        tsz = l.upper ? bits(tcr, 21, 16) : bits(tcr, 5, 0);
    } else {
        l.top_byte_ignored = bit(tcr, 20) && (data || !bit(tcr, 29));
        tsz = bits(tcr, 5, 0);
    }
    const unsigned size = static_cast<unsigned>(tsz < 16 ? 16 : tsz > 39 ? 39 : tsz);
    l.bottom = 64 - size;
    return l;
}

bool is_data(u32 key) { return static_cast<PauthKey>(key) >= PauthKey::Da; }

}  // namespace

u64 pointer_sign(TranslateState* t, u64 pointer, u64 modifier, u32 key) {
    const Layout l = layout_of(*t, pointer, is_data(key));
    const u64 original = l.original(pointer);
    u64 pac = compute_pac(original, modifier, key_of(*t, static_cast<PauthKey>(key)));
    // A pointer that was not canonical gets a code that never authenticates.
    constexpr u64 kCorrupt = u64{1} << 54;
    const u64 extension = l.field();
    const bool canonical = (pointer & extension) == (l.upper ? extension : 0);
    if (!canonical) pac ^= kCorrupt & extension;
    return (pointer & ~extension) | (pac & extension);
}

u64 pointer_authenticate(TranslateState* t, u64 pointer, u64 modifier, u32 key) {
    const Layout l = layout_of(*t, pointer, is_data(key));
    const u64 original = l.original(pointer);
    const u64 pac = compute_pac(original, modifier, key_of(*t, static_cast<PauthKey>(key)));
    if (((pac ^ pointer) & l.field()) == 0) return original;
    // The error code goes where an address is never canonical.
    const u64 error = (key & 1) == 0 ? 1 : 2;
    return l.top_byte_ignored ? with_bits(original, 54, 53, error) : with_bits(original, 62, 61, error);
}

u64 pointer_strip(TranslateState* t, u64 pointer, u32 data) { return layout_of(*t, pointer, data != 0).original(pointer); }

u64 pointer_generic(TranslateState* t, u64 value, u64 modifier) {
    const u64 pac = compute_pac(value, modifier, {t->s.sys.apgakeylo_el1, t->s.sys.apgakeyhi_el1});
    return pac & ~mask(32);
}

}  // namespace tandem::cpu::arm64
