// The exact floating-point functions against the host's FPU where the two architectures' rules agree (results that are no
// NaN, flags but for denormal operands and tininess at the smallest normal), and against hand-computed values where they do
// not.
#include <catch2/catch.hpp>
#include <cstring>
#include <random>

#include "cpu/arm64/fpu/soft_float.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace tandem;
using namespace tandem::cpu::arm64::fpu;

namespace {

#if defined(__x86_64__)

class ControlScope {
public:
    explicit ControlScope(u32 value) : saved_(_mm_getcsr()) { _mm_setcsr(value); }
    ~ControlScope() { _mm_setcsr(saved_); }
    ControlScope(const ControlScope&) = delete;
    ControlScope& operator=(const ControlScope&) = delete;

private:
    u32 saved_;
};

constexpr u32 kMasked = 0x1f80;
constexpr u32 kHostRounding[] = {0, 2, 1, 3};  // of RMode's values

u32 arm_flags(u32 mxcsr) {
    return (mxcsr & 1 ? fpsr::IOC : 0) | (mxcsr & 4 ? fpsr::DZC : 0) | (mxcsr & 8 ? fpsr::OFC : 0) |
           (mxcsr & 16 ? fpsr::UFC : 0) | (mxcsr & 32 ? fpsr::IXC : 0);
}

// Bit patterns that are often special: zeros, denormals, exact halves, infinities, NaNs, close exponents.
u64 interesting(std::mt19937_64& random, Format f) {
    const u64 r = random();
    const u64 sign = f.zero((r & 1) != 0);
    switch (r >> 1 & 15) {
        case 0: return sign;
        case 1: return f.infinity((r & 1) != 0);
        case 2: return sign | (r >> 8 & f.fraction_mask());
        case 3: return sign | f.infinity(false) | (r >> 8 & f.fraction_mask());
        case 4: return sign | (f.exponent_ones() >> 1) << f.fraction | (r >> 8 & 3) << (f.fraction - 2);
        case 5: return sign | 1 | (r >> 8 & 7) << f.fraction;
        case 6: return sign | f.max_normal(false);
        case 7:
        case 8:
        case 9: {
            const u64 near = (f.exponent_ones() >> 1) - 40 + (r >> 8) % 90;
            return sign | (near & f.exponent_ones()) << f.fraction | (random() & f.fraction_mask());
        }
        default: return random() & f.mask();
    }
}

bool is_nan(Format f, u64 a) { return abs(f, a) > f.infinity(false); }
bool is_smallest_normal(Format f, u64 a) { return abs(f, a) == u64{1} << f.fraction; }

template <class T>
T value(u64 a) {
    T v;
    std::memcpy(&v, &a, sizeof v);
    return v;
}
u64 pattern(double v) {
    u64 a = 0;
    std::memcpy(&a, &v, sizeof v);
    return a;
}
u64 pattern(float v) {
    u32 a = 0;
    std::memcpy(&a, &v, sizeof v);
    return a;
}

using Exact = u64 (*)(Format, u64, u64, u64, Env&);
using Host = u64 (*)(u64, u64, u64);

// Inline assembly, so that nothing is folded or moved out of the control word's scope.
#define TANDEM_HOST(name, T, text)                     \
    u64 name(u64 ra, u64 rb, u64 rc) {                 \
        T a = value<T>(ra);                            \
        const T b = value<T>(rb);                      \
        const T c = value<T>(rc);                      \
        asm volatile(text : "+x"(a) : "x"(b), "x"(c)); \
        return pattern(a);                             \
    }
TANDEM_HOST(add_single, float, "addss %1, %0")
TANDEM_HOST(add_double, double, "addsd %1, %0")
TANDEM_HOST(sub_single, float, "subss %1, %0")
TANDEM_HOST(sub_double, double, "subsd %1, %0")
TANDEM_HOST(mul_single, float, "mulss %1, %0")
TANDEM_HOST(mul_double, double, "mulsd %1, %0")
TANDEM_HOST(div_single, float, "divss %1, %0")
TANDEM_HOST(div_double, double, "divsd %1, %0")
TANDEM_HOST(sqrt_single, float, "sqrtss %0, %0")
TANDEM_HOST(sqrt_double, double, "sqrtsd %0, %0")
TANDEM_HOST(fused_single, float, "vfmadd213ss %2, %1, %0")
TANDEM_HOST(fused_double, double, "vfmadd213sd %2, %1, %0")
#undef TANDEM_HOST

struct Operation {
    const char* name;
    Exact exact;
    Host single;
    Host wide;
    bool needs_fma;
};
const Operation kOperations[] = {
    {"add", [](Format f, u64 a, u64 b, u64, Env& e) { return add(f, a, b, e); }, add_single, add_double, false},
    {"sub", [](Format f, u64 a, u64 b, u64, Env& e) { return sub(f, a, b, e); }, sub_single, sub_double, false},
    {"mul", [](Format f, u64 a, u64 b, u64, Env& e) { return mul(f, a, b, e); }, mul_single, mul_double, false},
    {"div", [](Format f, u64 a, u64 b, u64, Env& e) { return div(f, a, b, e); }, div_single, div_double, false},
    {"sqrt", [](Format f, u64 a, u64, u64, Env& e) { return sqrt(f, a, e); }, sqrt_single, sqrt_double, false},
    {"mul_add", [](Format f, u64 a, u64 b, u64 c, Env& e) { return mul_add(f, c, a, b, e); }, fused_single, fused_double,
     true},
};

void compare_with_host(const Operation& op, Format f, u64 a, u64 b, u64 c, u32 rounding) {
    Env env{rounding << fpcr::RModeShift, 0};
    const u64 expected = op.exact(f, a, b, c, env);
    u64 result = 0;
    u32 flags = 0;
    {
        const ControlScope scope(kMasked | kHostRounding[rounding] << 13);
        result = (f.bits == 32 ? op.single : op.wide)(a, b, c);
        flags = arm_flags(_mm_getcsr());
    }
    if (is_nan(f, expected)) {
        // Which NaN differs; an invalid product with a quiet addend is invalid on Arm only.
        if (!is_nan(f, result) || (flags & ~env.status) != 0)
            FAIL(op.name << " NaN " << std::hex << a << " " << b << " " << c);
        return;
    }
    if (is_smallest_normal(f, result)) flags |= env.status & fpsr::UFC;
    if (result != expected || flags != env.status) {
        FAIL(op.name << f.bits << " rounding " << rounding << std::hex << " " << a << " " << b << " " << c << ": "
                     << expected << " flags " << env.status << ", host " << result << " flags " << flags);
    }
}

#endif

u64 half(float v) {
    Env env;
    u32 a = 0;
    std::memcpy(&a, &v, sizeof a);
    return convert(kHalf, kSingle, a, Rounding::TieEven, env);
}

}  // namespace

#if defined(__x86_64__)

TEST_CASE("Soft float agrees with the host's FPU", "[arm64][fpu]") {
    std::mt19937_64 random(1);
    const bool fma = __builtin_cpu_supports("fma") != 0;
    for (const Operation& op : kOperations) {
        if (op.needs_fma && !fma) {
            WARN("skipped: the host has no FMA");
            continue;
        }
        for (const Format f : {kSingle, kDouble}) {
            for (unsigned n = 0; n < 60000; ++n) {
                compare_with_host(op, f, interesting(random, f), interesting(random, f), interesting(random, f), n & 3);
            }
        }
    }
}

TEST_CASE("Soft float conversions agree with the host's", "[arm64][fpu]") {
    std::mt19937_64 random(2);
    for (unsigned n = 0; n < 100000; ++n) {
        const u32 rounding = n & 3;
        const u64 wide = interesting(random, kDouble);
        const u64 narrow = interesting(random, kSingle);
        Env env{rounding << fpcr::RModeShift, 0};
        u64 expected[5];
        expected[0] = convert(kSingle, kDouble, wide, env.rounding(), env);
        expected[1] = convert(kDouble, kSingle, narrow, env.rounding(), env);
        expected[2] = to_fixed(kDouble, wide, 0, false, env.rounding(), 64, env);
        expected[3] = from_fixed(kDouble, wide, 64, 0, false, env);
        expected[4] = from_fixed(kSingle, wide, 64, 0, false, env);
        u64 result[5];
        float s = 0;
        double d = 0;
        u32 flags = 0;
        {
            const ControlScope scope(kMasked | kHostRounding[rounding] << 13);
            asm volatile("cvtsd2ss %1, %0" : "=x"(s) : "x"(value<double>(wide)));
            result[0] = pattern(s);
            asm volatile("cvtss2sd %1, %0" : "=x"(d) : "x"(value<float>(narrow)));
            result[1] = pattern(d);
            asm volatile("cvtsd2si %1, %0" : "=r"(result[2]) : "x"(value<double>(wide)));
            asm volatile("cvtsi2sdq %1, %0" : "=x"(d) : "r"(wide));
            result[3] = pattern(d);
            asm volatile("cvtsi2ssq %1, %0" : "=x"(s) : "r"(wide));
            result[4] = pattern(s);
            flags = arm_flags(_mm_getcsr());
        }
        if (is_smallest_normal(kSingle, result[0])) flags |= env.status & fpsr::UFC;
        INFO(std::hex << wide << " " << narrow << " rounding " << rounding);
        REQUIRE(flags == env.status);
        // x86 has one answer to all that do not fit.
        if (result[2] == u64{1} << 63 && !is_nan(kDouble, wide) && (wide >> 63) == 0) ++result[2], result[2] = ~u64{0} >> 1;
        if (is_nan(kDouble, wide)) result[2] = 0;
        REQUIRE(result[0] == expected[0]);
        for (unsigned i = 1; i < 5; ++i) REQUIRE(result[i] == expected[i]);
    }
}

TEST_CASE("Soft float half precision agrees with the host's conversions", "[arm64][fpu]") {
    if (__builtin_cpu_supports("f16c") == 0) {
        WARN("skipped: the host has no F16C");
        return;
    }
    std::mt19937_64 random(3);
    for (u32 h = 0; h < 0x10000; ++h) {
        Env env;
        float s = 0;
        asm("vmovd %1, %0\n\tvcvtph2ps %0, %0" : "=x"(s) : "r"(h));
        REQUIRE(convert(kSingle, kHalf, h, Rounding::TieEven, env) == pattern(s));
        const u64 narrow = interesting(random, kSingle);
        u32 back = 0;
        float work = 0;
        asm("vcvtps2ph $0, %2, %1\n\tvmovd %1, %0" : "=r"(back), "=&x"(work) : "x"(value<float>(narrow)));
        REQUIRE(convert(kHalf, kSingle, narrow, Rounding::TieEven, env) == back);
    }
}

#endif

TEST_CASE("NaN selection and default NaN", "[arm64][fpu]") {
    constexpr u64 kQuiet = 0x7fc00001, kSignalling = 0xff800002;
    Env env;
    CHECK(add(kSingle, kQuiet, kSignalling, env) == 0xffc00002);  // FPProcessNaNs: a signalling one before a quiet one
    CHECK(env.status == fpsr::IOC);
    env = {};
    CHECK(add(kSingle, kQuiet, 0xffc00005, env) == kQuiet);
    CHECK(env.status == 0);
    env = {fpcr::DN, 0};
    CHECK(add(kSingle, kQuiet, kSignalling, env) == 0x7fc00000);
    env = {};
    CHECK(mul(kSingle, 0x7f800000, 0, env) == 0x7fc00000);
    CHECK(env.status == fpsr::IOC);
    CHECK(mulx(kSingle, 0xff800000, 0, env) == 0xc0000000);
    env = {};
    CHECK(mul_add(kSingle, kQuiet, 0x7f800000, 0, env) == 0x7fc00000);  // infinity * 0 + QNaN is invalid
    CHECK(env.status == fpsr::IOC);
    env = {};
    CHECK(sqrt(kDouble, 0xbff0000000000000, env) == 0x7ff8000000000000);
    CHECK(env.status == fpsr::IOC);
    env = {};
    CHECK(max_num(kSingle, kQuiet, 0x3f800000, env) == 0x3f800000);
    CHECK(env.status == 0);
    CHECK(max(kSingle, kQuiet, 0x3f800000, env) == kQuiet);
    CHECK(min(kSingle, 0, 0x80000000, env) == 0x80000000);
    CHECK(max(kSingle, 0x80000000, 0, env) == 0);
    CHECK(max_num(kSingle, kSignalling, 0x3f800000, env) == 0xffc00002);
    CHECK(env.status == fpsr::IOC);
}

TEST_CASE("Flushing to zero", "[arm64][fpu]") {
    constexpr u64 kDenormal = 0x00400000, kOne = 0x3f800000;
    Env env{fpcr::FZ, 0};
    CHECK(add(kSingle, kDenormal, kOne, env) == kOne);
    CHECK(env.status == fpsr::IDC);
    env.status = 0;
    CHECK(mul(kSingle, 0x00800000, 0x3f000000, env) == 0);  // a flushed result underflows and is not inexact
    CHECK(env.status == fpsr::UFC);
    env.status = 0;
    CHECK(add(kHalf, 0x0200, 0x3c00, env) == 0x3c00);  // FZ is not for half precision
    CHECK(env.status == fpsr::IXC);
    env = {fpcr::FZ16, 0};
    CHECK(add(kHalf, 0x8200, 0x8000, env) == 0x8000);
    CHECK(env.status == 0);
    env = {fpcr::FZ16, 0};
    CHECK(convert(kSingle, kHalf, 0x0001, Rounding::TieEven, env) == 0x33800000);  // conversions ignore FZ16
    CHECK(env.status == 0);
}

TEST_CASE("Tininess is detected before rounding", "[arm64][fpu]") {
    // (1 - 2^-24) * 2^-126: rounds to the smallest normal, was below it.
    Env env;
    CHECK(mul(kSingle, 0x3f7fffff, 0x00800000, env) == 0x00800000);
    CHECK(env.status == (fpsr::UFC | fpsr::IXC));
}

TEST_CASE("Conversions to integers", "[arm64][fpu]") {
    Env env;
    CHECK(to_fixed(kDouble, 0xc000000000000000, 0, true, Rounding::Zero, 32, env) == 0);  // -2.0
    CHECK(env.status == fpsr::IOC);
    env = {};
    CHECK(to_fixed(kDouble, 0xbfe0000000000000, 0, true, Rounding::Zero, 32, env) == 0);  // -0.5
    CHECK(env.status == fpsr::IXC);
    env = {};
    CHECK(to_fixed(kSingle, 0x40200000, 0, false, Rounding::TieAway, 32, env) == 3);  // 2.5
    CHECK(to_fixed(kSingle, 0x40200000, 0, false, Rounding::TieEven, 32, env) == 2);
    CHECK(to_fixed(kSingle, 0xc0200000, 0, false, Rounding::TieAway, 32, env) == 0xfffffffd);
    CHECK(to_fixed(kSingle, 0x3fc00000, 4, false, Rounding::Zero, 64, env) == 24);  // 1.5 * 16
    CHECK(to_fixed(kSingle, 0x7f800000, 0, false, Rounding::Zero, 64, env) == 0x7fffffffffffffff);
    CHECK(to_fixed(kSingle, 0x7fc00000, 0, false, Rounding::Zero, 64, env) == 0);
    CHECK(from_fixed(kDouble, 0x18, 32, 4, false, env) == 0x3ff8000000000000);
    bool exact = false;
    env = {};
    CHECK(to_fixed_js(0x41f0000000100000, exact, env) == 1);  // 2^32 + 1
    CHECK((!exact && env.status == fpsr::IOC));
    env = {};
    CHECK(to_fixed_js(0xc010000000000000, exact, env) == 0xfffffffc);
    CHECK((exact && env.status == 0));
    CHECK((to_fixed_js(0x8000000000000000, exact, env) == 0 && !exact));
}

TEST_CASE("Alternative half precision", "[arm64][fpu]") {
    Env env{fpcr::AHP, 0};
    CHECK(convert(kHalf, kSingle, 0x47800000, Rounding::TieEven, env) == 0x7c00);  // 65536 is a number
    CHECK(env.status == 0);
    CHECK(convert(kHalf, kSingle, 0x7f800000, Rounding::TieEven, env) == 0x7fff);
    CHECK(env.status == fpsr::IOC);
    CHECK(convert(kSingle, kHalf, 0x7c00, Rounding::TieEven, env) == 0x47800000);
}

TEST_CASE("Estimates and steps", "[arm64][fpu]") {
    Env env;
    CHECK(recip_estimate(kSingle, 0x3f800000, env) == 0x3f7f8000);
    CHECK(recip_estimate(kDouble, 0x4000000000000000, env) == 0x3fdff00000000000);
    CHECK(rsqrt_estimate(kSingle, 0x3f800000, env) == 0x3f7f8000);
    CHECK(rsqrt_estimate(kDouble, 0x4010000000000000, env) == 0x3fdff00000000000);
    CHECK(recip_estimate(u32{0x80000000}) == 0xff800000);
    CHECK(rsqrt_estimate(u32{0x40000000}) == 0xff800000);
    CHECK(env.status == 0);
    CHECK(recip_estimate(kSingle, 0, env) == 0x7f800000);
    CHECK(env.status == fpsr::DZC);
    env = {};
    CHECK(recip_estimate(kSingle, 1, env) == 0x7f800000);
    CHECK(env.status == (fpsr::OFC | fpsr::IXC));
    CHECK(recip_step(kSingle, 0x3f800000, 0x3f800000, env) == 0x3f800000);  // 2 - 1
    CHECK(rsqrt_step(kSingle, 0x3f800000, 0x3f800000, env) == 0x3f800000);  // (3 - 1) / 2
    CHECK(recip_step(kSingle, 0, 0x7f800000, env) == 0x40000000);
    CHECK(rsqrt_step(kSingle, 0, 0x7f800000, env) == 0x3fc00000);
    CHECK(recip_exponent(kSingle, 0x3f800000, env) == 0x40000000);
    CHECK(round_int(kHalf, half(2.5F), Rounding::TieEven, true, env) == half(2.0F));
    CHECK(round_int(kDouble, 0xbfd0000000000000, Rounding::TieAway, false, env) == 0x8000000000000000);
}
