// What a guest costs that does nothing, as a tickless Linux does it (kernels/idle.asm).
#include <unistd.h>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/guest/directory.h"
#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

// Processor time of all threads of a process, in nanoseconds (proc(5), /proc/PID/task/TID/schedstat).
double processor_time(int pid) {
    double sum = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
        double of_thread = 0;
        std::ifstream(task.path() / "schedstat") >> of_thread;
        sum += of_thread;
    }
    return sum;
}

double share_of_idle_guest(const std::string& accel) {
    Session s({tandem_program(), "-nographic", "-m", "16", "-kernel", TANDEM_KERNELS "/idle", "-accel", accel});
    REQUIRE(s.wait_for("asleep"));
    std::this_thread::sleep_for(500ms);
    const double before = processor_time(s.pid());
    REQUIRE(before > 0);
    const auto start = std::chrono::steady_clock::now();
    REQUIRE(s.wait_for("awake"));  // 20 wakes later
    const std::chrono::duration<double, std::nano> passed = std::chrono::steady_clock::now() - start;
    CHECK(passed > 2s);
    return (processor_time(s.pid()) - before) / passed.count();
}

}  // namespace

TEST_CASE("an idle guest uses under 1 % of a processor") {
    const std::string accel = GENERATE("jit", "jit,tier=interp", "kvm");
    if (accel == "kvm" && access("/dev/kvm", R_OK | W_OK) != 0) {
        WARN("skipped: no /dev/kvm");
        return;
    }
    CAPTURE(accel);
    double share = 1;
    // The best of several: what else the host does makes caches cold.
    for (int run = 0; run < 6 && share >= 0.01; ++run) share = std::min(share, share_of_idle_guest(accel));
    std::printf("%s: an idle guest uses %.2f %% of a processor\n", accel.c_str(), share * 100);
    CHECK(share < 0.01);
}

// Nothing but the deadline wakes this guest: one that is lost, and it sleeps for ever.
TEST_CASE("a TSC deadline that waits goes with the machine to another engine, into a saved state and back",
          "[kvm][I6][I10]") {
    if (access("/dev/kvm", R_OK | W_OK) != 0) {
        WARN("skipped: no /dev/kvm");
        return;
    }
    const std::string irqchip = GENERATE("user", "split", "kernel");
    CAPTURE(irqchip);
    const Directory dir;
    Session s({tandem_program(), "-nographic", "-m", "16", "-kernel", TANDEM_KERNELS "/idle", "-accel",
               "kvm,irqchip=" + irqchip, "-accel", "jit"});
    if (!s.wait_for("asleep")) {
        REQUIRE(s.output().find("use irqchip=user") != std::string::npos);
        WARN("skipped: irqchip=" << irqchip << ": " << s.output());
        return;
    }
    // As many changes as the guest wakes, and at other times.
    for (int i = 0; i < 20; ++i) {
        std::string answer;
        REQUIRE(s.command(i % 2 == 0 ? "accel jit" : "accel kvm", &answer));
        REQUIRE(s.command("savevm " + (dir / "waiting"), &answer));
        REQUIRE(s.command("loadvm " + (dir / "waiting"), &answer));
        INFO(answer);
        CHECK(answer.find("Error") == std::string::npos);
        std::this_thread::sleep_for(70ms);
    }
    CHECK(s.wait_for("awake"));
    CHECK(s.quit() == 0);
}
