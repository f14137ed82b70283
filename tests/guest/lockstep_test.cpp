// Two engines in lockstep: Debian's kernel, and small kernels with KVM.
#include <unistd.h>

#include <catch2/catch.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

std::string directory() {
    return (std::filesystem::temp_directory_path() / ("tandem-lockstep-" + std::to_string(::getpid()))).string();
}

std::string accel(const std::string& engines) { return "lockstep,stats=on,dir=" + directory() + "," + engines; }

std::vector<std::string> boot(const std::string& engines, const std::string& append) {
    return {tandem_program(), "-accel",         accel(engines), "-nographic",       "-m",      "128",
            "-kernel",        image("vmlinuz"), "-initrd",      image("initramfs"), "-append", "console=ttyS0 " + append};
}

// A counter of stats=on.
unsigned long long counter(const std::string& output, const std::string& name) {
    const auto at = output.rfind(name);
    REQUIRE(at != std::string::npos);
    return std::strtoull(output.c_str() + at + name.size(), nullptr, 10);
}

// Says so where this host has none.
bool have_kvm() {
    if (::access("/dev/kvm", R_OK | W_OK) == 0) return true;
    std::printf("skipped: lockstep with KVM: no /dev/kvm\n");
    return false;
}

std::vector<std::string> kernel(const std::string& name) {
    return {tandem_program(),         "-accel", accel("a=kvm,b=baseline"), "-nographic", "-m", "16", "-kernel",
            TANDEM_KERNELS "/" + name};
}

}  // namespace

#ifdef TANDEM_HAVE_KERNELS
TEST_CASE("KVM and the translator agree on a guest that two timers interrupt", "[kvm]") {
    if (!have_kvm()) return;
    std::vector<std::string> argv = kernel("saved");
    const bool slow = std::getenv("TANDEM_SLOW_HOST") != nullptr;
    if (slow) argv.insert(argv.end(), {"-append", "slow"});
    Session s(argv);
    REQUIRE(s.wait_for(std::string(40, '.'), 240s));
    s.signal(SIGTERM);
    (void)s.wait_exit();
    INFO(s.output());
    CHECK(s.output().find("differ") == s.output().find("differences that are open"));
    CHECK(s.output().find("bad") == std::string::npos);
    CHECK(counter(s.output(), "stretches compared") > (slow ? 40 * 4 : 40 * 64));  // the PIT's interrupts
}

TEST_CASE("KVM and the translator agree on interrupts by priority, and CR8 holds them back", "[kvm][I8]") {
    if (!have_kvm()) return;
    Session s(kernel("apic"));
    CHECK(s.wait_for("ok a higher class interrupts it"));
    CHECK(s.wait_for("ok a deadline in the past comes at once"));
    CHECK(s.output().find("FAIL") == std::string::npos);
    CHECK(s.output().find("internal error") == std::string::npos);
    INFO(s.output());
}
#endif

TEST_CASE("A directory that is no reproducer, or a damaged one, is one clear line", "[bad]") {
    struct Row {
        const char* text;
        const char* complaint;
    };
    const Row kRows[] = {
        {"", "it is not a JSON object"},
        {"[1, 2]", "it is not a JSON object"},
        {"{}", "field 'version' is missing"},
        {R"({"version": "x"})", "field 'version' is missing or not a number"},
        {R"({"version": 1, "cpu": "max"})", "field 'version' is 1: this program reads"},
        {R"({"version": VERSION})", "field 'case' is missing"},
        {R"({"version": VERSION, "case": 7})", "field 'case' is missing or not a group of fields"},
        {R"({"version": VERSION, "case": {"cpu": 3}})", "field 'cpu' is not a string"},
        {R"({"version": VERSION, "case": {"cpu": "max", "engines": ["a"]}})", "field 'engines' is not a list of 2 values"},
    };
    const std::filesystem::path path = directory();
    std::filesystem::create_directories(path);
    const auto replay = [&](const std::string& text) {
        std::ofstream(path / "case.json") << text;
        return run_program({tandem_program(), "replay", path.string()});
    };
    const std::string version = std::to_string(counter(replay(R"({"version": 1})").output, "this program reads "));
    for (const Row& row : kRows) {
        const std::string text = std::regex_replace(row.text, std::regex("VERSION"), version);
        const Finished f = replay(text);
        INFO(text << "\n" << f.output);
        CHECK(f.status == 1);
        CHECK(f.output.find((path / "case.json").string()) != std::string::npos);
        CHECK(f.output.find(row.complaint) != std::string::npos);
        CHECK(std::count(f.output.begin(), f.output.end(), '\n') == 1);
    }
    std::filesystem::remove_all(path);
}

TEST_CASE("Debian's kernel begins to boot with interpreter and compiler in lockstep") {
    Session s(boot("a=interp,b=baseline", "earlyprintk=serial,ttyS0"));
    INFO(s.output());
    REQUIRE(s.wait_for("Linux version", 120s));
    REQUIRE(s.wait_for("BIOS-provided physical RAM map"));
    s.type("\x01x");
    CHECK(s.wait_exit() == 0);
    CHECK(counter(s.output(), "instructions compared") > 10'000'000);
}

TEST_CASE("Debian's kernel boots to the shell with each two engines in lockstep") {
    const char* const engines = GENERATE("a=interp,b=llvm", "a=baseline,b=interp", "a=llvm,b=baseline");
    if (std::getenv("TANDEM_FULL") == nullptr) {
        std::printf("skipped: the whole boot under lockstep (%s) takes minutes: ./dev test --full\n", engines);
        return;
    }
    Session s(boot(engines, "quiet"));
    INFO(s.output());
    REQUIRE(s.wait_for("guest# ", 800s));
    s.type("echo $((6 * 7)) from $(uname -m)\n");
    CHECK(s.wait_for("42 from x86_64"));
    s.type("\x01x");
    CHECK(s.wait_exit() == 0);
}
