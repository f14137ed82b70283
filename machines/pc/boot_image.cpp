#include "machines/pc/boot_image.h"

#include <fmt/format.h>

#include <algorithm>

#include "machines/boot_file.h"
#include "machines/pc/elf.h"
#include "machines/pc/layout.h"
#include "machines/pc/linux_boot.h"
#include "machines/pc/multiboot.h"
#include "machines/pc/pvh.h"

namespace tandem::machines::pc {

u64 low_ram(u64 ram_bytes) { return std::min(ram_bytes, layout::kLowRamMax); }

std::vector<E820Entry> memory_map(u64 ram_bytes) {
    using namespace layout;
    std::vector<E820Entry> map{
        {kLowMemory.base, kLowMemory.size, E820Entry::Ram},    {kEbda.base, kEbda.size, E820Entry::Reserved},
        {kFirmware.base, kFirmware.size, E820Entry::Reserved}, {kOneMiB, low_ram(ram_bytes) - kOneMiB, E820Entry::Ram},
        {kEcam.base, kEcam.size, E820Entry::Reserved},         {kIoapic.base, kIoapic.size, E820Entry::Reserved},
        {kLapic.base, kLapic.size, E820Entry::Reserved},
    };
    if (ram_bytes > kLowRamMax) map.push_back({kHighRam, ram_bytes - kLowRamMax, E820Entry::Ram});
    return map;
}

Result<std::unique_ptr<BootImage>> load_boot_image(const BootSources& sources, u64 ram_bytes) {
    TANDEM_TRY_ASSIGN(auto file, read_file("kernel", sources.kernel, low_ram(ram_bytes)));
    if (LinuxImage::recognises(file)) {
        TANDEM_TRY_ASSIGN(auto linux, LinuxImage::create(std::move(file), sources, ram_bytes));
        return std::unique_ptr<BootImage>(std::make_unique<LinuxImage>(std::move(linux)));
    }
    if (find_multiboot_header(file)) return load_multiboot(file, sources, ram_bytes);
    if (is_elf(file)) {
        auto elf = parse_elf(file);
        if (!elf) return std::move(elf).error().context(fmt::format("kernel '{}'", sources.kernel));
        if (elf->pvh_entry) return load_pvh(file, *elf, sources, ram_bytes);
        return invalid(
            fmt::format("kernel '{}' is an ELF file without a multiboot header or a PVH entry note", sources.kernel));
    }
    return invalid(fmt::format("kernel '{}' is neither a bzImage nor a multiboot or PVH image: it is {}", sources.kernel,
                               foreign_format(file)));
}

namespace {

constexpr u16 kBootCs = 0x10, kBootDs = 0x18;
constexpr u16 kCode64 = 0xa09b, kCode32 = 0xc09b, kData = 0xc093;
constexpr u64 descriptor(u16 access) { return u64{0x000f0000} << 32 | 0xffff | u64{access} << 40; }

}  // namespace

std::array<u64, 4> flat_gdt(bool long_mode) { return {0, 0, descriptor(long_mode ? kCode64 : kCode32), descriptor(kData)}; }

void set_flat_protected_mode(cpu::x86::State& s, u32 eip, u64 gdt) {
    using namespace cpu::x86;
    constexpr u64 kPe = 1, kEt = 1u << 4, kNe = 1u << 5;
    const Segment data{0, 0xffffffff, kBootDs, kData};
    for (auto& segment : s.seg) segment = data;
    s.seg[CS] = {0, 0xffffffff, kBootCs, kCode32};
    s.ldtr = {0, 0xffff, 0, 0x0082};
    s.tr = {0, 0xffff, 0, 0x008b};
    s.gdtr = {gdt, static_cast<u16>(sizeof(flat_gdt(false)) - 1)};
    s.idtr = {0, 0};
    s.rflags = 2;
    s.gpr.fill(0);
    s.gpr[RSP] = layout::kBootStack;
    s.cr0 = kPe | kEt | kNe;
    s.rip = eip;
}

}  // namespace tandem::machines::pc
