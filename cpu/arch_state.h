// The architectural state of a vCPU of any guest architecture, for interfaces that serve all of them.
#pragma once

#include <variant>

#include "cpu/arm64/state.h"
#include "cpu/x86/state.h"

namespace tandem::cpu {

using ArchState = std::variant<x86::State, arm64::State>;

}  // namespace tandem::cpu
