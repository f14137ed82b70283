// One vCPU on KVM.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "accel/accelerator.h"
#include "accel/debugger.h"
#include "accel/kvm/gate.h"
#include "accel/kvm/kernel.h"
#include "accel/kvm/kvm_accelerator.h"
#include "accel/kvm/slots.h"
#include "accel/native.h"
#include "accel/unhalt.h"
#include "accel/vcpu_base.h"
#include "cpu/x86/decode/instruction.h"
#include "cpu/x86/model.h"
#include "cpu/x86/state.h"

namespace tandem::accel::kvm {

// The MSRs that move a guest's TSC: they leave to the engine, for which the machine's clock keeps the time.
constexpr u32 kMsrTsc = 0x10, kMsrTscAdjust = 0x3b;
// Registers of the local APIC.
constexpr u32 kMsrApicBase = 0x1b, kMsrTscDeadline = 0x6e0, kMsrEoi = 0x4b564d04;

// What the vCPUs of a machine share.
struct Shared {
    System system;
    Fd vm;
    KvmOptions::Irqchip irqchip = KvmOptions::Irqchip::User;
    [[nodiscard]] bool apic_in_kernel() const { return irqchip != KvmOptions::Irqchip::User; }
    // Guest TSC less host TSC, before a guest's own offset; all vCPUs have the same.
    std::atomic<u64> tsc_base{0};
    // Without KVM_VCPU_TSC_CTRL: the offset that KVM took from the last write of a vCPU's TSC, under the lock.
    std::mutex tsc_lock;
    std::optional<u64> tsc_written;
    std::atomic<u64> exits{0}, kicks{0};
    KickHandler kick_handler;
    Slots slots;  // while no vCPU runs, or by the only one
};

class KvmVcpu final : public VcpuBase, public NativeVcpu, public UnhaltVcpu, public DebuggedVcpu {
public:
    // All references must outlive the vCPU. open() completes construction.
    KvmVcpu(unsigned index, ExitHandler& handler, Shared& shared, const cpu::x86::CpuModel& model);
    Result<void> open(std::span<const kvm_cpuid_entry2> cpuid);

    // Vcpu
    Exit run() override;
    Exit step() override;
    void begin_runs() override { open_.emplace(); }
    void end_runs() override { open_.reset(); }
    [[nodiscard]] u64 exit_pc() const override;
    Result<void> export_state(cpu::ArchState& out) override;
    Result<void> import_state(const cpu::ArchState& in) override;
    Result<void> fetch_state(cpu::ArchState& out) override;
    Result<void> store_state(const cpu::ArchState& in) override;
    [[nodiscard]] bool step_shows() override;

    // The local APIC in the kernel. While nobody runs the vCPU.
    Result<void> store_apic(const devices::LapicState& apic);
    Result<void> fetch_apic(devices::LapicState& apic);

    // UnhaltVcpu
    void raise_unhalt() override { signal(kUnhaltSignal); }
    [[nodiscard]] bool unhalt_waits() const override { return (signals().peek() & kUnhaltSignal) != 0; }

    // DebuggedVcpu
    Result<void> set_debugger(std::span<const Breakpoint> breakpoints) override;

    // NativeVcpu
    Result<void> set_breakpoints(std::span<const u64> addresses) override;
    [[nodiscard]] u64 entries() const override { return entries_; }
    Result<void> take_written(std::vector<u64>& pages) override;

private:
    // VcpuBase
    Result<std::optional<Exit>> enter(bool stepping) override;
    void prod() override;
    [[nodiscard]] devices::CpuInterruptController* timekeeper() override { return &controller_; }
    [[nodiscard]] Rest rest() const override;
    Result<void> take_events() override;

    Exit run_guest(bool stepping);
    Exit step_guest(bool past_breakpoints);
    // Null where the guest has no memory that can be written, or no translation.
    [[nodiscard]] u8* guest_byte(u64 linear) const;
    [[nodiscard]] cpu::x86::DecodeStatus decode_next(const kvm_regs& regs, const kvm_sregs& special,
                                                     cpu::x86::Instruction& out) const;
    // One KVM_RUN.
    Result<void> enter_kernel(bool stepping);
    std::optional<Exit> take_exit();
    Exit take_halt();
    void take_io();
    void take_mmio();
    std::optional<Exit> take_msr(bool write);
    std::optional<Exit> take_hypercall();
    // What run() needs for itself answers no request to leave.
    Exit debug_exit(DebugExit exit) { return past_breakpoints_ || pass_ ? Exit(exit) : finish(exit); }
    std::optional<Exit> take_debug();
    std::optional<Exit> take_hits(u64 hits, bool stepped);
    Exit take_internal_error();
    Exit take_system_event();

    [[nodiscard]] bool nothing_waits() const;
    Result<void> inject();
    [[nodiscard]] bool event_came() const;
    Result<void> inject_vector(int vector);
    Result<void> take_unhalt();
    Result<void> store_activity(cpu::x86::Activity activity);
    Result<void> fetch_activity();
    [[nodiscard]] bool has_eoi() const { return model_.has(cpu::x86::Feature::KVM_PV_EOI); }
    void sync_cr8();
    // The machine's clock less the host's counter, in cycles, and by how much that may be wrong.
    struct TscBase {
        u64 value, error;
    };
    TscBase tsc_base();
    Result<void> sync_tsc();
    Result<void> set_kernel_tsc(u64 offset);
    // By how many cycles KVM's TSC lacks to the host's counter + offset, read in `width` cycles: wrong by half of them at
    // most.
    struct TscLag {
        u64 behind, width;
    };
    Result<TscLag> kernel_tsc_lag(u64 offset);
    Result<void> write_kernel_tsc(u64 offset);
    Result<u64> access_kernel_msr(unsigned long request, u32 index, u64 value);
    Result<void> move_kernel_tsc(u64 offset);
    // RDMSR and WRMSR of what moves the guest's TSC. False: #GP(0).
    Result<bool> access_tsc_msr(u32 index, bool write, u64& value);
    // Lets KVM finish the access that the last exit belongs to (contract U5), and take the vector that it was given last.
    Result<void> complete();
    Result<void> complete_access();
    Result<void> settle_vector();
    [[nodiscard]] bool interrupts_enabled() const;

    Result<cpu::x86::State> fetch();
    Result<void> store(const cpu::x86::State& s);
    Result<void> store_special(const cpu::x86::State& s);
    Result<void> store_extended(const cpu::x86::State& s);
    Result<void> store_msrs(const cpu::x86::State& s);
    Result<void> fetch_msrs(cpu::x86::State& s);
    Result<void> set_debug(bool stepping);
    // Breakpoints where the processor's do not work: HLT in the guest's code, as far as it is mapped, until it stops.
    [[nodiscard]] bool plants() const;
    void plant_breakpoints();
    void lift_breakpoints();
    // Whether the halt that the guest stopped at is one of them; then it stands before the instruction again.
    Result<bool> stands_at_planted();
    // Debug registers as KVM is to have them: the guest's own, and the debugger's in those that are left.
    Result<void> share_debug_registers(kvm_guest_debug& debug);
    Result<void> watch_debug_registers();
    Result<void> give_debug_exception(u64 hits, bool fault);

    devices::CpuInterruptController& controller_;
    Shared& shared_;
    const cpu::x86::CpuModel& model_;
    Fd fd_;
    RunPage page_;

    // vCPU thread
    cpu::x86::Activity activity_ = cpu::x86::Activity::Running;
    bool ready_for_interrupt_ = false;  // KVM would take one now
    int untaken_vector_ = -1;           // of an acknowledged 8259, which KVM did not take yet: it has one
    bool eoi_offered_ = false;          // of the vector that was injected last: it may end without an access
    bool vector_given_ = false;         // and KVM's own APIC may still hold it
    bool access_open_ = false;          // the last exit's access is completed by the next KVM_RUN
    u64 entries_ = 0;
    u64 returns_ = 0;      // of the current run()
    bool failed_ = false;  // the last exit is an emulation failure
    bool stepping_ = false;
    bool debug_known_ = true;  // the kernel has breakpoints_ and stepping_
    std::vector<u64> breakpoints_;
    struct Planted {
        u8* at;
        u8 was;
    };
    std::vector<Planted> planted_;
    // A debugger's, and what has become of them.
    std::vector<Breakpoint> debugger_;
    std::array<const Breakpoint*, 4> owner_{};  // of the processor's registers; null: the guest
    kvm_debugregs guest_debug_{};               // the guest's own when they were shared out
    bool past_breakpoints_ = false;             // a step that no breakpoint of the debugger's stops
    bool pass_ = false;                         // run() has to make one
    bool overfull_said_ = false;
    std::optional<u64> told_;               // pc of the instruction at which the debugger was told of a breakpoint
    std::optional<cpu::x86::State> known_;  // what the kernel has: set by fetch(), until the guest runs on
    u64 tsc_offset_ = 0, tsc_adjust_ = 0;   // the guest's own
    std::optional<u64> kernel_tsc_;         // guest TSC less host TSC, as KVM has it
    Gate gate_;
    std::optional<KickOpen> open_;  // from begin_runs() to end_runs()
};

}  // namespace tandem::accel::kvm
