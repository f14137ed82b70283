// The whole-area codec that engines exchange x87, SSE and extended state by.
#include <catch2/catch.hpp>

#include <cstring>
#include <random>
#include <vector>

#include "cpu/x86/fpu/xsave.h"

using namespace tandem;
using namespace tandem::cpu::x86;

namespace {

constexpr u64 kAll = 0x2e7;

State random_state() {
    std::mt19937_64 random(5);
    State s;
    s.x87.fcw = 0x27f;
    s.x87.fsw = 0x2800;  // TOP 5
    s.x87.valid = 0x5a;
    s.x87.fop = 0x123;
    s.x87.fip = random();
    s.x87.fdp = random();
    for (auto& r : s.x87.reg) r = {random(), static_cast<u16>(random())};
    s.mxcsr = 0x9fc0;
    for (auto& v : s.vec) {
        for (u64& lane : v.lane) lane = random();
    }
    for (u64& k : s.opmask) k = random();
    s.pkru = 0x55555554;
    return s;
}

}  // namespace

TEST_CASE("an XSAVE area carries all of x87, SSE and extended state") {
    const State s = random_state();
    std::vector<u8> area(4096, 0xcc);
    write_xsave_area(s, kAll, area);
    State back;
    read_xsave_area(area, back);
    CHECK(back.x87 == s.x87);
    CHECK(back.mxcsr == s.mxcsr);
    CHECK(back.vec == s.vec);
    CHECK(back.opmask == s.opmask);
    CHECK(back.pkru == s.pkru);
    // SDM volume 1, table 10-2 and 13.4: ST0, XMM15, XSTATE_BV.
    CHECK(std::memcmp(&area[32], &s.x87.reg[5].significand, 8) == 0);
    CHECK(std::memcmp(&area[400], s.vec[15].lane.data(), 16) == 0);
    u64 bv = 0;
    std::memcpy(&bv, &area[512], sizeof bv);
    CHECK(bv == kAll);
}

TEST_CASE("what an XSAVE area does not hold is in its initial state after a read") {
    const State s = random_state();
    State back = s;
    std::vector<u8> area(4096);
    SECTION("XSTATE_BV says so") {
        write_xsave_area(s, 2, area);
        read_xsave_area(area, back);
        CHECK(back.x87 == X87{});
    }
    SECTION("the area ends before") {
        area.resize(576);
        write_xsave_area(s, kAll, area);
        read_xsave_area(area, back);
        CHECK(back.x87 == s.x87);
    }
    CHECK(back.mxcsr == s.mxcsr);
    CHECK(back.vec[3].lane[1] == s.vec[3].lane[1]);
    CHECK(back.vec[3].lane[2] == 0);
    CHECK(back.vec[20].lane[0] == 0);
    CHECK(back.opmask == std::array<u64, 8>{});
    CHECK(back.pkru == 0);
}
