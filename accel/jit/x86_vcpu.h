// One x86 vCPU on the translator.
#pragma once

#include "accel/debugger.h"
#include "accel/jit/jit_vcpu.h"
#include "accel/unhalt.h"
#include "cpu/x86/debugger.h"
#include "cpu/x86/model.h"
#include "cpu/x86/platform.h"
#include "cpu/x86/random_source.h"
#include "cpu/x86/translate_state.h"

namespace tandem::accel {

class X86JitVcpu final : public JitVcpu,
                         public cpu::x86::Platform,
                         public cpu::x86::RandomSource,
                         public UnhaltVcpu,
                         public DebuggedVcpu {
public:
    // All references must outlive the vCPU. attach() completes construction.
    X86JitVcpu(unsigned index, ExitHandler& handler, const cpu::x86::CpuModel& model, std::atomic<u64>& sought_pc);

    // ExactVcpu
    void seek(const cpu::ArchState* target) override;

    // Vcpu
    [[nodiscard]] u64 exit_pc() const override { return state_->s.rip; }
    Result<void> export_state(cpu::ArchState& out) override;
    Result<void> import_state(const cpu::ArchState& in) override;
    Result<void> fetch_state(cpu::ArchState& out) override;
    Result<void> store_state(const cpu::ArchState& in) override;

    // UnhaltVcpu
    void raise_unhalt() override { signal(kUnhaltSignal); }
    [[nodiscard]] bool unhalt_waits() const override { return (signals().peek() & kUnhaltSignal) != 0; }

    // DebuggedVcpu
    Result<void> set_debugger(std::span<const Breakpoint> breakpoints) override;

    // cpu::x86::Platform
    u32 port_in(u16 port, unsigned size, cpu::x86::PortForm form) override;
    void port_out(u16 port, u32 value, unsigned size, cpu::x86::PortForm form) override;
    bool msr_read(u32 msr, u64& value) override;
    bool msr_write(u32 msr, u64 value) override;
    bool apic_base_write(u64 value) override;
    u8 cr8_read() override;
    void cr8_write(u8 value) override;
    bool interrupt_pending() override;
    int acknowledge_interrupt() override;
    bool take_nmi() override;
    void repeat_init() override { signal(SignalWord::Init); }
    u64 tsc() override;
    void tsc_offset_changed(u64 offset) override;
    void fpu_error() override;
    u32 apic_id() override { return model_.topology(cpu_count()).apic_id(index_); }
    u32 cpu_count() override { return handler_.cpu_count(); }
    u32 tsc_khz() override { return static_cast<u32>(handler_.tsc_hz() / 1000); }
    void cpuid_answered(u32 leaf, u32 subleaf, const cpu::x86::CpuidResult& result) override;
    void nested_event(const cpu::x86::NestedEvent& event) override;
    u64 hypercall(u64 number, u64 a0, u64 a1, u64 a2, u64 a3) override;
    void shutdown(u64 rip) override;

    // cpu::x86::RandomSource
    bool random(u64& value) override;

private:
    void construct(void* state) override;
    [[nodiscard]] devices::CpuInterruptController* timekeeper() override { return &controller_; }
    [[nodiscard]] Rest rest() const override;
    Result<void> take_events() override;
    std::optional<DebugExit> take_stop(bool stepping) override;
    void begin(bool stepping) override { debugger_.stepping = stepping; }

    const cpu::x86::CpuModel& model_;
    std::atomic<u64>& sought_pc_;
    std::array<u64, 16> sought_{};  // general registers
    devices::CpuInterruptController& controller_;
    cpu::x86::Debugger debugger_;
    cpu::x86::TranslateState* state_ = nullptr;
};

}  // namespace tandem::accel
