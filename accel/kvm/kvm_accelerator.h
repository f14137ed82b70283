// The engine on Linux's KVM (Documentation/virt/kvm/api.rst), by raw ioctls. Interrupt controllers are the machine's own
// models (contract I6): local interrupts enter by KVM_INTERRUPT, CR8 and the interrupt window through the kvm_run page, and
// the APIC's, kvmclock's and TSC-deadline MSRs leave to user space by an MSR filter.
//
// Signals (contract U6): the one documented signal is SIGUSR1, which the engine sends to a vCPU's thread inside run() or
// step() to make KVM_RUN return. While an accelerator exists it has a handler that does nothing, and what it had before
// afterwards; run() and step() let it through in their thread, and put the thread's mask back.
#pragma once

#include "accel/accelerator.h"
#include "cpu/x86/model.h"

namespace tandem::accel {

struct KvmOptions {
    // Who has the interrupt controllers: the machine's models; the kernel the local APICs and the models the others; or the
    // kernel all of them and the 8254.
    enum class Irqchip : u8 { User, Split, Kernel };
    Irqchip irqchip = Irqchip::User;
    // Sets guest TSCs by KVM_VCPU_TSC_CTRL where KVM has it; otherwise as on older kernels, by writing the MSR.
    bool tsc_control = true;
    // Stops at the breakpoints of a comparison (accel/native.h) by debug registers where they work; otherwise by HLT in the
    // guest's code, which is there while the guest runs only, and works in ring 0.
    bool debug_registers = true;
};

// Unsupported, Io: one line that says what is missing (/dev/kvm, permission, an extension) and what to do, or the features
// of the model that KVM does not offer: a guest sees the same processor on every engine. The model is copied.
Result<std::unique_ptr<Accelerator>> create_kvm_accelerator(const cpu::x86::CpuModel& model, KvmOptions options = {});

// Whether guests' TSCs can differ from the host's (docs/differences.md).
Result<bool> kvm_moves_tsc();

// `model` less what this host's KVM does not offer, which create_kvm_accelerator() then takes with the same controllers.
// Errors: those of /dev/kvm.
Result<cpu::x86::CpuModel> narrow_to_kvm(const cpu::x86::CpuModel& model,
                                         KvmOptions::Irqchip irqchip = KvmOptions::Irqchip::User);

// What guests of this host's KVM may use, for who executes instructions for it: what narrow_to_kvm() leaves or, where CPUID
// shows a guest more than KVM offers (docs/differences.md), all of `model`. Errors: those of /dev/kvm.
Result<cpu::x86::CpuModel> found_under_kvm(const cpu::x86::CpuModel& model);

}  // namespace tandem::accel
