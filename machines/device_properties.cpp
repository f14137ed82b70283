#include "machines/device_properties.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace tandem::machines {
namespace {

bool parse(std::string_view text, int base, u64& value) {
    if (text.starts_with("0x") || text.starts_with("0X")) {
        text.remove_prefix(2);
        base = 16;
    }
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

}  // namespace

Result<void> DeviceProperties::check() const {
    for (const auto& [key, value] : given_) {
        const auto known = [&key](const PropertyRow& row) { return key == row.name; };
        if (!(has_id_ && key == "id") && std::ranges::none_of(rows_, known)) {
            std::string names;
            for (const auto& row : rows_) names += (names.empty() ? "" : ", ") + std::string(row.name);
            return invalid(fmt::format("{} has no property '{}' (known: {})", owner_, key, names));
        }
        const auto same = [&k = key](const auto& p) { return p.first == k; };
        if (std::ranges::count_if(given_, same) > 1) {
            return invalid(fmt::format("{}: property '{}' is given twice", owner_, key));
        }
    }
    return {};
}

std::optional<std::string> DeviceProperties::text(std::string_view name) const {
    for (const auto& [key, value] : given_) {
        if (key == name) return value;
    }
    return {};
}

Result<u64> DeviceProperties::number(std::string_view name, u64 fallback, u64 lowest, u64 highest) const {
    const auto given = text(name);
    if (!given) return fallback;
    u64 value = 0;
    if (!parse(*given, 10, value) || value < lowest || value > highest) {
        return invalid(
            fmt::format("{}: property '{}' is '{}', not a number from {} to {}", owner_, name, *given, lowest, highest));
    }
    return value;
}

Result<bool> DeviceProperties::flag(std::string_view name, bool fallback) const {
    const auto given = text(name);
    if (!given) return fallback;
    if (*given == "on" || *given == "true" || *given == "yes") return true;
    if (*given == "off" || *given == "false" || *given == "no") return false;
    return invalid(fmt::format("{}: property '{}' is '{}', neither on nor off", owner_, name, *given));
}

Result<std::optional<DeviceProperties::PciAddress>> DeviceProperties::pci_address() const {
    const auto given = text("addr");
    if (!given) return std::optional<PciAddress>{};
    const std::string_view all = *given;
    const auto dot = all.find('.');
    u64 slot = 0, function = 0;
    const bool good = parse(all.substr(0, dot), 16, slot) && slot < 32 &&
                      (dot == std::string_view::npos || (parse(all.substr(dot + 1), 16, function) && function < 8));
    if (!good) {
        return invalid(
            fmt::format("{}: property 'addr' is '{}', not SLOT[.FUNCTION] in hexadecimal (1f.7 at most)", owner_, *given));
    }
    return std::optional(PciAddress{static_cast<unsigned>(slot), static_cast<unsigned>(function)});
}

}  // namespace tandem::machines
