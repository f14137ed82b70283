#include "machines/pc/multiboot.h"

#include <fmt/format.h>

#include "base/bits.h"
#include "base/log.h"
#include "machines/boot_file.h"
#include "machines/pc/boot_modules.h"
#include "machines/pc/layout.h"

namespace tandem::machines::pc {
namespace {

constexpr u32 kHeaderMagic = 0x1badb002, kLoaderMagic = 0x2badb002;
constexpr std::size_t kSearch = 8192, kHeaderSize = 12, kAddressesSize = 32;
// Header flags (3.1.2). 0 and 1, page-aligned modules and memory information, are always done.
constexpr u32 kVideoMode = 1u << 2, kMandatory = 0xffff, kKnown = 3 | kVideoMode, kHasAddresses = 1u << 16;

// Information flags (3.3).
constexpr u32 kMemory = 1u << 0, kCommandLine = 1u << 2, kModules = 1u << 3, kMemoryMap = 1u << 6, kLoaderName = 1u << 9;

// The information structure (3.3), up to the last field that is filled in.
struct Info {
    u32 flags = kMemory | kCommandLine | kModules | kMemoryMap | kLoaderName;
    u32 mem_lower = 0, mem_upper = 0;  // KiB
    u32 boot_device = 0;
    u32 cmdline = 0;
    u32 mods_count = 0, mods_addr = 0;
    u32 syms[4] = {};
    u32 mmap_length = 0, mmap_addr = 0;
    u32 drives_length = 0, drives_addr = 0;
    u32 config_table = 0;
    u32 boot_loader_name = 0;
    u32 apm_table = 0;
    u32 vbe[6] = {};
    u32 framebuffer[6] = {};
};
struct [[gnu::packed]] MapEntry {
    u32 size = 20;  // of what follows
    u64 base = 0, length = 0;
    u32 type = 0;
};
struct ModuleEntry {
    u32 start = 0, end = 0, text = 0, reserved = 0;
};

u32 address32(u64 address) { return static_cast<u32>(address); }

class MultibootImage final : public InformedKernel {
public:
    using InformedKernel::InformedKernel;

    // 3.2
    void set_entry_state(cpu::x86::State& s) const override {
        set_flat_protected_mode(s, entry_, info_address_ + sizeof(Info));
        s.gpr[cpu::x86::RAX] = kLoaderMagic;
        s.gpr[cpu::x86::RBX] = info_address_;
    }

private:
    [[nodiscard]] InfoBlock information(u64 base, u64) const override {
        InfoBlock block(base);
        Info info;
        info.mem_lower = layout::kLowMemory.size / layout::kKiB;
        info.mem_upper = static_cast<u32>((low_ram(ram_bytes_) - layout::kOneMiB) / layout::kKiB);
        block.append_value(info);
        block.append_value(flat_gdt(false));
        info.mmap_addr = address32(block.here());
        for (const auto& e : memory_map(ram_bytes_)) block.append_value(MapEntry{20, e.base, e.size, e.type});
        info.mmap_length = address32(block.here()) - info.mmap_addr;
        info.cmdline = address32(block.append_text(command_line_));
        info.boot_loader_name = address32(block.append_text("Tandem"));
        std::vector<ModuleEntry> modules;
        for (const auto& m : kernel_.modules()) {
            modules.push_back(
                {address32(m.address), address32(m.address + m.bytes.size()), address32(block.append_text(m.text)), 0});
        }
        block.align(16);
        info.mods_addr = address32(block.here());
        info.mods_count = static_cast<u32>(modules.size());
        for (const auto& m : modules) block.append_value(m);
        return with_head(info, base, block);
    }
};

struct Plan {
    std::vector<LoadSegment> segments;
    u64 entry = 0;
};

// 3.1.3: what the header's address fields say.
Result<Plan> plan_from_header(std::span<const u8> file, std::size_t header) {
    if (file.size() < header + kAddressesSize) return Error{Errc::Corrupt, "the multiboot header is truncated"};
    const u64 header_address = field<u32>(file, header + 12), load = field<u32>(file, header + 16);
    const u64 load_end = field<u32>(file, header + 20), bss_end = field<u32>(file, header + 24);
    const u64 before = header_address - load;
    if (header_address < load || before > header) return Error{Errc::Corrupt, "the multiboot header's addresses are wrong"};
    LoadSegment s;
    s.address = s.virtual_address = load;
    s.file_offset = header - before;
    s.file_size = load_end == 0 ? file.size() - s.file_offset : load_end - load;
    if ((load_end != 0 && load_end < load) || s.file_size > file.size() - s.file_offset) {
        return Error{Errc::Corrupt, "the file is shorter than its multiboot header says"};
    }
    s.memory_size = bss_end > load + s.file_size ? bss_end - load : s.file_size;
    return Plan{{s}, field<u32>(file, header + 28)};
}

Result<Plan> make_plan(std::span<const u8> file, std::size_t header) {
    const u32 flags = field<u32>(file, header + 4);
    if ((flags & kMandatory & ~kKnown) != 0) {
        return Error{Errc::Unsupported, fmt::format("its multiboot header asks for unknown features ({:#x})", flags)};
    }
    if ((flags & kVideoMode) != 0) log::info("the multiboot kernel asks for a video mode; there is none to set");
    if ((flags & kHasAddresses) != 0) return plan_from_header(file, header);
    if (!is_elf(file)) return invalid("it has a multiboot header without load addresses, and is no ELF file");
    TANDEM_TRY_ASSIGN(auto elf, parse_elf(file));
    return Plan{std::move(elf.segments), elf.entry};
}

}  // namespace

std::optional<std::size_t> find_multiboot_header(std::span<const u8> file) {
    const std::size_t end = std::min(file.size(), kSearch);
    for (std::size_t at = 0; at + kHeaderSize <= end; at += 4) {
        if (field<u32>(file, at) != kHeaderMagic) continue;
        if (field<u32>(file, at) + field<u32>(file, at + 4) + field<u32>(file, at + 8) == 0) return at;
    }
    return {};
}

Result<std::unique_ptr<BootImage>> load_multiboot(std::span<const u8> file, const BootSources& sources, u64 ram_bytes) {
    auto plan = make_plan(file, *find_multiboot_header(file));
    if (!plan) return std::move(plan).error().context(fmt::format("kernel '{}'", sources.kernel));
    if (plan->entry >> 32 != 0) return invalid(fmt::format("kernel '{}' enters above 4 GiB", sources.kernel));
    TANDEM_TRY_ASSIGN(auto kernel, LoadedKernel::create({file.begin(), file.end()}, std::move(plan->segments), sources,
                                                        ram_bytes, LoadedKernel::ModulePlace::AfterKernel));
    // The first word is the kernel's name, as from other loaders.
    const std::string command_line = sources.append.empty() ? sources.kernel : sources.kernel + " " + sources.append;
    auto image = std::make_unique<MultibootImage>(std::move(kernel), static_cast<u32>(plan->entry), command_line, ram_bytes);
    TANDEM_TRY(image->prepare());
    return std::unique_ptr<BootImage>(std::move(image));
}

}  // namespace tandem::machines::pc
