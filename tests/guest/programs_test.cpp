// Programs that run on the host and in a guest, and must print the same.
#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

// One member of a cpio archive in the format that the kernel unpacks (its Documentation, "initramfs buffer format").
std::string cpio_member(const std::string& name, unsigned mode, const std::string& content) {
    char header[111];
    std::snprintf(header, sizeof header, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", 0u, mode, 0u, 0u,
                  1u, 0u, content.size(), 0u, 0u, 0u, 0u, name.size() + 1, 0u);
    std::string member = header + name + '\0';
    member.resize((member.size() + 3) & ~std::size_t{3});
    member += content;
    member.resize((member.size() + 3) & ~std::size_t{3});
    return member;
}

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    REQUIRE(file);
    return {std::istreambuf_iterator<char>(file), {}};
}

// The test guests' initramfs with one more program in /bin; removed at the end.
class InitramfsWith {
public:
    explicit InitramfsWith(const std::string& program) {
        std::string name = (std::filesystem::temp_directory_path() / "tandem-initramfs-XXXXXX").string();
        const int fd = mkstemp(name.data());
        REQUIRE(fd >= 0);
        close(fd);
        path_ = name;
        std::string archive = read_file(image("initramfs"));
        archive.resize((archive.size() + 3) & ~std::size_t{3});
        archive +=
            cpio_member("bin/" + std::filesystem::path(program).filename().string(), S_IFREG | 0755, read_file(program));
        archive += cpio_member("TRAILER!!!", 0, "");
        std::ofstream(path_, std::ios::binary) << archive;
    }
    ~InitramfsWith() { std::filesystem::remove(path_); }
    InitramfsWith(const InitramfsWith&) = delete;
    InitramfsWith& operator=(const InitramfsWith&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
};

}  // namespace

TEST_CASE("vectorised loops compute in an x86-64-v3 guest what they compute on the host") {
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        WARN("skipped: the host has no AVX2 and FMA");
        return;
    }
    const std::string program = std::string(TANDEM_PROGRAMS) + "/vectors";
    const Finished host = run_program({program});
    REQUIRE(host.status == 0);
    const InitramfsWith initramfs(program);
    const std::string tier = GENERATE(as<std::string>{}, "tier=baseline", "tier=auto", "tier=auto,llvm-threshold=50");
    CAPTURE(tier);
    const Finished guest = run_program(
        {tandem_program(), "-nographic", "-m", "256", "-cpu", "x86-64-v3", "-accel", "jit," + tier, "-kernel",
         image("vmlinuz"), "-initrd", initramfs.path(), "-append", "console=ttyS0 quiet tandem.run=/bin/vectors"},
        120s);
    INFO(guest.output);
    CHECK(guest.status == 0);
    std::istringstream lines(host.output);
    for (std::string line; std::getline(lines, line);) CHECK(guest.output.find(line) != std::string::npos);
    CHECK(guest.output.find("vectors done") != std::string::npos);
}
