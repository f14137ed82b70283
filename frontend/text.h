// Text that a person writes.
#pragma once

#include <string_view>

namespace tandem::frontend {

// Without white space at either end.
inline std::string_view trimmed(std::string_view text) {
    constexpr std::string_view kWhite = " \t\r";
    const auto first = text.find_first_not_of(kWhite);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kWhite) - first + 1);
}

}  // namespace tandem::frontend
