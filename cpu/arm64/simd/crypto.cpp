// The cryptographic instructions (DDI 0487, C7.2 and the shared pseudocode's AES and SHA functions).
#include <bit>

#include "cpu/arm64/simd/aes_tables.h"
#include "cpu/arm64/simd/kernels.h"
#include "cpu/arm64/simd/unit.h"

namespace tandem::cpu::arm64::simd {
namespace {

using Words = std::array<u32, 4>;
using Bytes = std::array<u8, 16>;

template <class T>
T as(const Vector128& v) {
    T out;
    std::memcpy(&out, v.lane.data(), sizeof out);
    return out;
}
template <class T>
Vector128 from(const T& v) {
    Vector128 out;
    std::memcpy(out.lane.data(), &v, sizeof v);
    return out;
}

constexpr u32 choose(u32 x, u32 y, u32 z) { return ((y ^ z) & x) ^ z; }
constexpr u32 majority(u32 x, u32 y, u32 z) { return (x & y) | ((x | y) & z); }
constexpr u32 parity(u32 x, u32 y, u32 z) { return x ^ y ^ z; }

template <class F>
void sha1_rounds(Unit& u, u32 word, F f) {
    auto x = as<Words>(u.v(rd(word)));
    u32 y = as<Words>(u.v(rn(word)))[0];
    const auto w = as<Words>(u.v(rm(word)));
    for (unsigned e = 0; e < 4; ++e) {
        y += std::rotl(x[0], 5) + f(x[1], x[2], x[3]) + w[e];
        x[1] = std::rotl(x[1], 30);
        const u32 top = x[3];
        x = {y, x[0], x[1], x[2]};
        y = top;
    }
    u.s.v[rd(word)] = from(x);
}

// SHA256hash: both halves of the state after four rounds.
void sha256_rounds(Words& x, Words& y, const Words& w) {
    for (unsigned e = 0; e < 4; ++e) {
        const u32 sigma1 = std::rotr(y[0], 6) ^ std::rotr(y[0], 11) ^ std::rotr(y[0], 25);
        const u32 sigma0 = std::rotr(x[0], 2) ^ std::rotr(x[0], 13) ^ std::rotr(x[0], 22);
        const u32 t = y[3] + sigma1 + choose(y[0], y[1], y[2]) + w[e];
        const u32 new_y = x[3] + t;
        const u32 new_x = t + sigma0 + majority(x[0], x[1], x[2]);
        x = {new_x, x[0], x[1], x[2]};
        y = {new_y, y[0], y[1], y[2]};
    }
}

constexpr u64 rotate_xor(u64 v, int a, int b, int c) { return std::rotr(v, a) ^ std::rotr(v, b) ^ std::rotr(v, c); }
constexpr u64 choose64(u64 x, u64 y, u64 z) { return (x & y) ^ (~x & z); }
constexpr u64 majority64(u64 x, u64 y, u64 z) { return (x & y) ^ (x & z) ^ (y & z); }
constexpr u64 small_sigma0(u64 v) { return std::rotr(v, 1) ^ std::rotr(v, 8) ^ v >> 7; }
constexpr u64 small_sigma1(u64 v) { return std::rotr(v, 19) ^ std::rotr(v, 61) ^ v >> 6; }

constexpr u8 times2(u8 v) { return static_cast<u8>(v << 1 ^ ((v & 0x80) != 0 ? 0x1b : 0)); }

}  // namespace

void aes_encrypt(Unit& u, u32 word) {  // AESE: ShiftRows, SubBytes
    const auto a = as<Bytes>(u.v(rd(word)));
    const auto key = as<Bytes>(u.v(rn(word)));
    Bytes r;
    for (unsigned i = 0; i < 16; ++i) {
        const unsigned source = (i + 4 * (i % 4)) % 16;
        r[i] = kAesTables.sub[a[source] ^ key[source]];
    }
    u.s.v[rd(word)] = from(r);
}
void aes_decrypt(Unit& u, u32 word) {  // AESD: InvShiftRows, InvSubBytes
    const auto a = as<Bytes>(u.v(rd(word)));
    const auto key = as<Bytes>(u.v(rn(word)));
    Bytes r;
    for (unsigned i = 0; i < 16; ++i) {
        const unsigned source = (i + 12 * (i % 4)) % 16;
        r[i] = kAesTables.inverse[a[source] ^ key[source]];
    }
    u.s.v[rd(word)] = from(r);
}
void aes_mix_columns(Unit& u, u32 word) {  // AESMC, AESIMC
    const bool inverse = bit(word, 12);
    const auto a = as<Bytes>(u.v(rn(word)));
    Bytes r;
    for (unsigned i = 0; i < 16; ++i) {
        const auto at = [&](unsigned n) { return a[(i & ~3u) | ((i + n) & 3)]; };
        const auto product = [&](unsigned n, unsigned factor) {
            const u8 one = at(n), two = times2(one), four = times2(two), eight = times2(four);
            return ((factor & 1) != 0 ? one : 0) ^ ((factor & 2) != 0 ? two : 0) ^ ((factor & 4) != 0 ? four : 0) ^
                   ((factor & 8) != 0 ? eight : 0);
        };
        r[i] = static_cast<u8>(inverse ? product(0, 14) ^ product(1, 11) ^ product(2, 13) ^ product(3, 9)
                                       : product(0, 2) ^ product(1, 3) ^ product(2, 1) ^ product(3, 1));
    }
    u.s.v[rd(word)] = from(r);
}

void sha1_choose(Unit& u, u32 word) { sha1_rounds(u, word, choose); }
void sha1_parity(Unit& u, u32 word) { sha1_rounds(u, word, parity); }
void sha1_majority(Unit& u, u32 word) { sha1_rounds(u, word, majority); }
void sha1_fixed_rotate(Unit& u, u32 word) {
    u.s.v[rd(word)] = {{std::rotl(static_cast<u32>(u.v(rn(word)).lane[0]), 30), 0}};
}
void sha1_schedule0(Unit& u, u32 word) {
    const Vector128 a = u.v(rd(word)), b = u.v(rn(word)), c = u.v(rm(word));
    u.s.v[rd(word)] = {{a.lane[1] ^ a.lane[0] ^ c.lane[0], b.lane[0] ^ a.lane[1] ^ c.lane[1]}};
}
void sha1_schedule1(Unit& u, u32 word) {
    auto t = as<Words>(u.v(rd(word)));
    const auto b = as<Words>(u.v(rn(word)));
    for (unsigned i = 0; i < 3; ++i) t[i] ^= b[i + 1];
    const Words r{std::rotl(t[0], 1), std::rotl(t[1], 1), std::rotl(t[2], 1), std::rotl(t[3], 1) ^ std::rotl(t[0], 2)};
    u.s.v[rd(word)] = from(r);
}

void sha256_hash(Unit& u, u32 word) {
    auto x = as<Words>(u.v(rd(word)));
    auto y = as<Words>(u.v(rn(word)));
    sha256_rounds(x, y, as<Words>(u.v(rm(word))));
    u.s.v[rd(word)] = from(x);
}
void sha256_hash2(Unit& u, u32 word) {
    auto x = as<Words>(u.v(rn(word)));
    auto y = as<Words>(u.v(rd(word)));
    sha256_rounds(x, y, as<Words>(u.v(rm(word))));
    u.s.v[rd(word)] = from(y);
}
void sha256_schedule0(Unit& u, u32 word) {
    const auto a = as<Words>(u.v(rd(word)));
    const auto b = as<Words>(u.v(rn(word)));
    Words r{};
    for (unsigned i = 0; i < 4; ++i) {
        const u32 e = i == 3 ? b[0] : a[i + 1];
        r[i] = (std::rotr(e, 7) ^ std::rotr(e, 18) ^ e >> 3) + a[i];
    }
    u.s.v[rd(word)] = from(r);
}
void sha256_schedule1(Unit& u, u32 word) {
    const auto a = as<Words>(u.v(rd(word)));
    const auto b = as<Words>(u.v(rn(word)));
    const auto c = as<Words>(u.v(rm(word)));
    Words r{};
    for (unsigned i = 0; i < 4; ++i) {
        const u32 e = i < 2 ? c[i + 2] : r[i - 2];
        r[i] = (std::rotr(e, 17) ^ std::rotr(e, 19) ^ e >> 10) + a[i] + (i == 3 ? c[0] : b[i + 1]);
    }
    u.s.v[rd(word)] = from(r);
}

void sha512_hash(Unit& u, u32 word) {
    const auto [x0, x1] = u.v(rn(word)).lane;
    const auto [y0, y1] = u.v(rm(word)).lane;
    const auto [w0, w1] = u.v(rd(word)).lane;
    const u64 high = choose64(y1, x0, x1) + rotate_xor(y1, 14, 18, 41) + w1;
    const u64 t = high + y0;
    u.s.v[rd(word)] = {{choose64(t, y1, x0) + rotate_xor(t, 14, 18, 41) + w0, high}};
}
void sha512_hash2(Unit& u, u32 word) {
    const u64 x0 = u.v(rn(word)).lane[0];
    const auto [y0, y1] = u.v(rm(word)).lane;
    const auto [w0, w1] = u.v(rd(word)).lane;
    const u64 high = majority64(x0, y1, y0) + rotate_xor(y0, 28, 34, 39) + w1;
    u.s.v[rd(word)] = {{majority64(high, y0, y1) + rotate_xor(high, 28, 34, 39) + w0, high}};
}
void sha512_schedule0(Unit& u, u32 word) {
    const auto [w0, w1] = u.v(rd(word)).lane;
    const u64 x0 = u.v(rn(word)).lane[0];
    u.s.v[rd(word)] = {{w0 + small_sigma0(w1), w1 + small_sigma0(x0)}};
}
void sha512_schedule1(Unit& u, u32 word) {
    const auto [x0, x1] = u.v(rn(word)).lane;
    const auto [y0, y1] = u.v(rm(word)).lane;
    const auto [w0, w1] = u.v(rd(word)).lane;
    u.s.v[rd(word)] = {{w0 + small_sigma1(x0) + y0, w1 + small_sigma1(x1) + y1}};
}

}  // namespace tandem::cpu::arm64::simd
