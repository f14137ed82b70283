#include "machines/pc/linux_boot.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bits.h"
#include "machines/boot_file.h"
#include "machines/pc/layout.h"

namespace tandem::machines::pc {
namespace {

// The setup header in the file, and at the same offsets in boot_params (boot.rst, "The Real-Mode Kernel Header").
namespace hdr {
constexpr std::size_t kStart = 0x1f1, kSetupSects = 0x1f1, kSyssize = 0x1f4, kVidMode = 0x1fa, kBootFlag = 0x1fe,
                      kJump = 0x201;
constexpr std::size_t kMagic = 0x202, kVersion = 0x206, kTypeOfLoader = 0x210, kLoadflags = 0x211, kCode32Start = 0x214;
constexpr std::size_t kRamdiskImage = 0x218, kRamdiskSize = 0x21c, kCmdLinePtr = 0x228, kInitrdAddrMax = 0x22c;
constexpr std::size_t kXloadflags = 0x236, kCmdlineSize = 0x238;
constexpr std::size_t kPrefAddress = 0x258, kInitSize = 0x260, kEnd = 0x268;
constexpr u32 kHdrS = 0x53726448;
constexpr u16 kMinVersion = 0x0206;       // first with cmdline_size
constexpr u16 kInitSizeVersion = 0x020a;  // first with pref_address and init_size
constexpr u16 kXloadVersion = 0x020c;
constexpr u16 kXlfKernel64 = 1;
constexpr u8 kLoadedHigh = 1, kCanUseHeap = 0x80;
}  // namespace hdr
// boot_params outside the header (Documentation/arch/x86/zero-page.rst).
namespace zero_page {
constexpr std::size_t kSize = 4096, kAcpiRsdp = 0x070, kE820Entries = 0x1e8, kE820Table = 0x2d0, kE820Max = 128;
}
constexpr u64 kEntry64Offset = 0x200;
constexpr u64 kDefaultLoad = 0x100000;

}  // namespace

bool LinuxImage::recognises(std::span<const u8> file) {
    return file.size() >= hdr::kEnd && field<u16>(file, hdr::kBootFlag) == 0xaa55 &&
           field<u32>(file, hdr::kMagic) == hdr::kHdrS;
}

std::size_t LinuxImage::setup_bytes(std::span<const u8> file) {
    const u8 sectors = file[hdr::kSetupSects];
    return ((sectors == 0 ? 4u : sectors) + 1u) * 512u;
}

Result<LinuxImage> LinuxImage::load(const Sources& sources, u64 ram_bytes) {
    TANDEM_TRY_ASSIGN(auto file, read_file("kernel", sources.kernel, low_ram(ram_bytes)));
    return create(std::move(file), sources, ram_bytes);
}

Result<LinuxImage> LinuxImage::create(std::vector<u8> file, const Sources& sources, u64 ram_bytes) {
    LinuxImage linux;
    linux.ram_bytes_ = ram_bytes;
    linux.command_line_ = sources.append;
    linux.image_ = std::move(file);
    TANDEM_TRY(linux.check_header(sources.kernel));
    if (!sources.initrd.empty()) {
        TANDEM_TRY_ASSIGN(linux.initrd_, read_initrd(sources.initrd, low_ram(ram_bytes)));
    }
    TANDEM_TRY(linux.choose_addresses(sources, ram_bytes));
    return linux;
}

Result<void> LinuxImage::check_header(const std::string& path) {
    const std::span<const u8> file = image_;
    if (!recognises(file)) return invalid(fmt::format("kernel '{}' is not a bzImage: it is {}", path, foreign_format(file)));
    const u16 version = field<u16>(file, hdr::kVersion);
    if (version < hdr::kMinVersion || (file[hdr::kLoadflags] & hdr::kLoadedHigh) == 0) {
        return Error{Errc::Unsupported,
                     fmt::format("kernel '{}' has boot protocol {}.{:02}; 2.06 with a high-loaded kernel is the oldest "
                                 "supported",
                                 path, version >> 8, version & 0xff)};
    }
    kernel_offset_ = setup_bytes(file);
    const u64 stated = u64{field<u32>(file, hdr::kSyssize)} * 16;
    // syssize counts paragraphs, rounded up.
    if (file.size() <= kernel_offset_ || file.size() - kernel_offset_ + 15 < stated) {
        return Error{Errc::Corrupt,
                     fmt::format("kernel '{}' is truncated: {} bytes of {}", path, file.size(), kernel_offset_ + stated)};
    }
    entry64_ = version >= hdr::kXloadVersion && (field<u16>(file, hdr::kXloadflags) & hdr::kXlfKernel64) != 0;
    const u32 limit = std::min<u32>(field<u32>(file, hdr::kCmdlineSize), layout::kCommandLineMax - 1);
    if (command_line_.size() > limit) {
        return invalid(
            fmt::format("-append has {} characters, kernel '{}' takes at most {}", command_line_.size(), path, limit));
    }
    return {};
}

Result<void> LinuxImage::choose_addresses(const Sources& sources, u64 ram_bytes) {
    const std::span<const u8> file = image_;
    const u64 top = low_ram(ram_bytes);
    const bool sized = field<u16>(file, hdr::kVersion) >= hdr::kInitSizeVersion;
    const u64 room = sized ? field<u32>(file, hdr::kInitSize) : 4 * (file.size() - kernel_offset_);
    // At its preferred address the kernel need not move itself before it unpacks.
    kernel_address_ = sized ? field<u64>(file, hdr::kPrefAddress) : kDefaultLoad;
    if (kernel_address_ < kDefaultLoad || kernel_address_ > top || room > top - kernel_address_) {
        return invalid(fmt::format("-m {}: too little RAM for kernel '{}', which needs {} MiB", ram_bytes >> 20,
                                   sources.kernel, (kernel_address_ + room + layout::kMiB - 1) >> 20));
    }
    if (initrd_.empty()) return {};
    const u64 end = std::min(top, u64{field<u32>(file, hdr::kInitrdAddrMax)} + 1);
    const u64 floor = kernel_address_ + room;
    if (initrd_.size() > end || align_down(end - initrd_.size(), 4096) < floor) {
        return invalid(fmt::format("initrd '{}' of {} bytes does not fit below {:#x} beside the kernel (raise -m {})",
                                   sources.initrd, initrd_.size(), end, ram_bytes >> 20));
    }
    initrd_address_ = align_down(end - initrd_.size(), 4096);
    return {};
}

std::vector<u8> LinuxImage::boot_params(u64 rsdp) const {
    std::vector<u8> page(zero_page::kSize);
    const std::span<u8> p = page;
    // The header ends where the jump at 0x200 says (boot.rst, "64-bit Boot Protocol").
    const std::size_t end = std::min<std::size_t>(hdr::kMagic + image_[hdr::kJump], 0x290);
    std::copy(image_.begin() + hdr::kStart, image_.begin() + static_cast<std::ptrdiff_t>(end), page.begin() + hdr::kStart);
    set_field<u16>(p, hdr::kVidMode, 0xffff);
    set_field<u8>(p, hdr::kTypeOfLoader, 0xff);
    set_field<u8>(p, hdr::kLoadflags, static_cast<u8>(p[hdr::kLoadflags] & ~hdr::kCanUseHeap));
    set_field<u32>(p, hdr::kCode32Start, static_cast<u32>(kernel_address_));
    set_field<u32>(p, hdr::kRamdiskImage, static_cast<u32>(initrd_address_));
    set_field<u32>(p, hdr::kRamdiskSize, static_cast<u32>(initrd_.size()));
    set_field<u32>(p, hdr::kCmdLinePtr, static_cast<u32>(layout::kCommandLine));
    set_field<u64>(p, zero_page::kAcpiRsdp, rsdp);
    const auto map = memory_map(ram_bytes_);
    set_field<u8>(p, zero_page::kE820Entries, static_cast<u8>(map.size()));
    for (std::size_t i = 0; i < map.size() && i < zero_page::kE820Max; ++i) {
        const std::size_t at = zero_page::kE820Table + 20 * i;
        set_field<u64>(p, at, map[i].base);
        set_field<u64>(p, at + 8, map[i].size);
        set_field<u32>(p, at + 16, map[i].type);
    }
    return page;
}

namespace {

// The first 4 GiB, one to one, in 2 MiB pages.
std::vector<u64> identity_map(u64 at) {
    constexpr u64 kPresentWritable = 3, kLarge = 0x80;
    std::vector<u64> tables(6 * 512);
    tables[0] = (at + 0x1000) | kPresentWritable;
    for (u64 i = 0; i < 4; ++i) tables[512 + i] = (at + 0x2000 + i * 0x1000) | kPresentWritable;
    for (u64 i = 0; i < 4 * 512; ++i) tables[1024 + i] = i << 21 | kPresentWritable | kLarge;
    return tables;
}

}  // namespace

Result<void> LinuxImage::place(devices::GuestMemory& memory, u64 rsdp) const {
    bool good = true;
    const auto put = [&](u64 address, const void* bytes, u64 size) { good = good && memory.write(address, bytes, size); };
    put(kernel_address_, image_.data() + kernel_offset_, image_.size() - kernel_offset_);
    if (!initrd_.empty()) put(initrd_address_, initrd_.data(), initrd_.size());
    put(layout::kCommandLine, command_line_.c_str(), command_line_.size() + 1);
    const auto params = boot_params(rsdp);
    put(layout::kBootParams, params.data(), params.size());
    const auto gdt = flat_gdt(entry64_);
    put(layout::kBootGdt, gdt.data(), sizeof(gdt));
    const auto tables = identity_map(layout::kBootPageTables);
    put(layout::kBootPageTables, tables.data(), tables.size() * sizeof(u64));
    if (!good) return Error{Errc::Internal, "the kernel's parts do not lie in RAM"};
    return {};
}

void LinuxImage::set_entry_state(cpu::x86::State& s) const {
    using namespace cpu::x86;
    constexpr u64 kPg = u64{1} << 31, kPae = 1u << 5;
    constexpr u64 kEferLme = 1u << 8, kEferLma = 1u << 10;
    constexpr u16 kCode64 = 0xa09b;
    set_flat_protected_mode(s, static_cast<u32>(kernel_address_), layout::kBootGdt);
    s.gpr[RSI] = layout::kBootParams;
    if (!entry64_) return;
    s.seg[CS].access = kCode64;
    s.cr3 = layout::kBootPageTables;
    s.cr4 = kPae;
    s.cr0 |= kPg;
    s.msr.efer = kEferLme | kEferLma;
    s.rip = kernel_address_ + kEntry64Offset;
}

}  // namespace tandem::machines::pc
