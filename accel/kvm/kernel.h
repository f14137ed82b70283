// What an x86 host's KVM is and can do.
#pragma once

#include <span>
#include <vector>

#include "accel/kvm/device.h"

namespace tandem::accel::kvm {

// What this host's KVM is and can do, asked once.
struct System {
    Fd fd;
    int vcpu_map_size = 0;
    bool sync_regs = false;
    bool sregs2 = false;
    bool exception_payload = false;
    bool tsc_offset = false;              // KVM_VCPU_TSC_CTRL
    bool tsc_fixed = false;               // guests read the host's counter, whatever offset was set
    bool shows_host_cpuid = false;        // guests find features by CPUID that they were not given
    bool step_blocks_interrupts = false;  // KVM_GUESTDBG_BLOCKIRQ
    bool enforces_features = false;       // KVM_CAP_ENFORCE_PV_FEATURE_CPUID
    bool exits_on_failure = false;        // KVM_CAP_EXIT_ON_EMULATION_FAILURE
    bool breakpoints = true;              // of KVM_SET_GUEST_DEBUG stop guests
    int xsave_size = 0;
    std::vector<u32> msrs;  // that KVM saves and restores
    std::vector<kvm_cpuid_entry2> cpuid;
};

// What VMX keeps a task-state segment of its own in (api.rst 4.26): below the firmware, where no board has memory.
constexpr unsigned long kTssArea = 0xfeffd000;

// Asks a guest of its own what /dev/kvm does not tell: features that KVM lists and refuses to have switched on, which leave
// `system`; whether a guest's CPUID shows what it was given; and whether a guest's TSC moves by the offset that
// KVM_VCPU_TSC_CTRL sets, where an implementation without virtualization hardware may take the offset and let RDTSC read the
// host's counter; and whether a breakpoint of KVM_SET_GUEST_DEBUG stops a guest, which a processor without the debug
// registers of a guest's saved state (APM volume 2, 15.5.1) loses.
Result<void> probe(System& system);

// Gives a vCPU its CPUID.
Result<void> set_cpuid(const Fd& vcpu, std::span<const kvm_cpuid_entry2> entries);

// Opens /dev/kvm, checks that everything the engine needs is there, and probes it.
Result<System> open_system();

}  // namespace tandem::accel::kvm
