// What -d, -dfilter and -D show of a small kernel whose addresses are known (kernels/mini.asm).
#include <catch2/catch.hpp>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/guest/session.h"

using namespace tandem::tests;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// The log of a run of the kernel; the run must end with `status`.
std::string logged(const std::string& command, const std::string& categories, int status,
                   const std::vector<std::string>& more = {}) {
    const auto path = std::filesystem::temp_directory_path() / ("tandem-observe-" + std::to_string(getpid()));
    std::vector<std::string> argv{
        tandem_program(), "-nographic", "-m",       "16", "-no-reboot",  "-kernel", TANDEM_KERNELS "/mini",      "-append",
        command,          "-d",         categories, "-D", path.string(), "-device", "isa-debug-exit,iobase=0xf4"};
    argv.insert(argv.end(), more.begin(), more.end());
    const Finished f = run_program(argv);
    INFO(f.output);
    CHECK(f.status == status);
    CHECK(!contains(f.output, "0x100000"));  // all of it went to the file
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    std::filesystem::remove(path);
    return text.str();
}

constexpr int kDebugExit = 43, kTripleFault = 3;

}  // namespace

TEST_CASE("-d in_asm lists guest code by address") {
    const std::string log = logged("d", "in_asm", kDebugExit);
    CHECK(contains(log, "\n0x100000:  mov eax, 1\n"));
    CHECK(contains(log, "\n0x100005:  mov esp, 0x9000\n"));
    CHECK(contains(log, "cmp ax, 0x10\n"));
    CHECK(!contains(log, "insn 0x"));
}

TEST_CASE("-d ir and ir_opt show the IR before and after the passes") {
    const std::string before = logged("d", "ir", kDebugExit, {"-accel", "jit,tier=baseline"});
    CHECK(contains(before, "block 0x100000 base 0x0 mode"));
    CHECK(contains(before, "insn 0x100005 length 5"));
    CHECK(contains(before, "set rsp, %"));
    CHECK(!contains(before, "mov esp"));
    const std::string after = logged("d", "ir_opt", kDebugExit, {"-accel", "jit,tier=baseline"});
    CHECK(contains(after, "block 0x100000 base 0x0 mode"));
    CHECK(contains(after, "set rsp, %"));
    // Flags that nobody reads are gone.
    CHECK(after.size() < before.size());
}

TEST_CASE("-d out_asm lists host code of each block") {
    const std::string log = logged("d", "out_asm", kDebugExit, {"-accel", "jit,tier=baseline"});
    const auto at = log.find("OUT: pc 0x100000 mode ");
    REQUIRE(at != std::string::npos);
    const std::string block = log.substr(at, log.find("OUT:", at + 1) - at);
    CHECK(contains(block, " bytes\n  0x"));
    CHECK(contains(block, "0x9000"));
    CHECK(contains(block, "jmp"));
    CHECK(!contains(block, "(bad)"));
}

TEST_CASE("-d llvm shows the LLVM IR of a hot loop") {
    const std::string log = logged("l", "llvm", kDebugExit, {"-accel", "jit,tier=llvm,llvm-threshold=100"});
    CHECK(contains(log, "LLVM: region at 0x100"));
    CHECK(contains(log, "define i32 @region1(ptr"));
    CHECK(contains(log, "ret i32"));
}

TEST_CASE("-d int shows exceptions with their place, and what they end in") {
    const std::string log = logged("t", "int", kTripleFault);
    CHECK(contains(log, "vector 0x03"));
    CHECK(contains(log, " at 0010:0x100"));
    CHECK(contains(log, "int: triple fault at 0010:0x100"));
}

TEST_CASE("-d mmu shows flushes and page faults") {
    const std::string log = logged("m", "mmu", kTripleFault);
    CHECK(contains(log, "mmu: page fault at 0xdead000, error 0x0"));
    CHECK(contains(log, "cr3 0x8000"));
    CHECK(contains(log, "mmu: invlpg 0x7000"));
    CHECK(contains(log, "TLB flush"));
}

TEST_CASE("-dfilter limits listings to blocks that overlap the range") {
    const std::vector<std::string> filter{"-dfilter", "0x100000..0x100003"};
    for (const std::string category : {"in_asm", "ir", "ir_opt", "out_asm"}) {
        std::vector<std::string> more = filter;
        more.insert(more.end(), {"-accel", "jit,tier=baseline"});
        const std::string all = logged("d", category, kDebugExit, {"-accel", "jit,tier=baseline"});
        const std::string some = logged("d", category, kDebugExit, more);
        CAPTURE(category, some);
        CHECK(contains(some, "0x100000"));
        CHECK(some.size() < all.size() / 4);
    }
    CHECK(!contains(logged("d", "in_asm", kDebugExit, filter), "out dx, al"));
    CHECK(!contains(
        logged("l", "llvm", kDebugExit, {"-accel", "jit,tier=llvm,llvm-threshold=100", "-dfilter", "0x100000..0x100003"}),
        "define"));
}
