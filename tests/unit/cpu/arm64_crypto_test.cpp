// The cryptographic kernels put together to AES and the Secure Hash Algorithms, with the standards' examples (FIPS 197
// appendix B, FIPS 180-4 and its "abc").
#include <array>
#include <bit>
#include <catch2/catch.hpp>
#include <vector>

#include "cpu/arm64/simd/kernels.h"

using namespace tandem;
using namespace tandem::cpu::arm64;
using simd::Kernel;

namespace {

// Fractional parts of the cube roots of the first primes; SHA-256 uses their upper halves.
constexpr std::array<u64, 80> kRoundConstants{
    0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc, 0x3956c25bf348b538, 0x59f111f1b605d019,
    0x923f82a4af194f9b, 0xab1c5ed5da6d8118, 0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
    0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694, 0xe49b69c19ef14ad2, 0xefbe4786384f25e3,
    0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65, 0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
    0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4, 0xc6e00bf33da88fc2, 0xd5a79147930aa725,
    0x06ca6351e003826f, 0x142929670a0e6e70, 0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
    0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b, 0xa2bfe8a14cf10364, 0xa81a664bbc423001,
    0xc24b8b70d0f89791, 0xc76c51a30654be30, 0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
    0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8, 0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb,
    0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3, 0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
    0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b, 0xca273eceea26619c, 0xd186b8c721c0c207,
    0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178, 0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
    0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c, 0x4cc5d4becb3e42b6, 0x597f299cfc657e2a,
    0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
};
// The same of square roots.
constexpr std::array<u64, 8> kInitialHash{
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

using V = Vector128;

// Rd = v0, Rn = v1, Rm = v2.
V run(Kernel kernel, const V& d, const V& n, const V& m = {}, u32 bits = 0) {
    State s;
    s.v[0] = d;
    s.v[1] = n;
    s.v[2] = m;
    simd::execute(s, kernel, 1u << 5 | 2u << 16 | bits);
    return s.v[0];
}
V words(u32 a, u32 b, u32 c, u32 d) { return {{u64{b} << 32 | a, u64{d} << 32 | c}}; }
u32 word(const V& v, unsigned i) { return static_cast<u32>(v.lane[i / 2] >> (32 * (i % 2))); }
V add32(const V& a, const V& b) {
    return words(word(a, 0) + word(b, 0), word(a, 1) + word(b, 1), word(a, 2) + word(b, 2), word(a, 3) + word(b, 3));
}
V add64(const V& a, const V& b) { return {{a.lane[0] + b.lane[0], a.lane[1] + b.lane[1]}}; }
V middle(const V& a, const V& b) { return {{a.lane[1], b.lane[0]}}; }  // EXT #8

// Sixteen bytes as the standards print them.
V bytes(u64 first, u64 second) { return {{__builtin_bswap64(first), __builtin_bswap64(second)}}; }

constexpr u32 kInverse = 1u << 12;  // AESIMC

std::vector<V> aes_keys(const V& key) {
    std::vector<V> keys{key};
    u32 constant = 1;
    for (unsigned round = 0; round < 10; ++round) {
        const V& k = keys.back();
        const u32 rotated = std::rotr(word(k, 3), 8);
        // AESE without a key on four equal columns substitutes bytes only.
        const V substituted = run(Kernel::aes_encrypt, words(rotated, rotated, rotated, rotated), {});
        u32 w[4] = {word(k, 0) ^ word(substituted, 0) ^ constant, 0, 0, 0};
        for (unsigned i = 1; i < 4; ++i) w[i] = w[i - 1] ^ word(k, i);
        keys.push_back(words(w[0], w[1], w[2], w[3]));
        constant = constant << 1 ^ ((constant & 0x80) != 0 ? 0x11b : 0);
    }
    return keys;
}
V exclusive_or(const V& a, const V& b) { return {{a.lane[0] ^ b.lane[0], a.lane[1] ^ b.lane[1]}}; }

}  // namespace

TEST_CASE("AES encrypts and decrypts as FIPS 197 shows", "[arm64][crypto]") {
    const std::vector<V> keys = aes_keys(bytes(0x2b7e151628aed2a6, 0xabf7158809cf4f3c));
    CHECK(keys[10] == bytes(0xd014f9a8c9ee2589, 0xe13f0cc8b6630ca6));
    const V plain = bytes(0x3243f6a8885a308d, 0x313198a2e0370734);
    const V cipher = bytes(0x3925841d02dc09fb, 0xdc118597196a0b32);
    V block = plain;
    for (unsigned round = 0; round < 10; ++round) {
        block = run(Kernel::aes_encrypt, block, keys[round]);
        if (round < 9) block = run(Kernel::aes_mix_columns, {}, block);
    }
    CHECK(exclusive_or(block, keys[10]) == cipher);

    block = cipher;
    for (unsigned round = 10; round > 0; --round) {
        const V key = round == 10 ? keys[10] : run(Kernel::aes_mix_columns, {}, keys[round], {}, kInverse);
        block = run(Kernel::aes_decrypt, block, key);
        if (round > 1) block = run(Kernel::aes_mix_columns, {}, block, {}, kInverse);
    }
    CHECK(exclusive_or(block, keys[0]) == plain);
}

TEST_CASE("SHA-1 of abc", "[arm64][crypto]") {
    std::vector<V> w{words(0x61626380, 0, 0, 0), {}, {}, words(0, 0, 0, 24)};
    for (unsigned i = 4; i < 20; ++i) {
        w.push_back(run(Kernel::sha1_schedule1, run(Kernel::sha1_schedule0, w[i - 4], w[i - 3], w[i - 2]), w[i - 1]));
    }
    const V start = words(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476);
    V abcd = start;
    V e = words(0xc3d2e1f0, 0, 0, 0);
    constexpr u32 kConstants[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    constexpr Kernel kSteps[4] = {Kernel::sha1_choose, Kernel::sha1_parity, Kernel::sha1_majority, Kernel::sha1_parity};
    for (unsigned i = 0; i < 20; ++i) {
        const u32 k = kConstants[i / 5];
        const V next_e = run(Kernel::sha1_fixed_rotate, {}, abcd);
        abcd = run(kSteps[i / 5], abcd, e, add32(w[i], words(k, k, k, k)));
        e = next_e;
    }
    CHECK(add32(abcd, start) == words(0xa9993e36, 0x4706816a, 0xba3e2571, 0x7850c26c));
    CHECK(word(e, 0) + 0xc3d2e1f0 == 0x9cd0d89d);
}

TEST_CASE("SHA-256 of abc", "[arm64][crypto]") {
    std::vector<V> w{words(0x61626380, 0, 0, 0), {}, {}, words(0, 0, 0, 24)};
    for (unsigned i = 4; i < 16; ++i) {
        w.push_back(run(Kernel::sha256_schedule1, run(Kernel::sha256_schedule0, w[i - 4], w[i - 3]), w[i - 2], w[i - 1]));
    }
    const auto high = [](u64 v) { return static_cast<u32>(v >> 32); };
    const auto h = [&](unsigned i) {
        return words(high(kInitialHash[i]), high(kInitialHash[i + 1]), high(kInitialHash[i + 2]), high(kInitialHash[i + 3]));
    };
    V abcd = h(0), efgh = h(4);
    for (unsigned i = 0; i < 16; ++i) {
        const u64* k = &kRoundConstants[4 * i];
        const V sum = add32(w[i], words(high(k[0]), high(k[1]), high(k[2]), high(k[3])));
        const V old = abcd;
        abcd = run(Kernel::sha256_hash, abcd, efgh, sum);
        efgh = run(Kernel::sha256_hash2, efgh, old, sum);
    }
    CHECK(add32(abcd, h(0)) == words(0xba7816bf, 0x8f01cfea, 0x414140de, 0x5dae2223));
    CHECK(add32(efgh, h(4)) == words(0xb00361a3, 0x96177a9c, 0xb410ff61, 0xf20015ad));
}

TEST_CASE("SHA-512 of abc", "[arm64][crypto]") {
    std::vector<V> w(8);
    w[0] = {{0x6162638000000000, 0}};
    w[7] = {{0, 24}};
    for (unsigned i = 8; i < 40; ++i) {
        w.push_back(run(Kernel::sha512_schedule1, run(Kernel::sha512_schedule0, w[i - 8], w[i - 7]), w[i - 1],
                        middle(w[i - 4], w[i - 3])));
    }
    const auto h = [](unsigned i) { return V{{kInitialHash[i], kInitialHash[i + 1]}}; };
    V ab = h(0), cd = h(2), ef = h(4), gh = h(6);
    for (unsigned i = 0; i < 40; ++i) {
        const V sum = add64(w[i], {{kRoundConstants[2 * i], kRoundConstants[2 * i + 1]}});
        const V t = run(Kernel::sha512_hash, add64(gh, middle(sum, sum)), middle(ef, gh), middle(cd, ef));
        const V new_ef = add64(cd, t);
        gh = ef;
        ef = new_ef;
        const V new_ab = run(Kernel::sha512_hash2, t, cd, ab);
        cd = ab;
        ab = new_ab;
    }
    CHECK(add64(ab, h(0)) == V{{0xddaf35a193617aba, 0xcc417349ae204131}});
    CHECK(add64(cd, h(2)) == V{{0x12e6fa4e89a97ea2, 0x0a9eeee64b55d39a}});
    CHECK(add64(ef, h(4)) == V{{0x2192992a274fc1a8, 0x36ba3c23a3feebbd}});
    CHECK(add64(gh, h(6)) == V{{0x454d4423643ce80e, 0x2a9ac94fa54ca49f}});
}

TEST_CASE("PMULL multiplies polynomials", "[arm64][crypto]") {
    constexpr u32 kDoublewords = 3u << 22;
    // (x^63 + x + 1)(x^63 + 1) = x^126 + x^64 + x + 1
    const V r =
        run(Kernel::polynomial_multiply_long, {}, {{0x8000000000000003, 0}}, {{0x8000000000000001, 0}}, kDoublewords);
    CHECK(r == V{{3, 0x4000000000000001}});
    const V b = run(Kernel::polynomial_multiply_long, {}, {{0x00000000000003ff, 0}}, {{0x0000000000000281, 0}});
    CHECK(b.lane[0] == ((3u * 2) << 16 | (0xff ^ 0x7f80)));
}
