// Executable ELF files (System V ABI, "Object Files"; Intel 386 and AMD64 supplements) as boot loaders need them.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace tandem::machines::pc {

// A piece of a file that goes to a physical address; what the file does not provide is zero.
struct LoadSegment {
    u64 address = 0;
    u64 file_offset = 0;
    u64 file_size = 0;
    u64 memory_size = 0;      // at least file_size
    u64 virtual_address = 0;  // as linked
    [[nodiscard]] u64 end() const { return address + memory_size; }
};

struct ElfImage {
    u64 entry = 0;  // physical, where the entry lies in a segment
    std::vector<LoadSegment> segments;
    std::optional<u32> pvh_entry;  // XEN_ELFNOTE_PHYS32_ENTRY
};

bool is_elf(std::span<const u8> file);
// Segments lie within the file and do not wrap. Errors do not name the file: foreign machine or byte order, truncated,
// nothing to load.
Result<ElfImage> parse_elf(std::span<const u8> file);

}  // namespace tandem::machines::pc
