// The processor models by name.
#pragma once

#include <string>

namespace tandem::cpu::arm64 {

// One line per model, and what can be chosen of each, for -cpu help.
std::string model_list();
// The latter.
std::string property_help();

}  // namespace tandem::cpu::arm64
