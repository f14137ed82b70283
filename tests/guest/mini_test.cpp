// A small kernel of our own (kernels/mini.asm) that enters by bzImage's 32-bit entry: how runs end, and the serial port.
#include <catch2/catch.hpp>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

std::vector<std::string> mini(const std::string& command, const std::vector<std::string>& more = {}) {
    std::vector<std::string> argv{tandem_program(), "-nographic",           "-m",      "16",
                                  "-kernel",        TANDEM_KERNELS "/mini", "-append", command};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
}

const std::string kEntered = "mini: entered in 32-bit code";

}  // namespace

TEST_CASE("a kernel without a 64-bit entry is entered in 32-bit protected mode and powers off") {
    const std::string tier = GENERATE(as<std::string>{}, "tier=interp", "tier=baseline", "tier=auto");
    const Finished f = run_program(mini("p", {"-accel", "jit," + tier}));
    INFO(tier << "\n" << f.output);
    CHECK(f.status == 0);
    CHECK(f.output.find(kEntered) != std::string::npos);
}

TEST_CASE("isa-debug-exit ends the program with the guest's status") {
    const Finished f = run_program(mini("d", {"-device", "isa-debug-exit,iobase=0xf4"}));
    INFO(f.output);
    CHECK(f.status == (0x15 << 1 | 1));
    CHECK(f.output.find("error") == std::string::npos);
}

TEST_CASE("a triple fault with -no-reboot ends with status 3 and says where") {
    const Finished f = run_program(mini("t", {"-no-reboot"}));
    INFO(f.output);
    CHECK(f.status == 3);
    CHECK(f.output.find("triple fault") != std::string::npos);
    CHECK(f.output.find("vCPU 0") != std::string::npos);
    CHECK(f.output.find("0x100") != std::string::npos);
}

TEST_CASE("a guest that triple faults again and again says so, at a bounded rate, and can be ended") {
    Session s(mini("t"));
    for (int round = 0; round < 3; ++round) {
        REQUIRE(s.wait_for("triple fault"));
        REQUIRE(s.wait_for("resetting the machine"));
    }
    std::this_thread::sleep_for(1s);
    s.signal(SIGTERM);
    CHECK(s.wait_exit() == 143);
    const std::string& out = s.output();
    std::size_t lines = 0;
    for (auto at = out.find("resetting"); at != std::string::npos; at = out.find("resetting", at + 1)) ++lines;
    CHECK(lines <= 30);
}

TEST_CASE("serial input that arrives before the guest looks at the port is not lost") {
    const std::string command = GENERATE("e", "r");  // a driver that initialises the port; one that only polls
    CAPTURE(command);
    Session s(mini(command));
    s.type("early bird\r");
    CHECK(s.wait_for("early bird|"));
    CHECK(s.wait_exit() == 0);
}

// Standard input ends at once, is closed, or all three descriptors are: the machine runs, and nothing that it opens takes
// the place of a closed descriptor.
TEST_CASE("the program runs with standard descriptors closed") {
    const int closed = GENERATE(1, 3);
    CAPTURE(closed);
    std::string output = "/tmp/tandem-mini-XXXXXX";
    const int file = mkstemp(output.data());
    REQUIRE(file >= 0);
    close(file);
    auto argv = mini("d", {"-device", "isa-debug-exit,iobase=0xf4", "-serial", "file:" + output});
    const int pid = fork();
    if (pid == 0) {
        for (int fd = 0; fd < closed; ++fd) close(fd);
        std::vector<char*> pointers;
        for (auto& a : argv) pointers.push_back(a.data());
        pointers.push_back(nullptr);
        execv(pointers[0], pointers.data());
        _exit(127);
    }
    int status = 0;
    REQUIRE(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 43);
    const Finished written = run_program({"/bin/cat", output});
    unlink(output.c_str());
    CHECK(written.output == kEntered + "\r\n");
}

TEST_CASE("a console whose input has ended goes on printing") {
    const Finished f = run_program(mini("p"));  // standard input is /dev/null
    CHECK(f.status == 0);
    CHECK(f.output.find(kEntered) != std::string::npos);
}
