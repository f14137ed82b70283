// The substitution tables of FIPS 197, computed.
#pragma once

#include <array>
#include <bit>

#include "base/types.h"

namespace tandem::cpu::arm64::simd {

struct AesTables {
    std::array<u8, 256> sub{};
    std::array<u8, 256> inverse{};
};

consteval AesTables make_aes_tables() {
    AesTables t;
    u8 p = 1, q = 1;  // p * q = 1 in GF(2^8); p goes through all of it but zero
    const auto affine = [](u8 v) {
        return static_cast<u8>(v ^ std::rotl(v, 1) ^ std::rotl(v, 2) ^ std::rotl(v, 3) ^ std::rotl(v, 4) ^ 0x63);
    };
    do {
        p = static_cast<u8>(p ^ p << 1 ^ ((p & 0x80) != 0 ? 0x11b : 0));  // times 3
        q = static_cast<u8>(q ^ q << 1);                                  // divided by 3
        q = static_cast<u8>(q ^ q << 2);
        q = static_cast<u8>(q ^ q << 4);
        q = static_cast<u8>(q ^ ((q & 0x80) != 0 ? 0x09 : 0));
        t.sub[p] = affine(q);
    } while (p != 1);
    t.sub[0] = 0x63;
    for (unsigned i = 0; i < 256; ++i) t.inverse[t.sub[i]] = static_cast<u8>(i);
    return t;
}

inline constexpr AesTables kAesTables = make_aes_tables();

}  // namespace tandem::cpu::arm64::simd
