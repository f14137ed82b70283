#include "machines/virt/linux_image.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <memory>

#include "base/bits.h"
#include "machines/boot_file.h"

namespace tandem::machines::virt {
namespace {

// The header (booting.rst, "Call the kernel image")
constexpr std::size_t kHeaderSize = 64;
constexpr std::size_t kTextOffset = 8, kImageSize = 16, kFlags = 24, kMagic = 56;
constexpr u32 kMagicValue = 0x644d5241;
constexpr u64 kOldTextOffset = 0x80000;  // where image_size is zero (before 3.17)
constexpr u64 kAlignment = 0x200000;
constexpr u64 kFlatRoom = 128 << 20;
constexpr u64 kFlagBigEndian = 1;

bool is_gzip(std::span<const u8> bytes) { return bytes.size() > 18 && bytes[0] == 0x1f && bytes[1] == 0x8b; }

struct InflateEnd {
    void operator()(z_stream* z) const { inflateEnd(z); }
};

// All members of a gzip file, as far as `limit` bytes.
Result<std::vector<u8>> gunzip(std::span<const u8> in, const std::string& name, u64 limit) {
    z_stream stream{};
    constexpr int kGzipOnly = 15 + 16;
    if (inflateInit2(&stream, kGzipOnly) != Z_OK) return Error{Errc::Internal, "zlib does not start"};
    const std::unique_ptr<z_stream, InflateEnd> end(&stream);
    std::vector<u8> out;
    stream.next_in = const_cast<u8*>(in.data());
    stream.avail_in = static_cast<uInt>(in.size());
    constexpr std::size_t kChunk = 1 << 20;
    for (;;) {
        const std::size_t have = out.size();
        out.resize(have + kChunk);
        stream.next_out = out.data() + have;
        stream.avail_out = kChunk;
        const int status = inflate(&stream, Z_NO_FLUSH);
        out.resize(out.size() - stream.avail_out);
        if (out.size() > limit) {
            return invalid(fmt::format("kernel '{}' is larger than {} MiB of RAM can hold", name, limit >> 20));
        }
        if (status == Z_STREAM_END) return out;
        if (status != Z_OK || (stream.avail_in == 0 && stream.avail_out != 0)) {
            return invalid(fmt::format("kernel '{}' is a damaged or truncated gzip file", name));
        }
    }
}

// Programs without a header begin with an instruction and are linked for where kernels used to lie.
bool is_flat_program(std::span<const u8> file) {
    if (file.size() < kHeaderSize || foreign_format(file) != foreign_format({})) return false;
    const auto printable = [](u8 c) { return (c >= ' ' && c < 0x7f) || c == '\n' || c == '\r' || c == '\t'; };
    if (std::ranges::all_of(file.first(kHeaderSize), printable)) return false;
    // Bits 28:25 that are allocated outside SVE and SME (Arm ARM, C4.1)
    return bits(field<u32>(file, 0), 28, 25) > 3;
}

// What the file's PE header, which an Image with an EFI stub has, says of its size; 0 without one.
u64 size_by_sections(std::span<const u8> file) {
    constexpr std::size_t kPeOffset = 60, kSections = 6, kOptionalSize = 20, kPeHeader = 24, kSection = 40, kRawSize = 16;
    if (file[0] != 'M' || file[1] != 'Z') return 0;
    const u64 pe = field<u32>(file, kPeOffset);
    if (pe + kPeHeader > file.size() || field<u32>(file, pe) != 0x4550) return 0;
    const u64 first = pe + kPeHeader + field<u16>(file, pe + kOptionalSize);
    u64 end = 0;
    for (unsigned i = 0; i < field<u16>(file, pe + kSections); ++i) {
        const u64 at = first + i * kSection;
        if (at + kSection > file.size()) return 0;
        end = std::max(end, u64{field<u32>(file, at + kRawSize)} + field<u32>(file, at + kRawSize + 4));
    }
    return end;
}

bool is_bzimage(std::span<const u8> file) {
    return file.size() > 0x206 && field<u32>(file, 0x202) == 0x53726448;  // "HdrS"
}

}  // namespace

Result<LinuxImage> LinuxImage::load(const BootSources& sources, u64 ram_base, u64 ram_bytes) {
    TANDEM_TRY_ASSIGN(auto file, read_file("kernel", sources.kernel, ram_bytes));
    TANDEM_TRY_ASSIGN(auto image, parse(std::move(file), sources.kernel, ram_base, ram_bytes));
    if (!sources.initrd.empty()) {
        TANDEM_TRY_ASSIGN(auto initrd, read_initrd(sources.initrd, ram_bytes));
        TANDEM_TRY(image.add_initrd(std::move(initrd), sources.initrd));
    }
    return image;
}

Result<LinuxImage> LinuxImage::parse(std::vector<u8> file, const std::string& name, u64 ram_base, u64 ram_bytes) {
    if (is_gzip(file)) {
        TANDEM_TRY_ASSIGN(file, gunzip(file, name, ram_bytes));
    }
    if (is_bzimage(file)) {
        return invalid(fmt::format("kernel '{}' is a bzImage for x86; machine 'virt' has arm64 processors", name));
    }
    const bool flat = is_flat_program(file);
    if (!flat && (file.size() < kHeaderSize || field<u32>(file, kMagic) != kMagicValue)) {
        return invalid(fmt::format("kernel '{}' is not an arm64 Image: it is {}", name, foreign_format(file)));
    }
    if (!flat && (field<u64>(file, kFlags) & kFlagBigEndian) != 0) {
        return Error{Errc::Unsupported, fmt::format("kernel '{}' is big endian", name)};
    }
    if (const u64 whole = flat ? 0 : size_by_sections(file); whole > file.size()) {
        return invalid(fmt::format("kernel '{}' is truncated: {} of {} bytes", name, file.size(), whole));
    }
    const u64 declared = flat ? 0 : field<u64>(file, kImageSize);
    const u64 offset = declared == 0 ? kOldTextOffset : field<u64>(file, kTextOffset);
    // Nobody says what memory a flat program takes behind itself.
    const u64 least = flat ? std::min(ram_bytes / 2, kFlatRoom) - offset : 0;
    const u64 size = std::max<u64>({declared, file.size(), least});
    if (offset >= kAlignment || size > ram_bytes) {
        return invalid(
            fmt::format("kernel '{}' wants {} bytes of memory at offset {:#x}: its header is damaged, or -m is "
                        "too small",
                        name, size, offset));
    }
    LinuxImage image;
    image.ram_end_ = ram_base + ram_bytes;
    image.load_address_ = ram_base + offset;
    image.device_tree_ = align_up(image.load_address_ + size, kAlignment);
    image.initrd_start_ = image.device_tree_ + kDeviceTreeMax;
    if (image.initrd_start_ > image.ram_end_) {
        return invalid(fmt::format("kernel '{}' needs {} MiB of RAM (-m gives {})", name,
                                   (image.initrd_start_ - ram_base) >> 20, ram_bytes >> 20));
    }
    image.kernel_ = std::move(file);
    return image;
}

Result<void> LinuxImage::add_initrd(std::vector<u8> bytes, const std::string& name) {
    if (bytes.size() > ram_end_ - initrd_start_) {
        return invalid(fmt::format("initrd '{}' of {} bytes does not fit into RAM behind the kernel", name, bytes.size()));
    }
    initrd_ = std::move(bytes);
    return {};
}

Result<void> LinuxImage::place(devices::GuestMemory& memory) const {
    if (!memory.write(load_address_, kernel_.data(), kernel_.size()) ||
        !memory.write(initrd_start_, initrd_.data(), initrd_.size())) {
        return Error{Errc::Internal, "the kernel does not lie in RAM"};
    }
    return {};
}

}  // namespace tandem::machines::virt
