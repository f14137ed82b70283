// PVH: an ELF kernel with a 32-bit entry in a Xen note (Xen docs/misc/pvh.pandoc; struct hvm_start_info in Xen's public
// headers).
#pragma once

#include <memory>
#include <span>

#include "machines/pc/boot_image.h"
#include "machines/pc/elf.h"

namespace tandem::machines::pc {

// `elf` is `file`'s, with a PVH entry. Errors name the file or the option.
Result<std::unique_ptr<BootImage>> load_pvh(std::span<const u8> file, const ElfImage& elf, const BootSources& sources,
                                            u64 ram_bytes);

}  // namespace tandem::machines::pc
