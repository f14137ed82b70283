// Seeded random blocks: compiled code against the evaluator, down to every byte of state and memory.
#include <xmmintrin.h>
#include <catch2/catch.hpp>

#include "jit/baseline/backend.h"
#include "tests/unit/baseline/machine.h"
#include "tests/unit/baseline/random_block.h"

namespace tandem::jit::test {

namespace {

struct Bench {
    ToyGuest guest;
    BackendContext context;
    std::unique_ptr<Backend> backend;

    explicit Bench(const baseline::HostFeatures& host = baseline::HostFeatures::detect()) {
        context.guest = &guest;
        context.options.tier = Tier::Baseline;
        context.options.code_cache_bytes = 1 << 20;
        auto made = baseline::create_backend(context, host);
        REQUIRE(made.ok());
        backend = std::move(made).value();
    }
};

// Number of blocks run; fails at the first difference.
void compare(Bench& bench, const BlockShape& shape, u64 first_seed, unsigned blocks, unsigned runs) {
    constexpr u32 kMxcsrMasks = 0x1f80, kMxcsrModes = 0xe040;
    Machine start, expected, actual, interpreted;
    std::mt19937_64 random(first_seed);
    const u32 mxcsr = _mm_getcsr();
    u64 faults = 0, operations = 0, skipped = 0;
    for (u64 seed = first_seed; seed < first_seed + blocks; ++seed) {
        TranslatedBlock block;
        block.ir = std::make_unique<ir::Block>(RandomBlock(seed, shape).make());
        block.key = block.ir->key;
        const auto compiled = bench.backend->compile(block);
        if (!compiled.ok() && compiled.error().message.starts_with("host lacks")) {  // the evaluator could not run it either
            ++skipped;
            continue;
        }
        INFO("seed " << seed << ": " << (compiled.ok() ? "" : compiled.error().message));
        REQUIRE(compiled.ok());
        for (unsigned run = 0; run < runs; ++run) {
            start.randomize(random);
            expected.copy_from(start);
            actual.copy_from(start);
            interpreted.copy_from(start);
            // Rounding, DAZ and FTZ at random; all exceptions masked, as they are while guest code runs.
            const u32 control = kMxcsrMasks | (static_cast<u32>(random()) & kMxcsrModes);
            _mm_setcsr(control);
            const Outcome want = expected.evaluate(*block.ir);
            const u32 flags = _mm_getcsr();
            _mm_setcsr(control);
            const Outcome got = run_compiled(*bench.backend, actual, block);
            const u32 got_flags = _mm_getcsr();
            _mm_setcsr(control);
            interpreted.interpret(*block.ir);
            const u32 interpreted_flags = _mm_getcsr();
            _mm_setcsr(mxcsr);
            CHECK(got_flags == flags);
            // A CallIf whose helper finds nothing to do leaves compiled code, but not the interpreter.
            const bool interprets = want.reason != ir::LeaveReason::Interpret;
            if (interprets) CHECK(interpreted_flags == flags);
            INFO("run " << run << " left with " << static_cast<u32>(got.reason) << ", should be "
                        << static_cast<u32>(want.reason));
            CHECK(got.reason == want.reason);
            CHECK(got.direct == want.direct);
            for (u32 offset = 0; offset < kStateBytes; offset += 8) {
                u64 a, b;
                std::memcpy(&a, expected.state() + offset, 8);
                std::memcpy(&b, actual.state() + offset, 8);
                INFO("state at " << offset);
                if (a != b) REQUIRE(a == b);
                std::memcpy(&b, interpreted.state() + offset, 8);
                if (interprets && a != b) REQUIRE(a == b);
            }
            if (interprets) REQUIRE(expected.memory() == interpreted.memory());
            REQUIRE(expected.memory() == actual.memory());
            faults += want.reason == ir::LeaveReason::Exception;
            operations += block.ir->insts.size();
        }
        bench.backend->release(block);
    }
    WARN(blocks << " blocks, " << operations << " operations, " << faults << " runs ended in a fault, "
                << actual.slow_accesses << " slow accesses, " << skipped << " skipped (the host lacks an instruction)");
    CHECK(skipped < blocks);
}

unsigned scale() {
    const char* s = std::getenv("TANDEM_TEST_SCALE");
    return s ? static_cast<unsigned>(std::atoi(s)) : 1;
}

}  // namespace

TEST_CASE("random blocks of integers", "[baseline]") {
    Bench bench;
    BlockShape shape;
    shape.vector_percent = 0;
    shape.call_percent = 0;
    shape.memory_percent = 0;
    compare(bench, shape, 1, 1500 * scale(), 3);
}

TEST_CASE("random blocks with memory and faults", "[baseline]") {
    Bench bench;
    BlockShape shape;
    shape.vector_percent = 5;
    shape.memory_percent = 15;
    compare(bench, shape, 100000, 1500 * scale(), 4);
}

TEST_CASE("random blocks of little but memory accesses", "[baseline]") {
    Bench bench;
    BlockShape shape;
    shape.operations = 40;
    shape.vector_percent = 10;
    shape.memory_percent = 60;
    compare(bench, shape, 500000, 2000 * scale(), 6);
}

TEST_CASE("random blocks of vectors", "[baseline]") {
    Bench bench;
    BlockShape shape;
    shape.vector_percent = 70;
    compare(bench, shape, 200000, 1500 * scale(), 3);
}

TEST_CASE("random blocks under register pressure", "[baseline]") {
    Bench bench;
    BlockShape shape;
    shape.operations = 250;
    shape.reach_back = 200;
    shape.memory_percent = 4;
    shape.leaves = false;
    compare(bench, shape, 300000, 300 * scale(), 3);
}

TEST_CASE("random blocks of vectors of all widths", "[baseline]") {
    if (!has_vex()) {
        WARN("skipped: the host has no AVX2, FMA or F16C to compare with");
        return;
    }
    Bench bench;
    BlockShape shape;
    shape.wide_vectors = true;
    shape.vector_percent = 60;
    shape.memory_percent = 10;
    compare(bench, shape, 500000, 1200 * scale(), 3);
    shape.operations = 200;
    shape.reach_back = 100;
    compare(bench, shape, 600000, 150 * scale(), 3);
}

TEST_CASE("random blocks on a host without AVX", "[baseline]") {
    baseline::HostFeatures host = baseline::HostFeatures::detect();
    host.avx = host.avx2 = false;
    Bench bench(host);
    BlockShape shape;
    shape.vector_percent = 60;
    compare(bench, shape, 700000, 1000 * scale(), 3);
}

TEST_CASE("random blocks without the host's newer instructions", "[baseline]") {
    baseline::HostFeatures host = baseline::HostFeatures::detect();
    host.bmi2 = host.lzcnt = host.tzcnt = host.popcnt = false;
    Bench bench(host);
    BlockShape shape;
    shape.vector_percent = 10;
    compare(bench, shape, 400000, 1000 * scale(), 3);
}

}  // namespace tandem::jit::test
