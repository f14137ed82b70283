// One vCPU on KVM.
#pragma once

#include <atomic>
#include <csignal>
#include <memory>
#include <span>

#include "accel/accelerator.h"
#include "accel/kvm/kernel.h"
#include "accel/signals.h"
#include "cpu/x86/state.h"

namespace tandem::accel::kvm {

// The kvm_run page that the kernel shares with the vCPU's thread.
class RunPage {
public:
    RunPage() = default;
    ~RunPage();
    RunPage(const RunPage&) = delete;
    RunPage& operator=(const RunPage&) = delete;
    Result<void> map(const Fd& vcpu, int size);
    kvm_run* operator->() const { return run_; }
    [[nodiscard]] u8* at(u64 offset) const { return reinterpret_cast<u8*>(run_) + offset; }

private:
    kvm_run* run_ = nullptr;
    std::size_t size_ = 0;
};

// What the vCPUs of a machine share.
struct Shared {
    System system;
    Fd vm;
    // Guest TSC less host TSC, before a guest's own offset; all vCPUs have the same.
    std::atomic<u64> tsc_base{0};
    std::atomic<u64> exits{0}, kicks{0};
};

class KvmVcpu final : public Vcpu {
public:
    // All references must outlive the vCPU. open() completes construction.
    KvmVcpu(unsigned index, ExitHandler& handler, Shared& shared);
    Result<void> open(std::span<const kvm_cpuid_entry2> cpuid);

    // Vcpu
    [[nodiscard]] unsigned index() const override { return index_; }
    Exit run() override;
    Exit step() override;
    void request_exit() override;
    void wait_for_event() override;
    [[nodiscard]] u64 exit_pc() const override;
    Result<void> export_state(cpu::ArchState& out) override;
    Result<void> import_state(const cpu::ArchState& in) override;

    // CpuSignals
    void set_line(devices::CpuLine line, bool level) override;
    void raise_nmi() override;
    void raise_init() override;
    void raise_sipi(u8 vector) override;

private:
    // Runs until an exit that is the caller's. `stepping`: one instruction, no interrupt delivered first.
    Exit run_guest(bool stepping);
    Result<void> enter(bool stepping);
    std::optional<Exit> take_exit();
    std::optional<Exit> take_io();
    std::optional<Exit> take_mmio();
    std::optional<Exit> take_msr(bool write);
    std::optional<Exit> take_hypercall();
    Exit take_debug();
    Exit take_internal_error();
    Exit take_system_event();
    Exit failed(const Error& error);

    Result<void> set_signal_mask(const sigset_t& outside);
    void kick();
    void await_kick();
    Result<void> inject();
    void sync_cr8();
    Result<void> sync_tsc();
    Result<void> take_init_and_sipi();
    // Lets KVM finish the access that the last exit belongs to (contract U5).
    Result<void> complete();
    [[nodiscard]] bool asleep() const;
    [[nodiscard]] bool interrupts_enabled() const;
    Exit finish(Exit exit);
    Exit halt();

    Result<cpu::x86::State> fetch();
    Result<void> store(const cpu::x86::State& s);
    Result<void> store_msrs(const cpu::x86::State& s);
    Result<void> fetch_msrs(cpu::x86::State& s);
    Result<void> set_debug(bool stepping);

    const unsigned index_;
    ExitHandler& handler_;
    devices::CpuInterruptController& controller_;
    Shared& shared_;
    Fd fd_;
    RunPage page_;

    // vCPU thread
    cpu::x86::Activity activity_ = cpu::x86::Activity::Running;
    bool ready_for_interrupt_ = false;  // KVM would take one now
    bool access_open_ = false;          // the last exit's access is completed by the next KVM_RUN
    bool stepping_ = false;
    bool signal_mask_set_ = false;
    u64 tsc_offset_ = 0;  // the guest's own
    u64 tsc_base_ = 0;    // the one that KVM has

    // Any thread
    SignalWord signals_;
    std::atomic<int> thread_{0};       // of the vCPU, while KVM_RUN may be entered; else 0
    std::atomic<bool> kicked_{false};  // a signal is on its way to it
};

}  // namespace tandem::accel::kvm
