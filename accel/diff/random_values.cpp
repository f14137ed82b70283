#include "accel/diff/random_values.h"

#include <algorithm>
#include <cstring>

#include "base/bits.h"

namespace tandem::accel::diff {

using namespace cpu::x86;

u64 integer(Rng& rng) {
    switch (rng() % 8) {
        case 0: return pick<u64>(rng, {0, 1, 2, ~u64{0}, ~u64{0} - 1});
        case 1: {
            const u64 edge = u64{1} << pick(rng, {7, 8, 15, 16, 31, 32, 63});
            return edge + rng() % 3 - 1;
        }
        case 2: return (u64{1} << rng() % 64) - rng() % 2;
        case 3: return rng() & 0xff;
        case 4: return static_cast<u64>(-static_cast<i64>(rng() & 0xffff));
        case 5: return rng() & 0xffffffff;
        default: return rng();
    }
}

namespace {

u32 single(Rng& rng) {
    const u32 sign = static_cast<u32>(rng() & 1) << 31;
    switch (rng() % 10) {
        case 0: return sign;
        case 1: return sign | 0x7f800000;                                         // infinity
        case 2: return sign | 0x7f800000 | (static_cast<u32>(rng()) & 0x7fffff);  // NaN, quiet or signalling
        case 3: return sign | (static_cast<u32>(rng()) & 0x7fffff);               // denormal
        case 4:
            return sign | pick<u32>(rng, {0x3f800000, 0x40000000, 0x3f000000, 0x4b000000, 0x4f000000, 0x5f000000, 0x7f7fffff,
                                          0x00800000});
        case 5:
        case 6: return sign | (static_cast<u32>(120 + rng() % 40) << 23) | (static_cast<u32>(rng()) & 0x7fffff);
        case 7: return sign | (static_cast<u32>(127 + rng() % 8) << 23) | (static_cast<u32>(rng()) & 0x7e0000);
        default: return static_cast<u32>(rng());
    }
}

u64 double_precision(Rng& rng) {
    const u64 sign = (rng() & 1) << 63;
    const u64 fraction = rng() & mask(52);
    switch (rng() % 10) {
        case 0: return sign;
        case 1: return sign | u64{0x7ff} << 52;
        case 2: return sign | u64{0x7ff} << 52 | fraction;
        case 3: return sign | fraction;
        case 4:
            return sign | pick<u64>(rng, {0x3ff0000000000000, 0x4000000000000000, 0x3fe0000000000000, 0x41e0000000000000,
                                          0x43e0000000000000, 0x7fefffffffffffff, 0x0010000000000000, 0x3810000000000000});
        case 5:
        case 6: return sign | (1000 + rng() % 100) << 52 | fraction;
        case 7: return sign | (1023 + rng() % 8) << 52 | (fraction & 0xff80000000000);
        case 8: return sign | (880 + rng() % 300) << 52 | fraction;  // around the range of single precision
        default: return rng();
    }
}

}  // namespace

u64 quadword(Rng& rng) {
    switch (rng() % 4) {
        case 0: return integer(rng);
        case 1: return double_precision(rng);
        case 2: return u64{single(rng)} << 32 | single(rng);
        default: return rng();
    }
}

namespace {

// An extended-precision value in its 10 bytes, now and then one of the unsupported formats (SDM volume 1, 8.2.2).
void extended(Rng& rng, std::array<u8, 16>& out) {
    u64 significand = rng() | u64{1} << 63;
    u64 exponent = 16383 - 40 + rng() % 80;
    switch (rng() % 12) {
        case 0: significand = exponent = 0; break;
        case 1:
            exponent = 0x7fff;
            significand = u64{1} << 63;
            break;
        case 2: exponent = 0x7fff; break;
        case 3:
            exponent = 0;
            significand &= mask(63);
            break;
        case 4: exponent = rng() & 0x7fff; break;
        case 5: significand = rng(); break;
        case 6:
            significand = u64{1} << 63;
            exponent = 16383 + rng() % 4;
            break;
        case 7:
            significand &= ~mask(48);
            exponent = 16383 + rng() % 16;
            break;
        case 8: exponent = pick<u64>(rng, {0, 1, 0x7ffe, 16383 + 63, 16383 - 64}); break;
        default: break;
    }
    exponent |= (rng() & 1) << 15;
    std::memcpy(out.data(), &significand, 8);
    std::memcpy(out.data() + 8, &exponent, 2);
}

}  // namespace

u64 address(Rng& rng, unsigned size) {
    const unsigned s = std::max(size, 1u);
    switch (rng() % 20) {
        case 0: return kData + 0x1000 - rng() % (s + 1);
        case 1: return kReadOnly - rng() % (s + 1);
        case 2: return kReadOnly + rng() % (kReadOnlySize - 64);
        case 3: return kReadOnly + kReadOnlySize - rng() % (s + 1);
        case 4: return kData - rng() % (s + 2);
        case 5:
            return pick<u64>(rng, {0x0000'8000'0000'0000 - rng() % (s + 1), 0xffff'7fff'ffff'fff0, 0x1234'5678'9abc'def0});
        case 6:
        case 7:
        case 8: return kData + rng() % (kDataSize - 64);
        default: return kData + (rng() % (kDataSize - 64) & ~u64{15});
    }
}

namespace {

u64 vector_part(Rng& rng) { return rng() % 2 == 0 ? u64{single(rng)} << 32 | single(rng) : double_precision(rng); }

}  // namespace

u16 selector(Rng& rng) { return static_cast<u16>(rng() % (kDescriptors * 8) | (rng() % 16 == 0 ? rng() & 0xffff : 0)); }

u64 descriptor(Rng& rng) {
    const u64 present = u64{rng() % 8 != 0} << 47;
    const u64 level = (rng() & 3) << 45;
    if (rng() % 4 == 0) {
        const u64 type = pick<u64>(rng, {4, 5, 12, 14});  // call gates, a task gate, an interrupt gate
        const u64 offset = kCodePage + rng() % 0x1000;
        return (offset & 0xffff) | u64{selector(rng)} << 16 | type << 40 | level | present | (offset >> 16 & 0xffff) << 48;
    }
    const u64 base = pick<u64>(rng, {0, kCodePage, kData, kData + 0x800, rng() & 0xffffffff});
    const u64 limit = pick<u64>(rng, {0xffff, 0xfffff, 0x67, 0x2b, rng() & 0xfffff});
    return (limit & 0xffff) | (base & 0xffffff) << 16 | (rng() & 0x1f) << 40 | level | present | (limit >> 16 & 15) << 48 |
           (rng() & 15) << 52 | (base >> 24) << 56;
}

void random_state(Rng& rng, CpuImage& in, const World& world, Rules rules) {
    in.rip = world.start();
    for (u64& r : in.gpr) r = integer(rng);
    in.gpr[RSP] = kData - world.data_base() + 0x400 + rng() % 0x1800;
    if (rng() % 4 != 0) in.gpr[RSP] &= ~u64{7};
    constexpr u64 kArithmetic = 0x8d5;
    in.rflags = 0x202 | world.mode_flags() | (rng() & kArithmetic) | (rng() % 10 == 0 ? 0x400 : 0);
    // Single step, I/O privilege, nested task, alignment check.
    constexpr u64 kSystemFlags = 0x47100;
    if (rules == Rules::Translators && rng() % 8 == 0) in.rflags |= rng() & kSystemFlags;
    FxImage& fx = in.fx;
    for (auto& x : fx.xmm) {
        switch (rng() % 3) {
            case 0: x = {u64{single(rng)} << 32 | single(rng), u64{single(rng)} << 32 | single(rng)}; break;
            case 1: x = {double_precision(rng), double_precision(rng)}; break;
            default: x = {quadword(rng), quadword(rng)}; break;
        }
    }
    static const bool kAvx = host_has(Feature::AVX);
    if (kAvx && rng() % 8 != 0) {
        for (auto& y : in.ymm_high)
            y = rng() % 2 == 0 ? std::array{vector_part(rng), vector_part(rng)} : in.fx.xmm[rng() % 16];
    }
    for (auto& s : fx.st) extended(rng, s);
    fx.ftw = static_cast<u8>(rng() % 3 == 0 ? rng() : 0xff);
    const u16 top = static_cast<u16>(rng() % 8);
    fx.fsw = static_cast<u16>(u64{top} << 11 | (rng() & 0x4700));
    fx.fcw = static_cast<u16>(0x37f & ~(rng() % 4 == 0 ? 0x300u : 0u));
    if (rng() % 2 == 0)
        fx.fcw = static_cast<u16>((fx.fcw & ~0xf00u) | pick<u16>(rng, {0x000, 0x200, 0x300}) | (rng() % 4) << 10);
    if (rng() % 8 == 0) fx.fcw = static_cast<u16>(fx.fcw & ~(rng() & 0x3f));
    fx.fsw = static_cast<u16>(fx.fsw | (rng() & 0x3f & fx.fcw));  // only masked exceptions may be pending
    fx.mxcsr = 0x1f80;
    if (rng() % 3 == 0) fx.mxcsr |= static_cast<u32>(rng() & 0xe040);
    if (rng() % 4 == 0) fx.mxcsr |= static_cast<u32>(rng() & 0x3f);
    if (rng() % 8 == 0) fx.mxcsr &= ~static_cast<u32>(rng() & 0x1f80);
}

}  // namespace tandem::accel::diff
