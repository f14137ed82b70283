#include "cpu/numbered.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/bits.h"
#include "cpu/arm64/system/numbered.h"
#include "cpu/x86/system/numbered.h"

namespace tandem::cpu {
namespace {

constexpr u64 kWithoutSize = ~(u64{0xf} << 52);

bool has(const ArchModel& model, std::size_t row) {
    return std::visit([row](const auto& m) { return has_numbered(m, row); }, model);
}

Error absent(const ArchModel& model, const RegisterRow& row) {
    const std::string& name = std::visit([](const auto& m) -> const std::string& { return m.name(); }, model);
    return {Errc::Unsupported, fmt::format("{}: the features of processor '{}' lack it", row.name, name)};
}

bool same_name(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return std::ranges::equal(a, b, {}, lower, lower);
}

// The row's place.
Result<std::size_t> locate(const ArchModel& model, u64 id, std::size_t size) {
    const auto rows = all_registers(model);
    const auto number = [](const RegisterRow& r) { return r.id & mask(40); };
    const auto found = std::ranges::lower_bound(rows, id & mask(40), {}, number);
    if (found == rows.end() || (found->id & kWithoutSize) != (id & kWithoutSize)) {
        return Error{Errc::NotFound, fmt::format("there is no register with the id {:#018x}", id)};
    }
    if (size_in(id) != found->size || size != found->size) {
        return invalid(fmt::format("{} has {} byte{}, not {}", found->name, found->size, found->size == 1 ? "" : "s",
                                   size_in(id) != found->size ? size_in(id) : size));
    }
    const auto place = static_cast<std::size_t>(found - rows.begin());
    if (!has(model, place)) return absent(model, *found);
    return place;
}

Error foreign() { return invalid("state of another architecture"); }

Result<void> read_row(const ArchModel& model, const ArchState& state, RegisterSurroundings& around, std::size_t row,
                      std::span<u8> value) {
    if (const auto* m = std::get_if<x86::CpuModel>(&model)) {
        const auto* s = std::get_if<x86::State>(&state);
        return s != nullptr ? x86::read_numbered(*m, *s, around, row, value) : Result<void>(foreign());
    }
    const auto* s = std::get_if<arm64::State>(&state);
    if (s == nullptr) return foreign();
    return arm64::read_numbered(std::get<arm64::CpuModel>(model), *s, around, row, value);
}

Result<void> write_row(const ArchModel& model, ArchState& state, RegisterSurroundings& around, std::size_t row,
                       std::span<const u8> value) {
    if (const auto* m = std::get_if<x86::CpuModel>(&model)) {
        return x86::write_numbered(*m, std::get<x86::State>(state), around, row, value);
    }
    return arm64::write_numbered(std::get<arm64::CpuModel>(model), std::get<arm64::State>(state), around, row, value);
}

}  // namespace

std::string_view to_string(RegisterClass kind) {
    constexpr std::string_view kNames[] = {"", "general", "control", "segment", "vector", "debug", "system"};
    return kNames[static_cast<std::size_t>(kind) % std::size(kNames)];
}

std::span<const RegisterRow> all_registers(const ArchModel& model) {
    return std::holds_alternative<x86::CpuModel>(model) ? x86::numbered_rows() : arm64::numbered_rows();
}

std::vector<RegisterRow> registers_of(const ArchModel& model) {
    std::vector<RegisterRow> list;
    const auto rows = all_registers(model);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (has(model, i)) list.push_back(rows[i]);
    }
    return list;
}

Result<RegisterRow> find_register(const ArchModel& model, std::string_view name) {
    const auto rows = all_registers(model);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (!same_name(rows[i].name, name)) continue;
        if (!has(model, i)) return absent(model, rows[i]);
        return rows[i];
    }
    return Error{Errc::NotFound, fmt::format("there is no register '{}'", name)};
}

Result<RegisterRow> find_register(const ArchModel& model, u64 id, std::size_t size) {
    TANDEM_TRY_ASSIGN(const std::size_t row, locate(model, id, size));
    return all_registers(model)[row];
}

Result<void> read_register(const ArchModel& model, const ArchState& state, RegisterSurroundings& around, u64 id,
                           std::span<u8> value) {
    TANDEM_TRY_ASSIGN(const std::size_t row, locate(model, id, value.size()));
    return read_row(model, state, around, row, value);
}

Result<void> write_register(const ArchModel& model, ArchState& state, RegisterSurroundings& around, u64 id,
                            std::span<const u8> value) {
    TANDEM_TRY_ASSIGN(const std::size_t row, locate(model, id, value.size()));
    std::array<u8, kLargestRegister> bytes{};
    const std::span<u8> now(bytes.data(), value.size());
    TANDEM_TRY(read_row(model, state, around, row, now));
    if (std::ranges::equal(now, value)) return {};
    const RegisterRow& shown = all_registers(model)[row];
    if (!shown.invariant) return write_row(model, state, around, row, value);
    return Error{Errc::Invariant, fmt::format("{} stays {}: {} is another processor's", shown.name, register_value_text(now),
                                              register_value_text(value))};
}

}  // namespace tandem::cpu
