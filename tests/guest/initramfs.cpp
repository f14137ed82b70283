#include "tests/guest/initramfs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/guest/session.h"

namespace tandem::tests {
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

}  // namespace

InitramfsWith::InitramfsWith(const std::vector<std::string>& programs) {
    std::string name = (std::filesystem::temp_directory_path() / "tandem-initramfs-XXXXXX").string();
    const int fd = mkstemp(name.data());
    REQUIRE(fd >= 0);
    close(fd);
    path_ = name;
    std::string archive = read_file(image("initramfs"));
    archive.resize((archive.size() + 3) & ~std::size_t{3});
    for (const auto& program : programs) {
        archive +=
            cpio_member("bin/" + std::filesystem::path(program).filename().string(), S_IFREG | 0755, read_file(program));
    }
    archive += cpio_member("TRAILER!!!", 0, "");
    std::ofstream(path_, std::ios::binary) << archive;
}

InitramfsWith::~InitramfsWith() { std::filesystem::remove(path_); }

std::string guest_program(const std::string& name) { return std::string(TANDEM_PROGRAMS) + "/" + name; }

}  // namespace tandem::tests
