// What "help" as an option's argument prints.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tandem::frontend {

// The kinds, properties or values that -OPTION knows, a line for each; empty optional: the option has no such list.
std::optional<std::string> list_of(std::string_view option);

// A line of such a list, or two where the name is long.
std::string help_line(std::string_view name, std::string_view help);

}  // namespace tandem::frontend
