#include <catch2/catch.hpp>

#include <map>

#include "cpu/arm64/decode/disassemble.h"
#include "cpu/arm64/system/inspect.h"

using namespace tandem;
using namespace tandem::cpu::arm64;

namespace {

constexpr u64 kTable = 3, kPage = 3, kBlock = 1;

struct Memory {
    std::map<u64, u64> words;
    [[nodiscard]] PhysicalReader reader() const {
        return [this](u64 address) -> std::optional<u64> {
            const auto at = words.find(address);
            return at == words.end() ? 0 : at->second;
        };
    }
};

}  // namespace

TEST_CASE("arm64: a stopped processor's tables are looked up: pages, blocks, both ranges") {
    Memory m;
    State s;
    reset(s, 1);
    CHECK(look_up(s, m.reader(), 0x1234) == 0x1234u);
    s.sys.sctlr_el1 |= 1;
    // 48 bits from below, 39 from above, granules of 4 KiB.
    s.sys.tcr_el1 = 16 | u64{25} << 16 | u64{2} << 30;
    s.sys.ttbr0_el1 = 0x10000;
    s.sys.ttbr1_el1 = u64{7} << 48 | 0x20000;
    m.words = {{0x10000, 0x11000 | kTable},
               {0x11000 + 8 * 1, 0x12000 | kTable},
               {0x12000 + 8 * 2, 0x13000 | kTable},
               {0x13000 + 8 * 3, 0xabc000 | kPage | u64{1} << 54},
               {0x12000 + 8 * 4, 0x40000000 | kBlock},
               {0x20000 + 8 * 511, 0x80000000 | kBlock}};
    CHECK(look_up(s, m.reader(), 0x40403123) == 0xabc123u);
    CHECK(look_up(s, m.reader(), 0x40912345) == 0x40112345u);
    CHECK_FALSE(look_up(s, m.reader(), 0x40404000));
    CHECK(look_up(s, m.reader(), 0xffffffffc0001000) == 0x80001000u);
    CHECK_FALSE(look_up(s, m.reader(), 0xffffff0000000000));  // outside of both
}

TEST_CASE("arm64: a hypervisor's second stage is looked up behind the first, and for its tables") {
    Memory m;
    State s;
    reset(s, 1);
    s.sys.hcr_el2 = 1;
    s.sys.vtcr_el2 = 25 | 1 << 6;  // 39 bits, first level 1, granules of 4 KiB
    s.sys.vttbr_el2 = 0x30000;
    m.words = {{0x30000 + 8 * 1, 0x100000000 | kBlock}};
    CHECK(look_up(s, m.reader(), 0x40001000) == 0x100001000u);
    CHECK_FALSE(look_up(s, m.reader(), 0x1000));
    s.sys.sctlr_el1 |= 1;
    s.sys.tcr_el1 = 25;
    s.sys.ttbr0_el1 = 0x40002000;
    m.words[0x100002000] = 0x40000000 | kBlock;
    CHECK(look_up(s, m.reader(), 0x5678) == 0x100005678u);
}

TEST_CASE("arm64: instructions as text") {
    CHECK(disassemble_one(0xd65f03c0, 0) == "ret");
    CHECK(disassemble_one(0x14000002, 0x1000) == "b #0x1008");
    CHECK(disassemble_one(0x00000001, 0).starts_with(".inst") != disassemble_one(0x00000001, 0).starts_with("udf"));
}
