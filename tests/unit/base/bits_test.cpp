#include <catch2/catch.hpp>

#include "base/bits.h"
#include "base/result.h"

using namespace tandem;

TEST_CASE("bit fields at both ends of a word") {
    CHECK(mask(0) == 0);
    CHECK(mask(64) == ~u64{0});
    CHECK(bits(0xdeadbeef, 31, 16) == 0xdead);
    CHECK(with_bits(0xffff, 15, 8, 0) == 0xff);
    CHECK(sign_extend(0x80, 8) == -128);
    CHECK(sign_extend(~u64{0} >> 1, 64) > 0);
}

TEST_CASE("errors carry their context outwards") {
    auto inner = []() -> Result<int> { return invalid("bad digit"); };
    auto outer = [&]() -> Result<void> {
        auto r = inner();
        if (!r) return std::move(r).error().context("-m");
        return {};
    };
    CHECK(outer().error().message == "-m: bad digit");
}
