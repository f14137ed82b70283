#include "accel/state_registers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace tandem::accel {

bool StateRegisters::msr_read(u32 index, u64& value) {
    Exit exit = MsrExit{index, false, true, 0};
    handler_.handle(vcpu_, exit);
    const auto& answer = std::get<MsrExit>(exit);
    value = answer.data;
    return !answer.fault;
}

bool StateRegisters::msr_write(u32 index, u64 value) {
    Exit exit = MsrExit{index, true, true, value};
    handler_.handle(vcpu_, exit);
    return !std::get<MsrExit>(exit).fault;
}

Result<void> StateRegisters::read(u64 id, std::span<u8> value) {
    // Before the state is asked for: it may be long in coming.
    TANDEM_TRY_ASSIGN([[maybe_unused]] const auto row, cpu::find_register(model_, id, value.size()));
    cpu::ArchState state;
    TANDEM_TRY(vcpu_.export_state(state));
    return cpu::read_register(model_, state, *this, id, value);
}

Result<void> StateRegisters::write(u64 id, std::span<const u8> value) {
    TANDEM_TRY_ASSIGN(const auto row, cpu::find_register(model_, id, value.size()));
    cpu::ArchState state;
    TANDEM_TRY(vcpu_.export_state(state));
    std::array<u8, cpu::kLargestRegister> bytes{};
    const std::span<u8> before(bytes.data(), value.size());
    TANDEM_TRY(cpu::read_register(model_, state, *this, id, before));
    cpu::ArchState next = state;
    if (auto written = cpu::write_register(model_, next, *this, id, value); !written) {
        Error error = std::move(written).error();
        if (error.code == Errc::Invariant) {
            error.message += phase_ == Phase::Later ? " (after the first run nothing changes it)"
                                                    : " (-cpu chooses it, with what the engine can do as the limit)";
        }
        return error;
    }
    if (next == state) return {};
    auto stored = vcpu_.import_state(next);
    if (stored.ok()) stored = check_kept(row, value, next);
    if (stored.ok()) return {};
    // Back to how it was, also what devices have.
    TANDEM_TRY(cpu::write_register(model_, next, *this, id, before));
    TANDEM_TRY(vcpu_.import_state(state));
    return std::move(stored).error().context(row.name);
}

// Whether the engine has what it was given.
Result<void> StateRegisters::check_kept(const cpu::RegisterRow& row, std::span<const u8> value,
                                        const cpu::ArchState& state) {
    if (row.counts) return {};
    cpu::ArchState kept;
    TANDEM_TRY(vcpu_.export_state(kept));
    if (kept == state) return {};
    std::array<u8, cpu::kLargestRegister> bytes{};
    const std::span<u8> now(bytes.data(), value.size());
    TANDEM_TRY(cpu::read_register(model_, kept, *this, row.id, now));
    if (std::ranges::equal(now, value)) return {};
    return Error{Errc::Unsupported, fmt::format("this engine keeps {} in place of {}", cpu::register_value_text(now),
                                                cpu::register_value_text(value))};
}

}  // namespace tandem::accel
