#include "accel/trace.h"

namespace tandem::accel {
namespace {

struct Description {
    std::string_view reason;
    u64 info1 = 0;
    u64 info2 = 0;
};

// Exit reason names as KVM prints them for VMX (arch/x86/include/uapi/asm/vmx.h).
struct Describe {
    Description operator()(const PortExit& e) const { return {"IO_INSTRUCTION", io_qualification(e)}; }
    Description operator()(const MmioExit& e) const { return {"EPT_MISCONFIG", e.write ? u64{2} : u64{1}, e.address}; }
    Description operator()(const MsrExit& e) const { return {e.write ? "MSR_WRITE" : "MSR_READ"}; }
    Description operator()(const HypercallExit&) const { return {"VMCALL"}; }
    Description operator()(const HaltExit&) const { return {"HLT"}; }
    Description operator()(const ShutdownExit&) const { return {"TRIPLE_FAULT"}; }
    Description operator()(const DebugExit& e) const {
        return {e.reason == DebugExit::Reason::SingleStep ? "MONITOR_TRAP_FLAG" : "EXCEPTION_NMI", e.address};
    }
    Description operator()(const RequestedExit&) const { return {"REQUESTED"}; }
    Description operator()(const SystemEventExit&) const { return {"SYSTEM_EVENT"}; }
    Description operator()(const EmulationFailureExit&) const { return {"EMULATION_FAILURE"}; }
    Description operator()(const InternalErrorExit&) const { return {"INTERNAL_ERROR"}; }
};

struct Complete {
    std::string operator()(const PortExit& e) const {
        return fmt::format("kvm_pio: pio_{} at 0x{:x} size {} count 1 val 0x{:x}", e.write ? "write" : "read", e.port,
                           e.size, e.data);
    }
    std::string operator()(const MmioExit& e) const {
        return fmt::format("kvm_mmio: mmio {} len {} gpa 0x{:x} val 0x{:x}", e.write ? "write" : "read", e.size, e.address,
                           e.data);
    }
    std::string operator()(const MsrExit& e) const {
        return fmt::format("kvm_msr: msr_{} {:x} = 0x{:x}{}", e.write ? "write" : "read", e.index, e.data,
                           e.fault ? " (#GP)" : "");
    }
    std::string operator()(const HypercallExit& e) const {
        return fmt::format("kvm_hypercall: nr 0x{:x} a0 0x{:x} a1 0x{:x} a2 0x{:x} a3 0x{:x} result 0x{:x}", e.number,
                           e.args[0], e.args[1], e.args[2], e.args[3], e.result);
    }
    template <class T>
    std::string operator()(const T&) const {
        return {};
    }
};

}  // namespace

u64 io_qualification(const PortExit& e) {
    return (u64{e.size} - 1) | (e.write ? 0ull : 1ull) << 3 | (e.string ? 1ull : 0ull) << 4 | (e.rep ? 1ull : 0ull) << 5 |
           (e.immediate ? 1ull : 0ull) << 6 | u64{e.port} << 16;
}

void trace_exit(unsigned vcpu, u64 pc, const Exit& exit) {
    const Description d = std::visit(Describe{}, exit);
    log::trace(log::Exits, "kvm_exit: vcpu {} reason {} rip 0x{:x} info1 {:x} info2 {:x}", vcpu, d.reason, pc, d.info1,
               d.info2);
}

void trace_completion(const Exit& exit) {
    if (const std::string line = std::visit(Complete{}, exit); !line.empty()) log::write(line);
}

void trace_injection(unsigned vcpu, unsigned vector) {
    log::trace(log::Exits, "kvm_inj_virq: vcpu {} IRQ 0x{:x}", vcpu, vector);
}

void trace_entry(unsigned vcpu, u64 pc) { log::trace(log::Exits, "kvm_entry: vcpu {}, rip 0x{:x}", vcpu, pc); }

void trace_cpuid(unsigned vcpu, u64 pc, const CpuidAnswer& a) {
    if (!log::enabled(log::Exits)) return;
    log::write(fmt::format("kvm_exit: vcpu {} reason CPUID rip 0x{:x} info1 0 info2 0", vcpu, pc));
    log::write(fmt::format("kvm_cpuid: func {:x} idx {:x} rax {:x} rbx {:x} rcx {:x} rdx {:x}", a.leaf, a.subleaf, a.eax,
                           a.ebx, a.ecx, a.edx));
}

}  // namespace tandem::accel
