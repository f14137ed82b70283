// The AArch64 guest on an AArch64 host's KVM (Documentation/virt/kvm/api.rst and devices/, by raw ioctls). Guests run at EL1
// and EL0. KVM has the generic timers and PSCI (by HVC); the interrupt controller is KVM's own, which exchanges its state
// with the machine's model, or that model (contract I6), whose lines become those of KVM's processor.
//
// Signals (contract U6): as the x86 engine (accel/kvm/gate.h).
#pragma once

#include <memory>

#include "accel/accelerator.h"

namespace tandem::accel {

struct Arm64KvmOptions {
    // User: the machine's GICv2 model. KVM's own serves where the machine wants a GICv3, whose system registers do not leave
    // the kernel. Kernel: KVM's own; where it has no GICv2, the model.
    enum class Irqchip : u8 { User, Kernel } irqchip = Irqchip::Kernel;
};

// Unsupported, Io: one line that says what is missing (/dev/kvm, permission, an extension) and what to do.
Result<std::unique_ptr<Accelerator>> create_arm64_kvm_accelerator(Arm64KvmOptions options = {});

}  // namespace tandem::accel
