// One AArch64 vCPU on KVM.
#pragma once

#include <mutex>

#include "accel/kvm/arm64/registers.h"
#include "accel/kvm/arm64/system.h"
#include "accel/kvm/gate.h"
#include "accel/native.h"
#include "accel/registers.h"
#include "accel/vcpu_base.h"

namespace tandem::accel::kvm {

class Arm64KvmVcpu final : public VcpuBase, public NativeVcpu, public RegisterFile {
public:
    // All references must outlive the vCPU. open() completes construction.
    Arm64KvmVcpu(unsigned index, ExitHandler& handler, Arm64Shared& shared);
    Result<void> open();

    // Vcpu. Halts and PSCI's power states are KVM's: run() waits inside the kernel.
    Exit run() override { return run_guest(false); }
    Exit step() override { return run_guest(true); }
    [[nodiscard]] u64 exit_pc() const override;
    Result<void> export_state(cpu::ArchState& out) override;
    Result<void> import_state(const cpu::ArchState& in) override;
    Result<void> fetch_state(cpu::ArchState& out) override;
    Result<void> store_state(const cpu::ArchState& in) override;

    // CpuSignals
    void power_on(u64 entry, u64 context) override;

    // NativeVcpu
    [[nodiscard]] u64 entries() const override { return entries_; }
    Result<void> set_breakpoints(std::span<const u64> addresses) override;
    Result<void> take_written(std::vector<u64>& pages) override { return shared_.slots.take_written(shared_.vm, pages); }

    // RegisterFile
    Result<std::vector<RegisterInfo>> registers() override;
    Result<void> read_register(u64 id, std::span<u8> value) override;
    Result<void> write_register(u64 id, std::span<const u8> value) override;

private:
    // VcpuBase
    Result<std::optional<Exit>> enter(bool stepping) override;
    void prod() override;
    [[nodiscard]] Rest rest() const override { return {}; }
    Result<void> take_events() override;

    Result<void> initialise(bool powered_off);
    Exit run_guest(bool stepping);
    // The lines of the machine's interrupt controller, as KVM's processor is to have them.
    [[nodiscard]] u32 wanted_lines(bool stepping) const;
    Result<void> sync_lines(bool stepping);
    void report_timers();
    // Moves the guest's count to where the machine's clock has it: that stood still, or the guest has another offset.
    Result<void> sync_counter();
    [[nodiscard]] u64 machine_count();
    Result<void> set_debug(bool stepping);
    // Lets KVM finish the access that the last exit belongs to (contract U5).
    Result<void> complete();
    Result<void> check(u64 id, std::size_t size) const;

    std::optional<Exit> take_exit();
    std::optional<Exit> take_mmio();
    Exit take_debug();
    Exit take_system_event();

    Arm64Shared& shared_;
    Fd fd_;
    RunPage page_;
    std::vector<u64> ids_;            // of its registers, ascending
    std::vector<StateRegister> own_;  // of those, what State has

    // vCPU thread
    u64 entries_ = 0;
    u32 lines_ = 0;         // SignalWord's bits that KVM has
    u64 timer_levels_ = 0;  // outputs that the machine knows
    bool access_open_ = false;
    bool stepping_ = false;
    bool debug_known_ = true;  // the kernel has breakpoints_ and stepping_
    std::vector<u64> breakpoints_;

    std::mutex power_lock_;  // the next two; a leaf
    u64 entry_ = 0, context_ = 0;
    Gate gate_;
};

}  // namespace tandem::accel::kvm
