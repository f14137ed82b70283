// Conversion between the architectural state and KVM's structures (api.rst 4.11 to 4.48). Pure functions: no ioctls.
#pragma once

#include <span>
#include <vector>

#include "accel/kvm/kvm_types.h"
#include "base/result.h"
#include "cpu/x86/state.h"

namespace tandem::accel::kvm {

void to_kvm(const cpu::x86::State& s, kvm_regs& r);
void from_kvm(const kvm_regs& r, cpu::x86::State& s);

// CR8 belongs to the local APIC and is passed in.
void to_kvm(const cpu::x86::State& s, u8 cr8, kvm_sregs2& r);
void from_kvm(const kvm_sregs2& r, cpu::x86::State& s);
// The older structure, for kernels without KVM_CAP_SREGS2: no PDPTEs, which KVM then reads from memory.
void narrow(const kvm_sregs2& in, kvm_sregs& out);
void widen(const kvm_sregs& in, kvm_sregs2& out);

void to_kvm(const cpu::x86::State& s, kvm_debugregs& r);
void from_kvm(const kvm_debugregs& r, cpu::x86::State& s);

// Pending and injected events, interrupt shadows, NMI blocking. `payload`: KVM_CAP_EXCEPTION_PAYLOAD is enabled.
void to_kvm(const cpu::x86::State& s, bool payload, kvm_vcpu_events& e);
void from_kvm(const kvm_vcpu_events& e, cpu::x86::State& s);

// Every MSR that is state and that KVM lists (or always has: the memory types').
std::vector<kvm_msr_entry> to_msrs(const cpu::x86::State& s, std::span<const u32> supported);
// Ignores indices that are no state.
void from_msr(const kvm_msr_entry& e, cpu::x86::State& s);

}  // namespace tandem::accel::kvm
