#include "machines/pc/elf.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bits.h"
#include "machines/boot_file.h"

namespace tandem::machines::pc {
namespace {

constexpr u8 kClass32 = 1, kClass64 = 2, kLittleEndian = 1;
constexpr u16 kMachine386 = 3, kMachineAmd64 = 62;
constexpr u32 kLoad = 1, kNote = 4;
constexpr u32 kNotePhys32Entry = 18;  // XEN_ELFNOTE_PHYS32_ENTRY (Xen public headers, elfnote.h)

// Offsets of the fields in the two classes.
struct Layout {
    std::size_t header_size, entry, program_headers, entry_size, count, program_header_size;
    std::size_t offset, virtual_address, physical_address, file_size, memory_size, alignment;
    bool wide;
};
constexpr Layout kLayout32{52, 24, 28, 42, 44, 32, 4, 8, 12, 16, 20, 28, false};
constexpr Layout kLayout64{64, 24, 32, 54, 56, 56, 8, 16, 24, 32, 40, 48, true};

u64 word(const Layout& layout, std::span<const u8> bytes, std::size_t at) {
    return layout.wide ? field<u64>(bytes, at) : field<u32>(bytes, at);
}

bool within(u64 offset, u64 size, u64 total) { return offset <= total && size <= total - offset; }

std::optional<u32> find_pvh_entry(std::span<const u8> notes, u64 alignment) {
    constexpr std::size_t kHeader = 12;
    const u64 align = alignment == 8 ? 8 : 4;
    std::size_t at = 0;
    while (within(at, kHeader, notes.size())) {
        const u64 name_size = field<u32>(notes, at), size = field<u32>(notes, at + 4);
        const u64 name = at + kHeader, body = align_up(name + name_size, align);
        if (!within(body, size, notes.size())) return {};
        const bool xen = name_size == 4 && std::memcmp(notes.data() + name, "Xen", 4) == 0;
        if (xen && field<u32>(notes, at + 8) == kNotePhys32Entry && size >= 4) return field<u32>(notes, body);
        at = align_up(body + size, align);
    }
    return {};
}

Error corrupt(std::string message) { return {Errc::Corrupt, std::move(message)}; }

}  // namespace

bool is_elf(std::span<const u8> file) {
    return file.size() >= 4 && std::memcmp(file.data(),
                                           "\x7f"
                                           "ELF",
                                           4) == 0;
}

Result<ElfImage> parse_elf(std::span<const u8> file) {
    constexpr std::size_t kClass = 4, kData = 5, kMachine = 18;
    if (!is_elf(file) || file.size() < kLayout32.header_size) return corrupt("the ELF header is truncated");
    const bool known = (file[kClass] == kClass32 || file[kClass] == kClass64) && file[kData] == kLittleEndian;
    const u16 machine = field<u16>(file, kMachine);
    if (!known || (machine != kMachine386 && machine != kMachineAmd64)) {
        return invalid(fmt::format("it is an ELF file for another machine ({}), not for x86", machine));
    }
    const Layout& l = file[kClass] == kClass64 ? kLayout64 : kLayout32;
    if (file.size() < l.header_size) return corrupt("the ELF header is truncated");
    const u64 headers = word(l, file, l.program_headers);
    const u64 count = field<u16>(file, l.count), step = field<u16>(file, l.entry_size);
    if (count == 0 || step < l.program_header_size || !within(headers, count * step, file.size())) {
        return corrupt("it is an ELF file without program headers, or truncated");
    }
    ElfImage image;
    image.entry = word(l, file, l.entry);
    for (u64 i = 0; i < count; ++i) {
        const auto ph = file.subspan(headers + i * step, l.program_header_size);
        const LoadSegment s{word(l, ph, l.physical_address), word(l, ph, l.offset), word(l, ph, l.file_size),
                            word(l, ph, l.memory_size), word(l, ph, l.virtual_address)};
        const u32 type = field<u32>(ph, 0);
        if (type != kLoad && type != kNote) continue;
        if (!within(s.file_offset, s.file_size, file.size())) return corrupt("the ELF file is truncated");
        if (type == kNote) {
            const auto found = find_pvh_entry(file.subspan(s.file_offset, s.file_size), word(l, ph, l.alignment));
            if (found) image.pvh_entry = found;
        } else if (s.memory_size != 0) {
            if (s.file_size > s.memory_size || s.address + s.memory_size < s.address) {
                return corrupt("an ELF segment has a wrong size");
            }
            image.segments.push_back(s);
        }
    }
    if (image.segments.empty()) return corrupt("the ELF file has nothing to load");
    for (const auto& s : image.segments) {
        const u64 linked = word(l, file, l.entry);
        if (linked - s.virtual_address < s.memory_size) image.entry = s.address + (linked - s.virtual_address);
    }
    return image;
}

}  // namespace tandem::machines::pc
