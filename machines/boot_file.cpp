#include "machines/boot_file.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "base/bits.h"

namespace tandem::machines {
namespace {

struct FileCloser {
    void operator()(std::FILE* f) const { std::fclose(f); }
};

}  // namespace

Result<std::vector<u8>> read_file(std::string_view what, const std::string& path, u64 limit) {
    std::unique_ptr<std::FILE, FileCloser> f(std::fopen(path.c_str(), "rbe"));
    if (!f) return io_error(fmt::format("cannot open {} '{}'", what, path));
    std::vector<u8> bytes;
    // Room at once where the size is known: a vector that grows copies a kernel several times before its first instruction.
    struct stat status{};
    if (::fstat(::fileno(f.get()), &status) == 0 && S_ISREG(status.st_mode)) {
        bytes.reserve(std::min<u64>(static_cast<u64>(status.st_size), limit));
    }
    std::array<u8, 65536> chunk;
    while (const std::size_t n = std::fread(chunk.data(), 1, chunk.size(), f.get())) {
        bytes.insert(bytes.end(), chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(n));
        if (bytes.size() > limit)
            return invalid(fmt::format("{} '{}' is larger than {} MiB of RAM can hold", what, path, limit >> 20));
    }
    if (std::ferror(f.get()) != 0) return io_error(fmt::format("cannot read {} '{}'", what, path));
    return bytes;
}

std::vector<std::string> split_list(std::string_view list) {
    std::vector<std::string> parts(1);
    for (std::size_t i = 0; i < list.size(); ++i) {
        const bool comma = list[i] == ',';
        if (comma && (i + 1 == list.size() || list[i + 1] != ',')) {
            parts.emplace_back();
            continue;
        }
        parts.back() += list[i];
        if (comma) ++i;
    }
    return parts;
}

Result<std::vector<u8>> read_initrd(const std::string& list, u64 limit) {
    std::error_code ignored;
    if (std::filesystem::exists(list, ignored)) return read_file("initrd", list, limit);
    std::vector<u8> all;
    for (const auto& path : split_list(list)) {
        if (path.empty()) return invalid(fmt::format("-initrd '{}': a list with an empty name", list));
        all.resize(align_up(all.size(), 4));
        TANDEM_TRY_ASSIGN(const auto bytes, read_file("initrd", path, limit - std::min<u64>(limit, all.size())));
        all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
}

std::string_view foreign_format(std::span<const u8> bytes) {
    struct Magic {
        std::size_t offset;
        std::string_view bytes;
        std::string_view what;
    };
    static constexpr std::array<Magic, 7> kMagics{{
        {0,
         "\x7f"
         "ELF",
         "an ELF file (vmlinux?)"},
        {56, "ARM\x64", "an arm64 Image"},
        {0, "\x1f\x8b", "a gzip file"},
        {0,
         "\xfd"
         "7zXZ",
         "an xz file"},
        {0, "\x28\xb5\x2f\xfd", "a zstd file"},
        {0, "070701", "a cpio archive (initrd?)"},
        {0, "MZ", "a PE executable"},
    }};
    for (const auto& m : kMagics) {
        if (bytes.size() >= m.offset + m.bytes.size() &&
            std::memcmp(bytes.data() + m.offset, m.bytes.data(), m.bytes.size()) == 0) {
            return m.what;
        }
    }
    return "no known kernel format";
}

}  // namespace tandem::machines
