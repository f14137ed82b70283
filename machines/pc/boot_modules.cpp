#include "machines/pc/boot_modules.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bits.h"
#include "machines/boot_file.h"
#include "machines/pc/layout.h"

namespace tandem::machines::pc {
namespace {

constexpr u64 kPage = 4096;
// Conventional memory behind the interrupt table, the BIOS data area and a boot sector's usual place.
constexpr layout::Range kInfo{0x9000, layout::kLowMemory.size - 0x9000};

bool overlap(u64 a, u64 a_size, u64 b, u64 b_size) { return a < b + b_size && b < a + a_size; }

}  // namespace

Result<std::vector<BootModule>> read_modules(const std::string& list, u64 limit) {
    std::vector<BootModule> modules;
    if (list.empty()) return modules;
    for (const auto& part : split_list(list)) {
        BootModule m;
        m.text = part.substr(std::min(part.find_first_not_of(' '), part.size()));
        const auto space = m.text.find(' ');
        const std::string path = m.text.substr(0, space);
        if (path.empty()) return invalid(fmt::format("-initrd '{}': a module without a file", list));
        if (space != std::string::npos) m.arguments = m.text.substr(space + 1);
        TANDEM_TRY_ASSIGN(m.bytes, read_file("module", path, limit));
        modules.push_back(std::move(m));
    }
    return modules;
}

u64 InfoBlock::append(std::span<const u8> bytes) {
    const u64 at = here();
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return at;
}

u64 InfoBlock::append_text(std::string_view text) {
    const u64 at = append({reinterpret_cast<const u8*>(text.data()), text.size()});
    bytes_.push_back(0);
    return at;
}

void InfoBlock::align(u64 to) { bytes_.resize(align_up(here(), to) - base_); }

Result<LoadedKernel> LoadedKernel::create(std::vector<u8> file, std::vector<LoadSegment> segments,
                                          const BootSources& sources, u64 ram_bytes, ModulePlace where) {
    LoadedKernel k;
    k.file_ = std::move(file);
    k.segments_ = std::move(segments);
    k.name_ = sources.kernel;
    k.ram_bytes_ = ram_bytes;
    const u64 top = low_ram(ram_bytes);
    for (const auto& s : k.segments_) {
        const bool fits = s.end() <= layout::kLowMemory.size || (s.address >= layout::kOneMiB && s.end() <= top);
        if (!fits) {
            return invalid(fmt::format("kernel '{}' wants memory from {:#x} to {:#x}, which is not RAM with -m {}", k.name_,
                                       s.address, s.end(), ram_bytes >> 20));
        }
    }
    TANDEM_TRY_ASSIGN(k.modules_, read_modules(sources.initrd, top));
    TANDEM_TRY(k.place_modules(where));
    return k;
}

u64 LoadedKernel::end() const {
    u64 end = layout::kOneMiB;
    for (const auto& s : segments_) end = std::max(end, s.end());
    for (const auto& m : modules_) end = std::max(end, m.address + m.bytes.size());
    return align_up(end, kPage);
}

Result<void> LoadedKernel::place_modules(ModulePlace where) {
    const u64 top = low_ram(ram_bytes_);
    const u64 floor = end();
    u64 total = 0;
    for (const auto& m : modules_) total += align_up(m.bytes.size(), kPage);
    if (total > top - floor) {
        return invalid(fmt::format("-initrd: modules of {} bytes do not fit beside kernel '{}' with -m {}", total, name_,
                                   ram_bytes_ >> 20));
    }
    u64 next = where == ModulePlace::TopOfRam ? align_down(top - total, kPage) : floor;
    for (auto& m : modules_) {
        m.address = next;
        next += align_up(m.bytes.size(), kPage);
    }
    return {};
}

bool LoadedKernel::free(u64 address, u64 size) const {
    const auto hits = [&](u64 a, u64 n) { return overlap(address, size, a, n); };
    return std::ranges::none_of(segments_, [&](const auto& s) { return hits(s.address, s.memory_size); }) &&
           std::ranges::none_of(modules_, [&](const auto& m) { return hits(m.address, m.bytes.size()); });
}

Result<u64> LoadedKernel::place_for_info(u64 size) const {
    if (size <= kInfo.size && free(kInfo.base, size)) return kInfo.base;
    const u64 behind = end();
    if (behind + size <= low_ram(ram_bytes_) && free(behind, size)) return behind;
    return Error{Errc::NotFound,
                 fmt::format("kernel '{}' leaves no room for its boot information (raise -m {})", name_, ram_bytes_ >> 20)};
}

Result<void> LoadedKernel::place(devices::GuestMemory& memory) const {
    for (const auto& s : segments_) {
        const auto room = memory.span(s.address, s.memory_size);
        if (room.size() != s.memory_size) return Error{Errc::Internal, "a kernel segment does not lie in RAM"};
        std::memcpy(room.data(), file_.data() + s.file_offset, s.file_size);
        std::memset(room.data() + s.file_size, 0, s.memory_size - s.file_size);
        memory.commit(s.address, s.memory_size);
    }
    for (const auto& m : modules_) {
        if (!memory.write(m.address, m.bytes.data(), m.bytes.size())) {
            return Error{Errc::Internal, "a module does not lie in RAM"};
        }
    }
    return {};
}

Result<void> InformedKernel::prepare() {
    constexpr u64 kAlignment = 16;
    TANDEM_TRY_ASSIGN(const u64 base, kernel_.place_for_info(information(0, 0).bytes().size() + kAlignment));
    info_address_ = align_up(base, kAlignment);
    return {};
}

Result<void> InformedKernel::place(devices::GuestMemory& memory, u64 rsdp) const {
    TANDEM_TRY(kernel_.place(memory));
    const InfoBlock info = information(info_address_, rsdp);
    if (memory.write(info_address_, info.bytes().data(), info.bytes().size())) return {};
    return Error{Errc::Internal, "the kernel's boot information does not lie in RAM"};
}

}  // namespace tandem::machines::pc
