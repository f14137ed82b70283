// The Internet checksum (RFC 1071).
#pragma once

#include <span>

#include "base/types.h"
#include "devices/fabric/backends.h"

namespace tandem::devices {

// Ones' complement sum of big-endian 16-bit words, folded, not inverted.
u16 internet_sum(std::span<const u8> bytes);

// Does what FrameHeader::kNeedsChecksum asks for: fills in the checksum of the bytes from checksum_start on. The field,
// which holds the pseudo header's sum, must lie inside the frame.
void complete_checksum(const FrameHeader& header, std::span<u8> frame);

}  // namespace tandem::devices
