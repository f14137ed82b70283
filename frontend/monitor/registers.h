// Registers of a processor by name, and all of them as text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cpu/x86/state.h"

namespace tandem::frontend {

// "rax", "eax", "ax", "al", "rip" or "pc", "sp", "eflags", "cs", "cr3", "dr7" ...; nothing for an unknown name.
std::optional<u64> find_register(const cpu::x86::State& state, std::string_view name);

// General, segment, control, debug and SSE registers, in QEMU's arrangement.
std::string format_registers(const cpu::x86::State& state);

}  // namespace tandem::frontend
