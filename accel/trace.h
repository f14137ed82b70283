// Exit traces in the form of KVM's tracepoints (contract T1), so that a trace of either engine can be compared with the
// other's and with a recorded hardware trace. Lines go to the logger.
#pragma once

#include "accel/exit.h"
#include "base/log.h"

namespace tandem::cpu::x86 {
struct NestedEvent;
}

namespace tandem::accel {

// The exit itself: "kvm_exit: vcpu 0 reason IO_INSTRUCTION rip 0x... info1 1f00039 info2 0". info1 is the exit qualification
// (Intel SDM vol. 3, 28.2.1, table 28-5 for I/O instructions).
void trace_exit(unsigned vcpu, u64 pc, const Exit& exit);
// What the access did, once its answer is known: kvm_pio, kvm_mmio, kvm_msr, kvm_sys_access, kvm_hypercall
// lines.
void trace_completion(const Exit& exit);
// An external interrupt was taken: "kvm_inj_virq: vcpu 0 IRQ 0x30".
void trace_injection(unsigned vcpu, unsigned vector);

// The vCPU goes (back) into guest code from the run loop: "kvm_entry: vcpu 0, rip 0x...". An access that the engine
// completes without leaving run() has no entry line.
void trace_entry(unsigned vcpu, u64 pc);
// CPUID, which engines answer without the machine: the exit, and "kvm_cpuid: func 1 idx 0 rax ... rbx ... rcx ... rdx ...".
struct CpuidAnswer {
    u32 leaf = 0, subleaf = 0;
    u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
};
void trace_cpuid(unsigned vcpu, u64 pc, const CpuidAnswer& answer);

// A guest hypervisor's doings (contract T3): kvm_nested_vmrun; kvm_nested_vmexit and kvm_nested_vmexit_inject, after a
// kvm_nested_intr_vmexit where an interrupt is the reason; kvm_invlpga; kvm_skinit. Reasons are named as by KVM for SVM.
void trace_nested(const cpu::x86::NestedEvent& event);

// The encoding of a port access's exit qualification.
u64 io_qualification(const PortExit& exit);

}  // namespace tandem::accel
