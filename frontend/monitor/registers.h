// Registers of a processor by name, and all of them as text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cpu/arch_state.h"

namespace tandem::frontend {

// x86: "rax", "eax", "ax", "al", "rip" or "pc", "sp", "eflags", "cs", "cr3", "dr7" ...; AArch64: "x0", "w0", "lr", "sp",
// "pc", "cpsr" or "pstate", "d0", and system registers as the manual names them, "ttbr0_el1". Nothing for an unknown name.
std::optional<u64> find_register(const cpu::ArchState& state, std::string_view name);
std::optional<u64> find_register(const cpu::x86::State& state, std::string_view name);
std::optional<u64> find_register(const cpu::arm64::State& state, std::string_view name);

// General, control, debug and vector registers, in QEMU's arrangement.
std::string format_registers(const cpu::ArchState& state);
std::string format_registers(const cpu::x86::State& state);
std::string format_registers(const cpu::arm64::State& state);

// Where the processor is, and what it does: "running", "halted", ...
u64 program_counter(const cpu::ArchState& state);
const char* activity(const cpu::ArchState& state);

}  // namespace tandem::frontend
