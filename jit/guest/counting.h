// Exact instruction counts (Options::count_instructions), for whoever stops a vCPU at one or watches what it writes: two
// words of the header that generated code tests at block entries.
#pragma once

#include <vector>

#include "jit/guest/frame.h"

namespace tandem::jit {

// Where counting is on, run() returns Attention when FrameHeader::instructions has come to exactly this many; an interrupt
// that is pending then is taken first. Kept inverted, so that a new header has no limit.
inline constexpr std::size_t kInverseLimitOffset = offsetof(FrameHeader, spare);
inline u64 instruction_limit(const FrameHeader& header) { return ~header.spare[0]; }
inline void set_instruction_limit(FrameHeader& header, u64 limit) { header.spare[0] = ~limit; }
inline bool has_instruction_limit(const FrameHeader& header) { return header.spare[0] != 0; }

// Where there is a limit, an instruction that repeats itself (x86's REP) is left after this many of its elements, counts as
// one, and begins again with what remains: it can be stopped, at the same places by whoever executes it.
inline u64 repeat_stride(const FrameHeader& header) {
    return has_instruction_limit(header) ? header.repeat_stride : ~u64{0};
}

// Where not null, pages that the vCPU begins to write are appended by guest-physical address, each at least once between two
// calls of state_replaced(). The list is the caller's.
inline std::vector<u64>* written_pages(const FrameHeader& header) {
    return reinterpret_cast<std::vector<u64>*>(header.spare[1]);
}
inline void set_written_pages(FrameHeader& header, std::vector<u64>* pages) {
    header.spare[1] = reinterpret_cast<u64>(pages);
}

}  // namespace tandem::jit
