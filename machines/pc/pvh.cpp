#include "machines/pc/pvh.h"

#include <fmt/format.h>

#include "base/bits.h"
#include "machines/pc/boot_modules.h"

namespace tandem::machines::pc {
namespace {

constexpr u32 kStartMagic = 0x336ec578;

struct StartInfo {
    u32 magic = kStartMagic;
    u32 version = 1;  // with a memory map
    u32 flags = 0;
    u32 nr_modules = 0;
    u64 modlist_paddr = 0;
    u64 cmdline_paddr = 0;
    u64 rsdp_paddr = 0;
    u64 memmap_paddr = 0;
    u32 memmap_entries = 0;
    u32 reserved = 0;
};
struct MapEntry {
    u64 address = 0, size = 0;
    u32 type = 0, reserved = 0;
};
struct ModuleEntry {
    u64 address = 0, size = 0, cmdline = 0, reserved = 0;
};

class PvhImage final : public InformedKernel {
public:
    using InformedKernel::InformedKernel;

    void set_entry_state(cpu::x86::State& s) const override {
        set_flat_protected_mode(s, entry_, info_address_ + sizeof(StartInfo));
        s.tr.limit = 0x67;
        s.gpr[cpu::x86::RBX] = info_address_;
    }

private:
    [[nodiscard]] InfoBlock information(u64 base, u64 rsdp) const override {
        InfoBlock block(base);
        StartInfo info;
        info.rsdp_paddr = rsdp;
        block.append_value(info);
        block.append_value(flat_gdt(false));
        const auto map = memory_map(ram_bytes_);
        info.memmap_entries = static_cast<u32>(map.size());
        info.memmap_paddr = block.here();
        for (const auto& e : map) block.append_value(MapEntry{e.base, e.size, e.type, 0});
        info.cmdline_paddr = block.append_text(command_line_);
        std::vector<ModuleEntry> modules;
        for (const auto& m : kernel_.modules()) {
            const u64 text = m.arguments.empty() ? 0 : block.append_text(m.arguments);
            modules.push_back({m.address, m.bytes.size(), text, 0});
        }
        block.align(16);
        info.nr_modules = static_cast<u32>(modules.size());
        info.modlist_paddr = modules.empty() ? 0 : block.here();
        for (const auto& m : modules) block.append_value(m);
        return with_head(info, base, block);
    }
};

}  // namespace

Result<std::unique_ptr<BootImage>> load_pvh(std::span<const u8> file, const ElfImage& elf, const BootSources& sources,
                                            u64 ram_bytes) {
    TANDEM_TRY_ASSIGN(auto kernel, LoadedKernel::create({file.begin(), file.end()}, elf.segments, sources, ram_bytes,
                                                        LoadedKernel::ModulePlace::TopOfRam));
    auto image = std::make_unique<PvhImage>(std::move(kernel), *elf.pvh_entry, sources.append, ram_bytes);
    TANDEM_TRY(image->prepare());
    return std::unique_ptr<BootImage>(std::move(image));
}

}  // namespace tandem::machines::pc
