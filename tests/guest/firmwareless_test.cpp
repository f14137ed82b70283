// Kernels that are no bzImage, started the way conformance suites start theirs.
#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>

#include "tests/guest/session.h"

using namespace tandem::tests;

namespace {

std::string kernel(const std::string& name) { return std::string(TANDEM_KERNELS) + "/" + name; }

struct Modules {
    Modules() {
        std::ofstream(one) << "contents of one";
        std::ofstream(two) << "contents of two";
    }
    ~Modules() {
        std::filesystem::remove(one);
        std::filesystem::remove(two);
    }
    std::string one = (std::filesystem::temp_directory_path() / ("tandem-one-" + std::to_string(getpid()))).string();
    std::string two = (std::filesystem::temp_directory_path() / ("tandem-two-" + std::to_string(getpid()))).string();
};

bool has(const Finished& f, const std::string& text) { return f.output.find(text) != std::string::npos; }

Finished run_suite_style(const std::string& file, const std::vector<std::string>& more) {
    std::vector<std::string> argv{
        tandem_program(), "-nodefaults", "-device", "pc-testdev", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x4",
        "-vnc",           "none",        "-serial", "stdio",      "-device", "pci-testdev",
        "-machine",       "accel=tcg",   "-cpu",    "max",        "-kernel", file};
    argv.insert(argv.end(), more.begin(), more.end());
    return run_program(argv);
}

}  // namespace

TEST_CASE("multiboot kernels get command line, modules and memory map, and end the program with their status") {
    const Modules modules;
    const auto file = GENERATE(as<std::string>{}, "probe-elf32", "probe-elf64", "probe-kludge");
    const Finished f =
        run_suite_style(kernel(file), {"-smp", "2", "-append", "a b=c", "-initrd", modules.one + " x y," + modules.two});
    CAPTURE(file, f.output);
    CHECK(f.status == (21 << 1 | 1));
    CHECK(has(f, kernel(file) + " a b=c\n"));
    CHECK(has(f, "contents of one\n" + modules.one + " x y\n"));
    CHECK(has(f, "contents of two\n" + modules.two + "\n"));
    CHECK(has(f, "Tandem\n"));
    CHECK(has(f, "2 processors"));
}

TEST_CASE("PVH kernels get command line, modules, memory map and the ACPI root pointer") {
    const Modules modules;
    const Finished f = run_suite_style(kernel("probe-pvh"), {"-append", "a b=c", "-initrd", modules.one + " x y"});
    CAPTURE(f.output);
    CHECK(f.status == (21 << 1 | 1));
    CHECK(has(f, "a b=c\ncontents of one\nx y\nRSD PTR\n"));
}

TEST_CASE("boot files that cannot be used are one line and status 1") {
    const auto refused = [](const std::vector<std::string>& more, const std::string& says) {
        const Finished f = run_suite_style(kernel("probe-elf32"), more);
        CAPTURE(f.output);
        CHECK(f.status == 1);
        CHECK(has(f, says));
        CHECK(std::count(f.output.begin(), f.output.end(), '\n') == 1);
    };
    refused({"-initrd", "/nonexistent/module x"}, "/nonexistent/module");
    refused({"-initrd", ",x"}, "without a file");
}
