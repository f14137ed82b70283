// The guest's CPUID under KVM: the model's answers, less what this host's KVM does not offer.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "accel/kvm/kvm_accelerator.h"
#include "accel/kvm/kvm_types.h"
#include "cpu/x86/model.h"

namespace tandem::accel::kvm {

struct GuestCpuid {
    std::vector<kvm_cpuid_entry2> entries;
    std::vector<std::string> left_out;  // features of the model that the guest does not get, by their registers' bits
};

// The model less what KVM does not offer: guest_cpuid() then leaves nothing out.
cpu::x86::CpuModel narrow(const cpu::x86::CpuModel& model, std::span<const kvm_cpuid_entry2> supported,
                          KvmOptions::Irqchip irqchip);

// `supported`: KVM_GET_SUPPORTED_CPUID's. OSXSAVE, the APIC bit and XSAVE sizes that depend on control registers are kept
// up to date by KVM itself.
GuestCpuid guest_cpuid(const cpu::x86::CpuModel& model, std::span<const kvm_cpuid_entry2> supported,
                       KvmOptions::Irqchip irqchip, const cpu::x86::CpuModel::Dynamic& dynamic);

}  // namespace tandem::accel::kvm
