#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>

#include "jit/baseline/code_memory.h"
#include "jit/runtime/slow_paths.h"

namespace tandem::jit::baseline {

namespace {

// Permissions of the mapping that holds an address, as /proc/self/maps writes them.
std::string permissions(const void* p) {
    std::ifstream maps("/proc/self/maps");
    std::string line;
    while (std::getline(maps, line)) {
        std::istringstream in(line);
        u64 low = 0, high = 0;
        char dash = 0;
        std::string mode;
        in >> std::hex >> low >> dash >> high >> mode;
        const u64 at = reinterpret_cast<u64>(p);
        if (at >= low && at < high) return mode;
    }
    return {};
}

}  // namespace

TEST_CASE("code memory is never writable and executable at one address", "[baseline]") {
    auto made = CodeMemory::create(1 << 20, reinterpret_cast<const void*>(&tandem_slow_load));
    REQUIRE(made.ok());
    CodeMemory& m = **made;
    u8* code = m.allocate(100);
    REQUIRE(code != nullptr);
    CHECK(permissions(code) == "r-xs");
    CHECK(permissions(m.writable(code)) == "rw-s");
    m.writable(code)[0] = 0xc3;
    CHECK(code[0] == 0xc3);
    CHECK(m.reaches(reinterpret_cast<const void*>(&tandem_slow_load)));
    std::ifstream maps("/proc/self/maps");
    std::string line;
    while (std::getline(maps, line)) {
        INFO(line);
        CHECK(line.find("rwx") == std::string::npos);
    }
}

TEST_CASE("code memory refuses sizes out of range", "[baseline]") {
    CHECK_FALSE(CodeMemory::create(0, nullptr).ok());
    CHECK_FALSE(CodeMemory::create(u64{2} << 30, nullptr).ok());
}

TEST_CASE("code memory: random allocation keeps extents apart and merges them again", "[baseline]") {
    auto made = CodeMemory::create(256 << 10, nullptr);
    REQUIRE(made.ok());
    CodeMemory& m = **made;
    std::mt19937 random(7);
    std::map<u8*, u32> live;
    u64 refused = 0;
    for (unsigned n = 0; n < 50000; ++n) {
        if (live.empty() || random() % 100 < 55) {
            const u32 size = static_cast<u32>(random() % 8 == 0 ? 1 + random() % 9000 : 1 + random() % 900);
            u8* p = m.allocate(size);
            if (!p) {
                ++refused;
                auto victim = live.begin();
                std::advance(victim, random() % live.size());
                m.release(victim->first);
                live.erase(victim);
                continue;
            }
            REQUIRE(m.contains(p));
            REQUIRE(m.contains(p + size - 1));
            REQUIRE(reinterpret_cast<u64>(p) % CodeMemory::kGranule == 0);
            const auto next = live.lower_bound(p);
            if (next != live.end()) REQUIRE(p + size <= next->first);
            if (next != live.begin()) REQUIRE(std::prev(next)->first + std::prev(next)->second <= p);
            live[p] = size;
        } else {
            auto victim = live.begin();
            std::advance(victim, random() % live.size());
            m.release(victim->first);
            live.erase(victim);
        }
        REQUIRE(m.used() <= m.capacity());
    }
    CHECK(refused > 0);
    while (!live.empty()) {
        m.release(live.begin()->first);
        live.erase(live.begin());
    }
    CHECK(m.used() == 0);
    CHECK(m.free_extents() == 1);
    CHECK(m.largest_free() == m.capacity());
}

}  // namespace tandem::jit::baseline
