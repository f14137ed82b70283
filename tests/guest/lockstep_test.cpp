// Debian's kernel on two engines in lockstep.
#include <catch2/catch.hpp>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

std::vector<std::string> boot(const std::string& engines, const std::string& append) {
    const std::string directory = (std::filesystem::temp_directory_path() / "tandem-lockstep-boot").string();
    return {tandem_program(),
            "-accel",
            "lockstep,stats=on,dir=" + directory + "," + engines,
            "-nographic",
            "-m",
            "128",
            "-kernel",
            image("vmlinuz"),
            "-initrd",
            image("initramfs"),
            "-append",
            "console=ttyS0 " + append};
}

// A counter of stats=on.
unsigned long long counter(const std::string& output, const std::string& name) {
    const auto at = output.rfind(name);
    REQUIRE(at != std::string::npos);
    return std::strtoull(output.c_str() + at + name.size(), nullptr, 10);
}

}  // namespace

TEST_CASE("Debian's kernel begins to boot with interpreter and compiler in lockstep") {
    Session s(boot("a=interp,b=baseline", "earlyprintk=serial,ttyS0"));
    INFO(s.output());
    REQUIRE(s.wait_for("Linux version", 120s));
    REQUIRE(s.wait_for("BIOS-provided physical RAM map", 60s));
    s.type("\x01x");
    CHECK(s.wait_exit() == 0);
    CHECK(counter(s.output(), "instructions compared") > 10'000'000);
}

TEST_CASE("Debian's kernel boots to the shell with interpreter and LLVM in lockstep") {
    if (std::getenv("TANDEM_FULL") == nullptr) {
        std::printf("skipped: the whole boot under lockstep takes seven minutes: ./dev test --full\n");
        return;
    }
    Session s(boot("a=interp,b=llvm", "quiet"));
    INFO(s.output());
    REQUIRE(s.wait_for("guest# ", 800s));
    s.type("echo $((6 * 7)) from $(uname -m)\n");
    CHECK(s.wait_for("42 from x86_64", 60s));
    s.type("\x01x");
    CHECK(s.wait_exit() == 0);
}
