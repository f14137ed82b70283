// What firmware says of the machine to whoever asks (DMTF DSP0134, SMBIOS Reference Specification 3.6; structures as of
// version 2.8).
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "machines/machine.h"

namespace tandem::machines::pc {

constexpr u64 kSmbiosEntrySize = 32;  // of the 31-byte entry point, in whole paragraphs

struct SmbiosTables {
    std::vector<u8> structures;
    u16 count = 0;
    u16 largest = 0;
    // The 32-bit entry point for structures at `address`.
    [[nodiscard]] std::vector<u8> entry_point(u64 address) const;
};

// Errors name the type, the field and what is known, or a text that cannot be in a structure.
Result<SmbiosTables> build_smbios(const MachineConfig& config);

// 16 bytes as a structure holds them: the first three fields little endian. Empty or malformed text is all zero.
std::vector<u8> parse_uuid(std::string_view text);

}  // namespace tandem::machines::pc
