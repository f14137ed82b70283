#include "machines/pc/kernel_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <numeric>
#include <ranges>
#include <span>

#include "base/bits.h"
#include "machines/boot_file.h"
#include "machines/pc/boot_image.h"
#include "machines/pc/layout.h"
#include "machines/pc/linux_boot.h"

namespace tandem::machines::pc {
namespace {

using devices::FwCfg;

// Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header" and "Memory layout": the real-mode part, its stack
// and heap, and behind them the command line.
constexpr std::size_t kTypeOfLoader = 0x210, kLoadflags = 0x211, kRamdiskImage = 0x218, kRamdiskSize = 0x21c,
                      kHeapEnd = 0x224, kCommandLine = 0x228;
constexpr u8 kLoadedHigh = 1, kCanUseHeap = 0x80, kUndefinedLoader = 0xff;
constexpr u32 kRealMode = 0x10000, kStackTop = 0xe000, kLine = kRealMode + kStackTop, kMostSetup = 0x8000;
constexpr u32 kProtectedMode = 0x100000;
constexpr u64 kFirmwareKeeps = 512 * layout::kKiB;  // at the top of low RAM, for its tables

// One read by the device's DMA (docs/specs/fw_cfg): the descriptor's fields are big endian.
struct Transfer {
    u16 key;
    u64 size;
    u32 address;
};
constexpr u8 kDescriptorSize = 16;
constexpr u32 kSelectAndRead = 0x0a;

void put_big(std::span<u8> to, u64 value) {
    for (u8& byte : to | std::views::reverse) {
        byte = static_cast<u8>(value);
        value >>= 8;
    }
}

// PnP BIOS Specification 1.0A, 3.1 to 3.3: an option ROM with a bootstrap entry, which has the device read all parts and
// enters the kernel as boot.rst says ("Running the Kernel").
constexpr u8 kDescriptors = 0x90;
constexpr std::array<u8, 76> kRomCode{
    0x0e,                      // push cs
    0x1f,                      // pop ds
    0x66, 0x31,         0xdb,  // xor ebx, ebx
    0x8c, 0xcb,                // mov bx, cs
    0x66, 0xc1,         0xe3,
    0x04,                      // shl ebx, 4
    0xbe, kDescriptors, 0x00,  // mov si, kDescriptors
    0xb9, 0x04,         0x00,  // mov cx, 4
    0xba, 0x14,         0x05,  // next: mov dx, 514h
    0x66, 0x31,         0xc0,  // xor eax, eax
    0x66, 0xef,                // out dx, eax
    0x66, 0x0f,         0xb7,
    0xc6,                      // movzx eax, si
    0x66, 0x01,         0xd8,  // add eax, ebx
    0x66, 0x0f,         0xc8,  // bswap eax
    0xba, 0x18,         0x05,  // mov dx, 518h
    0x66, 0xef,                // out dx, eax
    0x66, 0xf7,         0x04,
    0xff, 0xff,         0xff,
    0xfe,                                 // wait: test dword [si], ~(1 << 24)
    0x75, 0xf7,                           // jnz wait
    0x83, 0xc6,         kDescriptorSize,  // add si, 16
    0xe2, 0xdb,                           // loop next
    0xb8, 0x00,         0x10,             // mov ax, 1000h
    0x8e, 0xd8,                           // mov ds, ax
    0x8e, 0xc0,                           // mov es, ax
    0x8e, 0xe0,                           // mov fs, ax
    0x8e, 0xe8,                           // mov gs, ax
    0xfa,                                 // cli
    0x8e, 0xd0,                           // mov ss, ax
    0xbc, 0x00,         0xe0,             // mov sp, e000h
    0xea, 0x00,         0x00,
    0x20, 0x10,  // jmp 1020h:0
};
struct [[gnu::packed]] RomHeader {
    u8 signature[2] = {0x55, 0xaa};
    u8 blocks = 1;                                // of 512 bytes
    u8 initialise[4] = {0xb8, 0x20, 0x00, 0xcb};  // mov ax, 20h (a system can be started from here); retf
    u8 checksum = 0;
    u8 unused[0x12] = {};
    u16 pnp_header = 0x20;
    u8 more[4] = {};
    // At 20h.
    char pnp_signature[4] = {'$', 'P', 'n', 'P'};
    u8 pnp_revision = 1, pnp_paragraphs = 2;
    u16 next_header = 0;
    u8 reserved = 0, pnp_checksum = 0;
    u32 device_identifier = 0;
    u16 manufacturer = 0, product = 0;
    u8 device_type[3] = {1, 0x80, 0};  // mass storage
    u8 indicators = 0x64;              // a system may be started from it; neither screen nor disk is needed
    u16 connection = 0, disconnection = 0, bootstrap = 0x40, reserved2 = 0, static_resources = 0;
};
static_assert(sizeof(RomHeader) == 0x40 && offsetof(RomHeader, pnp_header) == 0x1a);
static_assert(sizeof(RomHeader) + kRomCode.size() <= kDescriptors);

u8 missing_to_zero(std::span<const u8> bytes) { return static_cast<u8>(-std::accumulate(bytes.begin(), bytes.end(), 0)); }

std::vector<u8> kernel_rom(const std::array<Transfer, 4>& transfers) {
    constexpr std::size_t kSize = 512, kPnp = offsetof(RomHeader, pnp_signature), kCode = sizeof(RomHeader);
    std::vector<u8> bytes(kSize);
    const std::span<u8> rom = bytes;
    const RomHeader header;
    std::memcpy(rom.data(), &header, sizeof header);
    rom[offsetof(RomHeader, pnp_checksum)] = missing_to_zero(rom.subspan(kPnp, kCode - kPnp));
    std::ranges::copy(kRomCode, rom.begin() + kCode);
    for (std::size_t i = 0; i < transfers.size(); ++i) {
        const auto& t = transfers[i];
        const std::span<u8> descriptor = rom.subspan(kDescriptors + i * kDescriptorSize, kDescriptorSize);
        put_big(descriptor.subspan(0, 4), u32{t.key} << 16 | kSelectAndRead);
        put_big(descriptor.subspan(4, 4), t.size);
        put_big(descriptor.subspan(8, 8), t.address);
    }
    rom[offsetof(RomHeader, checksum)] = missing_to_zero(rom);
    return bytes;
}

}  // namespace

bool needs_firmware(const std::string& kernel) {
    constexpr std::size_t kVersion = 0x206, kCode32Start = 0x214, kXloadflags = 0x236, kHeader = 0x268;
    constexpr u16 kXloadVersion = 0x020c, kXlfKernel64 = 1;
    std::array<u8, kHeader> file{};
    if (!std::ifstream(kernel, std::ios::binary).read(reinterpret_cast<char*>(file.data()), file.size())) return false;
    if (!LinuxImage::recognises(file) || field<u32>(file, kCode32Start) != 0) return false;
    return field<u16>(file, kVersion) < kXloadVersion || (field<u16>(file, kXloadflags) & kXlfKernel64) == 0;
}

Result<void> publish_kernel(FwCfg& fw, const MachineConfig& config) {
    const u64 ram = low_ram(config.ram_bytes);
    TANDEM_TRY_ASSIGN(auto setup, read_file("kernel", config.kernel, ram));
    if (!LinuxImage::recognises(setup)) {
        return invalid(fmt::format("kernel '{}' is not a bzImage, which firmware needs (leave out -bios)", config.kernel));
    }
    const auto split = static_cast<std::ptrdiff_t>(std::min(LinuxImage::setup_bytes(setup), setup.size()));
    std::vector<u8> kernel(setup.begin() + split, setup.end());
    setup.resize(static_cast<std::size_t>(split));
    std::vector<u8> initrd;
    if (!config.initrd.empty()) {
        TANDEM_TRY_ASSIGN(initrd, read_initrd(config.initrd, ram));
    }
    const u64 top = ram - kFirmwareKeeps;
    if (initrd.size() > top || align_down(top - initrd.size(), 4096) < kProtectedMode + kernel.size()) {
        return invalid(fmt::format("initrd '{}' of {} bytes does not fit beside the kernel (raise -m {})", config.initrd,
                                   initrd.size(), config.ram_bytes >> 20));
    }
    const u32 initrd_address = static_cast<u32>(align_down(top - initrd.size(), 4096));
    std::vector<u8> line(config.append.begin(), config.append.end());
    line.push_back(0);
    // What a boot loader fills in; firmware that enters the kernel in another way overwrites it.
    const std::span<u8> header = setup;
    const bool bios = setup.size() <= kMostSetup && (setup[kLoadflags] & kLoadedHigh) != 0;
    set_field<u8>(header, kTypeOfLoader, kUndefinedLoader);
    set_field<u8>(header, kLoadflags, static_cast<u8>(setup[kLoadflags] | kCanUseHeap));
    set_field<u16>(header, kHeapEnd, kStackTop - 0x200);
    set_field<u32>(header, kCommandLine, kLine);
    set_field<u32>(header, kRamdiskImage, initrd.empty() ? 0 : initrd_address);
    set_field<u32>(header, kRamdiskSize, static_cast<u32>(initrd.size()));
    if (bios) {
        TANDEM_TRY(fw.set_file("genroms/linux.bin", kernel_rom({{{FwCfg::kSetupData, setup.size(), kRealMode},
                                                                 {FwCfg::kKernelData, kernel.size(), kProtectedMode},
                                                                 {FwCfg::kInitrdData, initrd.size(), initrd_address},
                                                                 {FwCfg::kCommandLineData, line.size(), kLine}}})));
    }
    fw.set_number(FwCfg::kSetupSize, setup.size(), 4);
    fw.set_number(FwCfg::kKernelSize, kernel.size(), 4);
    fw.set_number(FwCfg::kInitrdSize, initrd.size(), 4);
    fw.set_number(FwCfg::kCommandLineSize, line.size(), 4);
    fw.set(FwCfg::kSetupData, std::move(setup));
    fw.set(FwCfg::kKernelData, std::move(kernel));
    fw.set(FwCfg::kInitrdData, std::move(initrd));
    fw.set(FwCfg::kCommandLineData, std::move(line));
    return {};
}

}  // namespace tandem::machines::pc
