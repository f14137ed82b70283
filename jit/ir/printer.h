// Text form of a block, for -d ir and for error messages.
#pragma once

#include <string>
#include <string_view>

#include "jit/ir/ir.h"

namespace tandem::jit {
class Guest;
}

namespace tandem::jit::ir {

std::string_view to_string(Type t);
std::string_view to_string(Cond c);
std::string_view to_string(LeaveReason r);

// One instruction as "%7.i32 = add %3, %6". With a guest, state slots and helpers are shown by name. Any thread.
std::string print(const Block& block, Value index, const Guest* guest = nullptr);
// The whole block: a heading with its key, then one line per instruction.
std::string print(const Block& block, const Guest* guest = nullptr);

}  // namespace tandem::jit::ir
