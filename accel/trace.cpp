#include "accel/trace.h"

#include "base/bits.h"

namespace tandem::accel {
namespace {

// ESR_ELx.ISS of a trapped MSR or MRS without the register number (Arm ARM, D17.2.37).
u64 syndrome(const SystemRegisterExit& e) {
    const u64 op0 = bits(e.encoding, 15, 14), op1 = bits(e.encoding, 13, 11), crn = bits(e.encoding, 10, 7);
    const u64 crm = bits(e.encoding, 6, 3), op2 = bits(e.encoding, 2, 0);
    return op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1 | (e.write ? 0u : 1u);
}

struct Description {
    std::string_view reason;
    u64 info1 = 0;
    u64 info2 = 0;
};

// Exit reason names as KVM prints them: for VMX (arch/x86/include/uapi/asm/vmx.h), and for what only Arm has by exception
// class (arch/arm64/include/asm/kvm_arm.h), where info1 is the syndrome.
struct Describe {
    Description operator()(const PortExit& e) const { return {"IO_INSTRUCTION", io_qualification(e)}; }
    Description operator()(const MmioExit& e) const { return {"EPT_MISCONFIG", e.write ? u64{2} : u64{1}, e.address}; }
    Description operator()(const MsrExit& e) const { return {e.write ? "MSR_WRITE" : "MSR_READ"}; }
    Description operator()(const SystemRegisterExit& e) const { return {"SYS64", syndrome(e)}; }
    Description operator()(const HypercallExit& e) const {
        if (e.conduit == HypercallExit::Conduit::Vmcall) return {"VMCALL"};
        return {e.conduit == HypercallExit::Conduit::Hvc ? "HVC64" : "SMC64", e.immediate};
    }
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
    std::string operator()(const SystemRegisterExit& e) const {
        const u16 r = e.encoding;
        constexpr std::string_view kNotes[] = {" (undefined)", "", " (trapped)"};
        return fmt::format("kvm_sys_access: Op0({}) Op1({}) CRn({}) CRm({}) Op2({}) {} 0x{:x}{}", bits(r, 15, 14),
                           bits(r, 13, 11), bits(r, 10, 7), bits(r, 6, 3), bits(r, 2, 0), e.write ? "write" : "read", e.data,
                           kNotes[static_cast<unsigned>(e.answer)]);
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
