// What a pair with an engine on the host's processor is not compared in, because manuals leave it open or because KVM does
// not show it. docs/differences.md lists it ("Lockstep with KVM").
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "accel/lockstep/image.h"
#include "cpu/x86/decode/instruction.h"
#include "cpu/x86/state.h"

namespace tandem::accel::lockstep {

// Makes alike what either shows in its own way.
void level_native(cpu::x86::State& state);

// The instruction that `state` is about to execute; `code` begins with it. Nothing where it cannot be decoded.
std::optional<cpu::x86::Instruction> decode_at(const cpu::x86::State& state, std::span<const u8> code);

// A string instruction with a repeat prefix: a native engine may stop in the middle of it, the translator executes it whole.
bool repeats(const cpu::x86::Instruction& insn);

// MOV to SS or POP of it: a processor's step ends behind the instruction that follows (SDM volume 3, 6.8.3).
bool holds_traps(const cpu::x86::Instruction& insn);

// EFLAGS bits that it leaves undefined.
u64 undefined_flags(const cpu::x86::Instruction& insn, const cpu::x86::State& before);

// Makes alike what no two processors agree on in the instruction's results: time-stamp counter, random number and RDMSR are
// the native engine's, CPUID the other's.
void level_values(const cpu::x86::Instruction& insn, cpu::x86::State& native, cpu::x86::State& other);

// Accessed and dirty bits of the paging structures that `state` uses, in those of `pages` where nothing else differs, become
// those of `native`.
void level_tables(const cpu::x86::State& state, const devices::GuestMemory& native, devices::GuestMemory& other,
                  const std::vector<u64>& pages);

// The rows of docs/differences.md.
std::vector<std::string> catalogue();

}  // namespace tandem::accel::lockstep
