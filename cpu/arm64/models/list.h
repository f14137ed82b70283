// The processor models by name.
#pragma once

#include <string>

namespace tandem::cpu::arm64 {

// One line per model, for -cpu help.
std::string model_list();

}  // namespace tandem::cpu::arm64
