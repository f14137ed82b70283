// What a processor needs from the machine around it, apart from memory. The engine's vCPU implements it; cpu/x86 helpers
// call it. All functions: the vCPU's own thread, no locks held by the caller.
#pragma once

#include "base/types.h"

namespace tandem::cpu::x86 {

struct CpuidResult;
struct NestedEvent;

// How an instruction accesses a port, beside its number and size.
struct PortForm {
    bool string = false;  // INS, OUTS: one element of it
    bool rep = false;
    bool immediate = false;  // the number is in the instruction, not in DX
};

class Platform {
public:
    virtual ~Platform() = default;

    // size: 1, 2 or 4. Unclaimed ports read as all ones.
    virtual u32 port_in(u16 port, unsigned size, PortForm form) = 0;
    virtual void port_out(u16 port, u32 value, unsigned size, PortForm form) = 0;

    // MSRs that are not in State::msr (x2APIC, TSC deadline, kvmclock ...). False: #GP(0).
    virtual bool msr_read(u32 index, u64& value) = 0;
    virtual bool msr_write(u32 index, u64 value) = 0;
    // IA32_APIC_BASE was written (already validated for reserved bits). False: #GP(0).
    virtual bool apic_base_write(u64 value) = 0;

    // CR8 / APIC TPR are one value (contract I7); 4 bits.
    virtual u8 cr8_read() = 0;
    virtual void cr8_write(u8 value) = 0;

    // An unmasked external interrupt is waiting (INTR). acknowledge() takes it: its vector, or -1 if it went away.
    virtual bool interrupt_pending() = 0;
    virtual int acknowledge_interrupt() = 0;
    // NMI latched since the last call.
    virtual bool take_nmi() = 0;

    // An INIT that was held (State::svm) is to be taken now.
    virtual void repeat_init() {}

    // Host-scaled guest time-stamp counter before State::msr.tsc_offset.
    virtual u64 tsc() = 0;
    // State::msr.tsc_offset is now `offset`: whatever else counts in the guest's time-stamp counter (the APIC's deadline
    // timer, kvmclock) follows (SDM volume 3, 18.17.3).
    virtual void tsc_offset_changed(u64 /*offset*/) {}

    // For CPUID: this processor's APIC id, the number of processors, and the frequency of tsc() (0: unknown).
    virtual u32 apic_id() { return 0; }
    virtual u32 cpu_count() { return 1; }
    virtual u32 tsc_khz() { return 0; }

    // CPUID answered, for traces.
    virtual void cpuid_answered(u32 /*leaf*/, u32 /*subleaf*/, const CpuidResult& /*result*/) {}

    // VMRUN, #VMEXIT and what else a hypervisor does, for traces.
    virtual void nested_event(const NestedEvent& /*event*/) {}

    // VMCALL/VMMCALL at CPL 0, operands already truncated to the mode's width. The result goes to RAX (contract H1).
    virtual u64 hypercall(u64 number, u64 a0, u64 a1, u64 a2, u64 a3) = 0;

    // FERR#: an x87 instruction met a pending unmasked exception with CR0.NE = 0 (IRQ 13 on a PC). It executes regardless,
    // as if IGNNE# were asserted.
    virtual void fpu_error() {}

    // The processor shut down (triple fault) at `rip`.
    virtual void shutdown(u64 rip) = 0;
};

}  // namespace tandem::cpu::x86
