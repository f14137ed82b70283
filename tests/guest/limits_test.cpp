// What a user waits for and pays: time to the first guest instruction, and memory beyond the guest's own.
#include <unistd.h>

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <thread>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

constexpr unsigned kRamMiB = 256;

// Resident KiB of a process outside mappings of at least `ram` bytes, which are guest memory. Proportional, so that the code
// memory, which is mapped twice (writable and executable), counts once.
std::size_t resident_beside(int pid, std::size_t ram) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/smaps");
    std::size_t total = 0;
    bool guest = false;
    for (std::string line; std::getline(file, line);) {
        std::size_t low = 0;
        std::size_t high = 0;
        if (std::sscanf(line.c_str(), "%zx-%zx ", &low, &high) == 2) guest = high - low >= ram;
        std::size_t kib = 0;
        if (!guest && std::sscanf(line.c_str(), "Pss: %zu kB", &kib) == 1) total += kib;
    }
    return total;
}

}  // namespace

TEST_CASE("a process reaches the guest's first instruction in less than 50 ms") {
    using Clock = std::chrono::steady_clock;
    auto best = Clock::duration::max();
    // The best of several: a busy machine is not the program's fault.
    for (int run = 0; run < 60 && best >= 50ms; ++run) {
        const auto start = Clock::now();
        Session s(debian("quiet", {"-trace", "exits"}));
        REQUIRE(s.wait_for("kvm_entry: vcpu 0"));
        best = std::min(best, Clock::now() - start);
    }
    INFO(std::chrono::duration_cast<std::chrono::microseconds>(best).count() << " us");
    CHECK(best < 50ms);
}

TEST_CASE("an idle guest takes less than 2 % of a core") {
    Session s(debian("quiet", {"-smp", "2"}));
    REQUIRE(s.wait_for("guest# ", 120s));
    const auto used_ticks = [&] {
        std::ifstream file("/proc/" + std::to_string(s.pid()) + "/stat");
        std::string line;
        std::getline(file, line);
        unsigned long user = 0, system = 0;
        std::sscanf(line.c_str() + line.rfind(')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
        return user + system;
    };
    // The best of several: hot code of the boot may still be compiled.
    constexpr auto kTime = 3s;
    const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK)) * kTime.count();
    double share = 1;
    for (int run = 0; run < 5 && share >= 0.02; ++run) {
        const unsigned long before = used_ticks();
        REQUIRE(before > 0);
        std::this_thread::sleep_for(kTime);
        share = std::min(share, static_cast<double>(used_ticks() - before) / ticks);
    }
    INFO(100 * share << " %");
    CHECK(share < 0.02);
}

TEST_CASE("a boot takes less than 200 MB beside the guest's memory") {
    const std::string tier = GENERATE(as<std::string>{}, "tier=auto", "tier=auto,llvm-threshold=50000");
    Session s(debian("quiet", {"-accel", "jit," + tier}));
    REQUIRE(s.wait_for("guest# ", 120s));
    const std::size_t kib = resident_beside(s.pid(), std::size_t{kRamMiB} << 20);
    INFO(tier << ": " << kib << " KiB");
    CHECK(kib > 1000);
    CHECK(kib < 200'000);
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
}
