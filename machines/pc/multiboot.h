// Multiboot Specification 0.6.96: kernels with a header in their first 8 KiB, as ELF or with load addresses in the header.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "machines/pc/boot_image.h"

namespace tandem::machines::pc {

// Offset of the header in the file (3.1.1); nothing when there is none.
std::optional<std::size_t> find_multiboot_header(std::span<const u8> file);

// `file` has a header. Errors name the file: unknown mandatory flags, bad addresses, no room.
Result<std::unique_ptr<BootImage>> load_multiboot(std::span<const u8> file, const BootSources& sources, u64 ram_bytes);

}  // namespace tandem::machines::pc
