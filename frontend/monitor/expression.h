// Numbers as the monitor's commands take them: "0x1000 + $rsp * 2".
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace tandem::frontend {

// A register's value by its name without '$'; nothing when there is none.
using RegisterLookup = std::function<std::optional<u64>(std::string_view name)>;

// Evaluates all of `text`: numbers (decimal, 0x hexadecimal, 0 octal), 'c', $REGISTER, parentheses, unary + - ~ and, by
// rising precedence, | ^ &, + -, * / %. 64-bit wrapping arithmetic. InvalidArgument: what is wrong and where.
Result<u64> evaluate(std::string_view text, const RegisterLookup& registers);

// The length of the longest expression that `text` begins with as one word of a command: up to a space outside parentheses
// that no operator precedes or follows.
std::size_t expression_length(std::string_view text);

}  // namespace tandem::frontend
