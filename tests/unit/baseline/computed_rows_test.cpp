// F16C and FMA as the interpreter computes them for hosts without, against the host's instructions.
#include <catch2/catch.hpp>

#include <xmmintrin.h>

#include <random>

#include "jit/interp/vector_kernels.h"
#include "tests/unit/baseline/machine.h"

namespace tandem::jit::test {

namespace {

// Bits that make zeros, denormals, infinities, NaNs and neighbours of the limits likely.
u64 element(std::mt19937_64& random) {
    constexpr u64 kSpecial[] = {0,          0x80000000,         0x7f800000, 0xff800001,         0x7fc00001,
                                1,          0x00800000,         0x38800000, 0x387fe000,         0x477fefff,
                                0x33000001, 0x7ff0000000000000, 1ull << 52, 0x7ff8000000000001, 0x3ff0000000000000};
    const u64 v = random();
    switch (v % 4) {
        case 0: return kSpecial[random() % std::size(kSpecial)] | (random() % 2) << 63;
        case 1: return kSpecial[random() % std::size(kSpecial)] << 32 | kSpecial[random() % std::size(kSpecial)];
        case 2: return random() & 0xbfffffffbfffffff;
        default: return random();
    }
}

__m128i vector(std::mt19937_64& random) {
    return _mm_set_epi64x(static_cast<long long>(element(random)), static_cast<long long>(element(random)));
}

using Kernel = interp::Slot (*)(const interp::Operands&);

void compare(const interp::Operands& o, u32 control, Kernel computed, Kernel host) {
    const u32 before = _mm_getcsr();
    _mm_setcsr(control);
    const interp::Slot want = host(o);
    const u32 flags = _mm_getcsr();
    _mm_setcsr(control);
    const interp::Slot got = computed(o);
    const u32 got_flags = _mm_getcsr();
    _mm_setcsr(before);
    const interp::Lanes<u64> a(o.a), b(o.b), c(o.c);
    CAPTURE(ir::info(o.op).name, o.imm, control, a.lane[0], a.lane[1], b.lane[0], b.lane[1], c.lane[0], c.lane[1]);
    if (got.lo != want.lo) REQUIRE(got.lo == want.lo);
    if (got.hi != want.hi) REQUIRE(got.hi == want.hi);
    if (got_flags != flags) REQUIRE(got_flags == flags);
}

}  // namespace

TEST_CASE("half precision and fused multiply-add as computed are the host's", "[interp]") {
    if (!has_vex()) {
        WARN("skipped: the host has no FMA or F16C to compare with");
        return;
    }
    std::mt19937_64 random(11);
    for (unsigned n = 0; n < 60000; ++n) {
        interp::Operands o{};
        o.a = vector(random);
        o.b = vector(random);
        o.c = vector(random);
        const u32 control = 0x1f80 | (static_cast<u32>(random()) & 0xe040);
        o.op = ir::Op::CvtPH2PS;
        compare(o, control, interp::half_to_single_computed, interp::half_to_single);
        o.op = ir::Op::CvtPS2PH;
        o.imm = static_cast<u32>(random() % 8);
        compare(o, control, interp::single_to_half_computed, interp::single_to_half);
        const unsigned first = static_cast<unsigned>(ir::Op::FMAdd132PS);
        o.op = static_cast<ir::Op>(first + random() % (static_cast<unsigned>(ir::Op::FMSubAdd231PD) - first + 1));
        compare(o, control, interp::fused_multiply_add_computed, interp::fused_multiply_add);
    }
}

}  // namespace tandem::jit::test
