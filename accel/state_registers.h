// A vCPU's registers by number through its state, the same on every engine (contracts R1 to R3; ids: cpu/numbered.h).
#pragma once

#include <span>
#include <vector>

#include "accel/accelerator.h"
#include "cpu/numbered.h"

namespace tandem::accel {

// On the vCPU's thread or while nobody runs it, with the machine stopped. All references must outlive it.
class StateRegisters final : private cpu::RegisterSurroundings {
public:
    // Whether the vCPU has run: what its CPU model says can be chosen until then, by -cpu, and cannot afterwards.
    enum class Phase : u8 { BeforeFirstRun, Later };
    // `handler` answers for what devices have; `model` is that of the vCPU.
    StateRegisters(Vcpu& vcpu, ExitHandler& handler, const cpu::ArchModel& model, Phase phase)
        : vcpu_(vcpu), handler_(handler), model_(model), phase_(phase) {}

    // The registers that the vCPU's features give it, by class and number.
    [[nodiscard]] std::vector<cpu::RegisterRow> list() const { return cpu::registers_of(model_); }
    // By name, upper and lower case alike. Errors as cpu::find_register().
    [[nodiscard]] Result<cpu::RegisterRow> find(std::string_view name) const { return cpu::find_register(model_, name); }

    // `value` has the register's size. Errors: those of cpu/numbered.h, and the engine's.
    Result<void> read(u64 id, std::span<u8> value);
    // The machine is unchanged after an error. Besides those of cpu/numbered.h: Unsupported where the engine does not keep
    // the value.
    Result<void> write(u64 id, std::span<const u8> value);

private:
    // cpu::RegisterSurroundings
    [[nodiscard]] u64 count() override { return handler_.tsc(vcpu_.index()); }
    [[nodiscard]] u64 count_hz() override { return handler_.tsc_hz(); }
    bool msr_read(u32 index, u64& value) override;
    bool msr_write(u32 index, u64 value) override;
    [[nodiscard]] u8 cr8() override { return handler_.interrupt_controller(vcpu_.index()).cr8(); }
    void set_cr8(u8 value) override { handler_.interrupt_controller(vcpu_.index()).set_cr8(value); }
    [[nodiscard]] unsigned index() const override { return vcpu_.index(); }

    Result<void> check_kept(const cpu::RegisterRow& row, std::span<const u8> value, const cpu::ArchState& state);

    Vcpu& vcpu_;
    ExitHandler& handler_;
    const cpu::ArchModel& model_;
    const Phase phase_;
};

}  // namespace tandem::accel
