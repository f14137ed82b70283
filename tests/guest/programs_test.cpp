// Programs that run on the host and in a guest, and must print the same; and programs that only a guest's processor can show
// to be right.
#include <catch2/catch.hpp>

#include <sstream>

#include "tests/guest/initramfs.h"
#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

// Boots Debian's kernel for one command; `more` are options of the program under test.
Finished run_in_guest(const std::string& initramfs, const std::string& command, const std::vector<std::string>& more,
                      std::chrono::seconds limit) {
    std::vector<std::string> argv{
        tandem_program(), "-nographic", "-m",      "256",     "-kernel",
        image("vmlinuz"), "-initrd",    initramfs, "-append", "console=ttyS0 quiet tandem.run=" + command};
    argv.insert(argv.end(), more.begin(), more.end());
    return run_program(argv, limit);
}

}  // namespace

TEST_CASE("vectorised loops compute in an x86-64-v3 guest what they compute on the host") {
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        WARN("skipped: the host has no AVX2 and FMA");
        return;
    }
    const std::string program = guest_program("vectors");
    const Finished host = run_program({program});
    REQUIRE(host.status == 0);
    const InitramfsWith initramfs({program});
    const std::string tier = GENERATE(as<std::string>{}, "tier=baseline", "tier=auto", "tier=auto,llvm-threshold=50");
    CAPTURE(tier);
    const Finished guest =
        run_in_guest(initramfs.path(), "/bin/vectors", {"-cpu", "x86-64-v3", "-accel", "jit," + tier}, 120s);
    INFO(guest.output);
    CHECK(guest.status == 0);
    std::istringstream lines(host.output);
    for (std::string line; std::getline(lines, line);) CHECK(guest.output.find(line) != std::string::npos);
    CHECK(guest.output.find("vectors done") != std::string::npos);
}

TEST_CASE("threads on several processors rewrite functions that others call") {
    const InitramfsWith initramfs({guest_program("rewrite")});
    struct Case {
        const char *accel, *processors, *command;
    };
    const Case c =
        GENERATE(Case{"jit,tier=baseline", "2", "/bin/rewrite:1:50"}, Case{"jit,tier=llvm", "2", "/bin/rewrite:2:20"},
                 Case{"jit,tier=auto,llvm-threshold=50", "4", "/bin/rewrite:3:25"});
    CAPTURE(c.accel, c.processors);
    const Finished guest = run_in_guest(initramfs.path(), c.command, {"-smp", c.processors, "-accel", c.accel}, 180s);
    INFO(guest.output);
    CHECK(guest.status == 0);
    CHECK(guest.output.find("rewrite: constant done") != std::string::npos);
    CHECK(guest.output.find("rewrite: 0 failures") != std::string::npos);
}

TEST_CASE("protection keys, UMIP and five-level paging, as programs of Debian see them") {
    const InitramfsWith initramfs({guest_program("protection")});
    const bool five_levels = GENERATE(true, false);
    CAPTURE(five_levels);
    const std::string cpu = five_levels ? "max" : "max,-la57";
    const Finished guest = run_in_guest(initramfs.path(), "/bin/protection", {"-cpu", cpu, "-smp", "2"}, 120s);
    INFO(guest.output);
    CHECK(guest.status == 0);
    for (const char* flag : {"umip", "pku", "ospke"}) {
        CHECK(guest.output.find(std::string("protection: flag ") + flag) != std::string::npos);
    }
    CHECK((guest.output.find("protection: flag la57") != std::string::npos) == five_levels);
    CHECK(guest.output.find("protection: keys done") != std::string::npos);
    CHECK(guest.output.find("sgdt base 0xfffffffffffe0000") != std::string::npos);
    CHECK(guest.output.find(five_levels ? "above 47 bits done" : "addresses of 47 bits") != std::string::npos);
    CHECK(guest.output.find("protection: 0 failures") != std::string::npos);
}

TEST_CASE("twelve processors in sockets, cores and threads come up and work together") {
    const InitramfsWith initramfs({guest_program("rewrite")});
    const Finished guest =
        run_program({tandem_program(), "-nographic", "-m", "512", "-smp", "12,sockets=2,threads=2", "-kernel",
                     image("vmlinuz"), "-initrd", initramfs.path(), "-append", "console=ttyS0 tandem.run=/bin/rewrite:11:5"},
                    180s);
    INFO(guest.output);
    CHECK(guest.status == 0);
    CHECK(guest.output.find("smp: Brought up 1 node, 12 CPUs") != std::string::npos);
    CHECK(guest.output.find("rewrite: 0 failures") != std::string::npos);
    for (const char* trouble : {"stall", "lockup", "Call Trace"}) CHECK(guest.output.find(trouble) == std::string::npos);
}
