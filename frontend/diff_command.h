// `tandem diff`: differential campaigns between engines, and merging their shards.
#pragma once

#include <span>
#include <string_view>

namespace tandem::frontend {

// The arguments after "diff". The program's exit status: 0 nothing differs, 1 bad command line or host, 2 something differs,
// 130 stopped by Ctrl-C.
int diff_command(std::span<const char* const> arguments);

}  // namespace tandem::frontend
