// What an x86 vCPU can do beyond Vcpu for KVM_HC_KICK_CPU (Linux Documentation/virt/kvm/x86/hypercalls.rst).
#pragma once

#include "base/types.h"

namespace tandem::accel {

// Bit of the SignalWord: a request that waits.
constexpr u32 kUnhaltSignal = 1u << 6;

class UnhaltVcpu {
public:
    virtual ~UnhaltVcpu() = default;
    // Ends the halt that the processor is in, whether it takes interrupts or not, or else its next one; several requests end
    // one. import_state() and INIT forget it. Any thread.
    virtual void raise_unhalt() = 0;
    // Whether a request waits for a halt. It is no part of the vCPU's state. Any thread.
    [[nodiscard]] virtual bool unhalt_waits() const = 0;
};

}  // namespace tandem::accel
