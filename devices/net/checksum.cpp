#include "devices/net/checksum.h"

#include <cstring>

namespace tandem::devices {

u16 internet_sum(std::span<const u8> bytes) {
    // The sum does not depend on byte order (RFC 1071, 2(B)), so it is taken in the host's, eight bytes at a time.
    u64 sum = 0;
    while (bytes.size() >= 8) {
        u64 word = 0;
        std::memcpy(&word, bytes.data(), 8);
        sum += word;
        sum += sum < word ? 1 : 0;
        bytes = bytes.subspan(8);
    }
    u64 rest = 0;
    if (!bytes.empty()) std::memcpy(&rest, bytes.data(), bytes.size());
    sum += rest;
    sum += sum < rest ? 1 : 0;
    for (int i = 0; i < 6; ++i) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<u16>((sum & 0xff) << 8 | sum >> 8);
}

void complete_checksum(const FrameHeader& header, std::span<u8> frame) {
    if ((header.flags & FrameHeader::kNeedsChecksum) == 0) return;
    const std::size_t field = std::size_t{header.checksum_start} + header.checksum_offset;
    if (field + 2 > frame.size()) return;
    auto sum = static_cast<u16>(~internet_sum(frame.subspan(header.checksum_start)));
    // A UDP checksum of zero means that there is none (RFC 768); elsewhere the two zeros are equal.
    if (sum == 0) sum = 0xffff;
    frame[field] = static_cast<u8>(sum >> 8);
    frame[field + 1] = static_cast<u8>(sum);
}

}  // namespace tandem::devices
