// The model of a processor of any guest architecture, for interfaces that serve all of them.
#pragma once

#include <variant>

#include "cpu/arm64/model.h"
#include "cpu/x86/model.h"

namespace tandem::cpu {

using ArchModel = std::variant<x86::CpuModel, arm64::CpuModel>;

}  // namespace tandem::cpu
