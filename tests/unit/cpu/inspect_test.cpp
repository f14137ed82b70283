// Paging structures as the monitor sees them.
#include "cpu/x86/system/inspect.h"

#include <catch2/catch.hpp>
#include <map>
#include <vector>

using namespace tandem;
using namespace tandem::cpu::x86;

namespace {

constexpr u64 kPresent = 1, kWritable = 2, kUser = 4, kLarge = 0x80;

struct Tables {
    std::map<u64, u64> memory;
    PhysicalReader reader = [this](u64 gpa) -> std::optional<u64> {
        const auto at = memory.find(gpa);
        return at == memory.end() ? 0 : at->second;
    };
    State state;

    // 64-bit mode with its root at 0x1000.
    explicit Tables(bool five_levels) {
        state.cr0 = 1u << 31 | 1;
        state.cr4 = 1u << 5 | (five_levels ? 1u << 12 : 0);
        state.msr.efer = 1u << 10;
        state.cr3 = 0x1000;
    }
    void entry(u64 table, u64 index, u64 value) { memory[table + 8 * index] = value; }
};

}  // namespace

TEST_CASE("inspection of four and five levels of tables", "[system]") {
    const bool five = GENERATE(false, true);
    Tables t(five);
    u64 root = 0x1000;
    const u64 all = kPresent | kWritable | kUser;
    if (five) {
        t.entry(root, 0x1ff, 0x9000 | all);
        t.entry(root, 1, 0x9000 | all);
        root = 0x9000;
    }
    t.entry(root, 0x1ff, 0x2000 | all);
    t.entry(0x2000, 0, 0x40000000 | all | kLarge);  // 1 GiB
    t.entry(0x2000, 0x1ff, 0x3000 | all);
    t.entry(0x3000, 5, 0x200000 | kPresent | kLarge);  // 2 MiB
    t.entry(0x3000, 6, 0x4000 | all);
    t.entry(0x4000, 7, 0x7000 | kPresent | kWritable);

    const auto small = walk(t.state, t.reader, 0xffffffffc0c07123);
    REQUIRE(small);
    CHECK((small->pa == 0x7000 && small->size == 4096 && small->writable && !small->user));
    const auto large = walk(t.state, t.reader, 0xffffffffc0a12345);
    REQUIRE(large);
    CHECK((large->pa == 0x200000 && large->size == 2u << 20 && !large->writable));
    const auto huge = walk(t.state, t.reader, 0xffffff8012345678);
    REQUIRE(huge);
    CHECK((huge->pa == 0x40000000 && huge->size == 1u << 30));
    CHECK_FALSE(walk(t.state, t.reader, 0x0000ff8012345678 | u64{1} << 60));
    // Above 47 bits: user space of five levels, no address otherwise.
    CHECK(walk(t.state, t.reader, 0x0001ff8012345678).has_value() == five);

    std::vector<u64> seen;
    for_each_mapping(t.state, t.reader, [&](const Mapping& m) {
        seen.push_back(m.va);
        return true;
    });
    const std::vector<u64> upper{0xffffff8000000000, 0xffffffffc0a00000, 0xffffffffc0c07000};
    std::vector<u64> expected = upper;
    if (five) expected.insert(expected.begin(), {0x0001ff8000000000, 0x0001ffffc0a00000, 0x0001ffffc0c07000});
    CHECK(seen == expected);
}
