// The LLVM tier on the random blocks that the baseline tier is tested with.
#include <catch2/catch.hpp>

#include <xmmintrin.h>

#include "jit/runtime/region_compiler.h"
#include "jit/runtime/slow_paths.h"
#include "tests/unit/baseline/machine.h"
#include "tests/unit/baseline/random_block.h"

namespace tandem::jit::test {

namespace {

// Jumps are answered with None, which the evaluator calls Lookup.
ir::LeaveReason as_evaluated(u32 status) {
    return status == 0 ? ir::LeaveReason::Lookup : static_cast<ir::LeaveReason>(status);
}

void compare_regions(RegionCompiler& compiler, const BlockShape& shape, u64 first_seed, unsigned blocks) {
    constexpr u32 kMxcsrMasks = 0x1f80, kMxcsrModes = 0xe040;
    constexpr unsigned kRuns = 6;
    Machine start, expected, actual;
    std::mt19937_64 random(first_seed);
    const u32 mxcsr = _mm_getcsr();
    for (u64 seed = first_seed; seed < first_seed + blocks; ++seed) {
        Region region;
        region.blocks.push_back(RandomBlock(seed, shape).make());
        const auto compiled = compiler.compile(region);
        INFO("seed " << seed << ": " << (compiled.ok() ? "" : compiled.error().message));
        REQUIRE(compiled.ok());
        for (unsigned run = 0; run < kRuns; ++run) {
            start.randomize(random);
            expected.copy_from(start);
            actual.copy_from(start);
            const u32 control = kMxcsrMasks | (static_cast<u32>(random()) & kMxcsrModes);
            _mm_setcsr(control);
            const Outcome want = expected.evaluate(region.blocks[0]);
            const u32 flags = _mm_getcsr();
            _mm_setcsr(control);
            const ir::LeaveReason got = as_evaluated(compiled.value().function(actual.state()));
            const u32 got_flags = _mm_getcsr();
            _mm_setcsr(mxcsr);
            INFO("run " << run);
            CHECK(got == want.reason);
            CHECK(got_flags == flags);
            for (u32 offset = 0; offset < kStateBytes; offset += 8) {
                u64 a = 0, b = 0;
                std::memcpy(&a, expected.state() + offset, 8);
                std::memcpy(&b, actual.state() + offset, 8);
                INFO("state at " << offset);
                if (a != b) REQUIRE(a == b);
            }
            REQUIRE(expected.memory() == actual.memory());
        }
        compiler.release(compiled.value().handle);
    }
}

}  // namespace

TEST_CASE("random blocks of vectors of all widths on the LLVM tier", "[llvm]") {
    static const ToyGuest guest;
    RegionCompilerOptions options;
    options.guest = &guest;
    options.slow_load = tandem_slow_load;
    options.slow_store = tandem_slow_store;
    options.slow_atomic = tandem_slow_atomic;
    options.verify = true;
    auto compiler = load_region_compiler(options);
    if (!compiler.ok() || !has_vex()) {
        WARN("skipped: " << (compiler.ok() ? "the host has no AVX2, FMA or F16C" : compiler.error().message));
        return;
    }
    BlockShape shape;
    shape.wide_vectors = true;
    shape.vector_percent = 60;
    shape.memory_percent = 10;
    compare_regions(**compiler, shape, 800000, 100);
    shape.vector_percent = 85;
    shape.operations = 150;
    compare_regions(**compiler, shape, 900000, 60);
}

}  // namespace tandem::jit::test
