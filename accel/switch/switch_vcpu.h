// One vCPU that exists on several engines, of which one runs it at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "accel/debugger.h"
#include "accel/unhalt.h"
#include "accel/vcpu_base.h"

namespace tandem::accel {

class SwitchVcpu final : public Vcpu, public UnhaltVcpu, public DebuggedVcpu {
public:
    // `hand_offs` counts instructions executed for another engine; it must outlive the vCPU.
    SwitchVcpu(unsigned index, std::size_t engines, std::atomic<u64>& hand_offs)
        : index_(index), hand_offs_(hand_offs), engines_(engines) {}

    // Takes in this vCPU on engine `engine`, before that one is used. vCPU thread or while nobody runs it.
    Result<void> add(std::size_t engine, std::unique_ptr<Vcpu> vcpu);
    [[nodiscard]] bool has(std::size_t engine) const { return engines_[engine] != nullptr; }
    // Moves the state to `engine`, which runs the vCPU from then on. While nobody runs it.
    Result<void> change(std::size_t engine);
    // `engine` executes what the current one cannot; null: nobody does.
    // `one_at_a_time`: it reaches the machine's interrupt controllers and not those that the current engine has of its own,
    // so it does no instruction that it need not.
    void set_helper(VcpuBase* helper, bool one_at_a_time = false) {
        helper_ = helper;
        one_at_a_time_ = one_at_a_time;
    }
    [[nodiscard]] VcpuBase* on(std::size_t engine) const { return engines_[engine]; }

    // Vcpu
    [[nodiscard]] unsigned index() const override { return index_; }
    Exit run() override { return execute(false); }
    Exit step() override { return execute(true); }
    void begin_runs() override { current()->begin_runs(); }
    void end_runs() override { current()->end_runs(); }
    void request_exit() override { signal(SignalWord::ExitRequest); }
    void wait_for_event() override { current()->wait_for_event(); }
    [[nodiscard]] u64 exit_pc() const override { return current()->exit_pc(); }
    Result<void> export_state(cpu::ArchState& out) override { return current()->export_state(out); }
    Result<void> import_state(const cpu::ArchState& in) override {
        told_.reset();
        return current()->import_state(in);
    }

    // CpuSignals
    void set_line(devices::CpuLine line, bool level) override;
    void raise_nmi() override { signal(SignalWord::Nmi); }
    void raise_init() override { signal(SignalWord::Init); }
    void raise_sipi(u8 vector) override;

    // UnhaltVcpu
    void raise_unhalt() override { signal(kUnhaltSignal); }
    [[nodiscard]] bool unhalt_waits() const override { return (signals_.peek() & kUnhaltSignal) != 0; }

    // DebuggedVcpu: on every engine that has it; Unsupported where the current one has not.
    Result<void> set_debugger(std::span<const Breakpoint> breakpoints) override;

private:
    [[nodiscard]] VcpuBase* current() const { return current_.load(std::memory_order_acquire); }
    [[nodiscard]] bool helped() const { return helper_ != nullptr && helper_ != current(); }
    void signal(u32 bits);
    Exit execute(bool stepping);
    // One instruction, by the helper where the current engine's own means of stepping would show (contract D1).
    Exit step_unseen();
    // The helper executes the instruction that the current engine stopped at, and some that follow where that pays. Nothing:
    // go on.
    Result<std::optional<Exit>> hand_off(bool stepping);
    [[nodiscard]] unsigned instructions_to_hand_off();

    const unsigned index_;
    std::atomic<u64>& hand_offs_;
    SignalWord signals_;
    std::vector<std::unique_ptr<Vcpu>> owned_;
    std::vector<VcpuBase*> engines_;
    std::atomic<VcpuBase*> current_{nullptr};
    VcpuBase* helper_ = nullptr;
    bool one_at_a_time_ = false;
    cpu::ArchState state_;  // on its way
    std::vector<Breakpoint> debugger_;
    std::optional<u64> told_;  // pc of the instruction at which run() has told the debugger of a breakpoint
    unsigned burst_ = 1;
    std::chrono::steady_clock::time_point last_hand_off_{};
};

}  // namespace tandem::accel
