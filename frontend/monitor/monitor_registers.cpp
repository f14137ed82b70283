// Registers by number: any register of the chosen processor by its name.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "frontend/monitor/monitor_internal.h"
#include "machines/registers.h"

namespace tandem::frontend {
namespace {

using cpu::RegisterRow;

constexpr std::size_t kDigits = 2;  // of a byte

// The value of a register that is wider than an expression: all hexadecimal.
Result<std::vector<u8>> parse_wide(std::string_view text, const RegisterRow& row) {
    const std::string_view all = text;
    text.remove_prefix(2);  // 0x
    std::vector<u8> value(row.size);
    for (std::size_t i = 0; !text.empty(); ++i) {
        const std::string_view digits = text.substr(text.size() - std::min(text.size(), kDigits));
        text.remove_suffix(digits.size());
        unsigned byte = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
        if (error != std::errc{} || end != digits.data() + digits.size()) {
            return invalid(fmt::format("'{}' is no hexadecimal number", all));
        }
        if (i < value.size()) {
            value[i] = static_cast<u8>(byte);
        } else if (byte != 0) {
            return invalid(fmt::format("{} has {} bytes: {} does not fit", row.name, row.size, all));
        }
    }
    return value;
}

Result<std::vector<u8>> bytes_of(u64 number, const RegisterRow& row) {
    std::vector<u8> value(row.size);
    std::memcpy(value.data(), &number, std::min<std::size_t>(row.size, sizeof number));
    if (row.size >= sizeof number || number >> (8 * row.size) == 0) return value;
    return invalid(
        fmt::format("{} has {} byte{}: {:#x} does not fit", row.name, row.size, row.size == 1 ? "" : "s", number));
}

std::string list_rows(std::span<const RegisterRow> rows) {
    std::string text = fmt::format("{:<18} {:>5}  {:<9} {}\n", "id", "bytes", "class", "name");
    for (const RegisterRow& r : rows) {
        text += fmt::format("{:#018x} {:>5}  {:<9} {}{}\n", r.id, r.size, cpu::to_string(r.kind), r.name,
                            r.invariant ? " (invariant)" : "");
    }
    return text;
}

}  // namespace

Monitor::Answer Monitor::access_register(Arguments& arguments) {
    const auto name = arguments.word();
    const auto given = trimmed(arguments.rest);
    constexpr std::size_t kMostDigits = 2 + 2 * sizeof(u64);
    const bool wide = given.starts_with("0x") && given.size() > kMostDigits && given.find(' ') == std::string_view::npos;
    u64 narrow = 0;
    if (!given.empty() && !wide) {
        TANDEM_TRY_ASSIGN(narrow, number(given));
    }
    return inspect([&](const machines::MachineParts&) -> Answer {
        TANDEM_TRY_ASSIGN(auto registers, machines::registers_of(context_.machine, cpu_));
        if (name.empty()) return list_rows(registers.list());
        TANDEM_TRY_ASSIGN(const RegisterRow row, registers.find(name));
        if (!given.empty()) {
            TANDEM_TRY_ASSIGN(const auto value, wide ? parse_wide(given, row) : bytes_of(narrow, row));
            TANDEM_TRY(registers.write(row.id, value));
        }
        std::vector<u8> now(row.size);
        TANDEM_TRY(registers.read(row.id, now));
        return fmt::format("{} = {}\n", row.name, cpu::register_value_text(now));
    });
}

}  // namespace tandem::frontend
