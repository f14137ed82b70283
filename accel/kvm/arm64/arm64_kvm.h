// The AArch64 guest on an AArch64 host's KVM (Documentation/virt/kvm/api.rst and devices/, by raw ioctls). Guests run at EL1
// and EL0. KVM has the generic timers and PSCI (by HVC); the interrupt controller is the machine's model (contract I6),
// whose lines become those of KVM's processor, or KVM's own, where the machine asks for it.
//
// Signals (contract U6): as the x86 engine (accel/kvm/gate.h).
#pragma once

#include <memory>

#include "accel/accelerator.h"

namespace tandem::accel {

// KVM's interrupt controller, with the addresses that the machine gives it (contract I1).
struct KernelGicConfig {
    unsigned version = 2;  // or 3
    unsigned cpus = 1;     // vCPUs that there will be
    unsigned spis = 32;    // a multiple of 32, at most 960
    u64 distributor = 0;
    u64 cpu_interface = 0;   // GICv2
    u64 redistributors = 0;  // GICv3: consecutive, 128 KiB each
};

// A register of the controller, as its own frames and names have it (devices/arm-vgic.rst, arm-vgic-v3.rst).
struct KernelGicRegister {
    enum class Part : u8 { Distributor, CpuInterface, Redistributor, System } part = Part::Distributor;
    unsigned cpu = 0;  // whose, for all that is not shared
    u32 at = 0;        // offset in the frame; System: devices/fabric/system_register.h
};

class Arm64KvmAccelerator : public Accelerator {
public:
    // Contract I5: once, and before the first vCPU; else Busy. Unsupported: this host's KVM has no such controller.
    virtual Result<void> create_gic(const KernelGicConfig& config) = 0;
    // Inputs, with GIC interrupt numbers: 32 and more are shared, 16 to 31 of `cpu`. Any thread. NotFound: no controller, or
    // no such input.
    virtual Result<void> set_gic_input(unsigned cpu, unsigned number, bool level) = 0;
    // While no vCPU runs. NotFound: no controller, or no such register of it.
    virtual Result<u64> gic_register(const KernelGicRegister& which) = 0;
    virtual Result<void> set_gic_register(const KernelGicRegister& which, u64 value) = 0;
};

// Unsupported, Io: one line that says what is missing (/dev/kvm, permission, an extension) and what to do.
Result<std::unique_ptr<Arm64KvmAccelerator>> create_arm64_kvm_accelerator();

}  // namespace tandem::accel
