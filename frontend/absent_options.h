// Options that QEMU has and this program has not, with what serves instead.
#pragma once

#include <string_view>

#include "base/result.h"

namespace tandem::frontend {

// The error for an option that is not known: `word` as it was written, `name` without its dashes.
Error unknown_option(std::string_view word, std::string_view name);

}  // namespace tandem::frontend
