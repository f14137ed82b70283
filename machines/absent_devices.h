// Devices that other emulators have and these boards have not, with what serves instead.
#pragma once

#include <string_view>

namespace tandem::machines {

// What to use in place of a device of this name, in half a sentence; null: the name says nothing.
const char* instead_of(std::string_view driver);

}  // namespace tandem::machines
