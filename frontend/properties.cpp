#include <fmt/format.h>

#include <cctype>
#include <charconv>
#include <limits>

#include "frontend/options.h"

namespace tandem::frontend {
namespace {

// Splits at single commas; ",," stands for a comma.
std::vector<std::string> split_commas(std::string_view text) {
    std::vector<std::string> parts(1);
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != ',') {
            parts.back() += text[i];
        } else if (i + 1 < text.size() && text[i + 1] == ',') {
            parts.back() += ',';
            ++i;
        } else {
            parts.emplace_back();
        }
    }
    return parts;
}

}  // namespace

PropertyList parse_properties(std::string_view text, bool implied_head) {
    PropertyList list;
    bool first = true;
    for (auto& part : split_commas(text)) {
        const auto equals = part.find('=');
        if (equals != std::string::npos) {
            list.items.emplace_back(part.substr(0, equals), part.substr(equals + 1));
        } else if (first && implied_head) {
            list.head = part;
        } else if (!part.empty()) {
            list.items.emplace_back(part, "on");
        }
        first = false;
    }
    return list;
}

std::string PropertyList::take(std::string_view key, std::string fallback) {
    for (auto it = items.begin(); it != items.end(); ++it) {
        if (it->first != key) continue;
        std::string value = it->second;
        items.erase(it);
        return value;
    }
    return fallback;
}

Result<bool> PropertyList::take_bool(std::string_view key, bool fallback) {
    const std::string text = take(key, fallback ? "on" : "off");
    if (text == "on" || text == "yes" || text == "true") return true;
    if (text == "off" || text == "no" || text == "false") return false;
    return invalid(fmt::format("property '{}': '{}' is neither on nor off", key, text));
}

Result<u64> PropertyList::take_number(std::string_view key, u64 fallback) {
    const std::string text = take(key);
    if (text.empty()) return fallback;
    auto value = parse_size(text);
    if (!value) return std::move(value).error().context(fmt::format("property '{}'", key));
    return *value;
}

Result<void> PropertyList::finish(std::string_view known, std::string_view what) const {
    if (items.empty()) return {};
    return invalid(fmt::format("{}{}unknown property '{}' (known: {})", what, what.empty() ? "" : ": ", items.front().first,
                               known.empty() ? "none" : known));
}

namespace {

// The digits after a point, in units of 2^shift, rounded down. Advances `at` to `last`; false: these are not digits.
bool take_fraction(const char*& at, const char* last, unsigned shift, u64& value) {
    constexpr std::ptrdiff_t kMaxDigits = 6;  // of up to 2^40 in 64 bits
    u64 digits = 0, unit = 1;
    if (at == last || last - at > kMaxDigits) return false;
    for (; at != last; ++at, unit *= 10) {
        if (*at < '0' || *at > '9') return false;
        digits = digits * 10 + static_cast<u64>(*at - '0');
    }
    value = (digits << shift) / unit;
    return true;
}

}  // namespace

Result<u64> parse_size(std::string_view text) {
    std::string_view digits = text;
    unsigned shift = 0;
    int base = 10;
    if (digits.starts_with("0x") || digits.starts_with("0X")) {
        base = 16;
        digits.remove_prefix(2);
    } else if (!digits.empty()) {
        constexpr std::string_view kSuffixes = "KMGT";
        const auto at = kSuffixes.find(static_cast<char>(std::toupper(static_cast<unsigned char>(digits.back()))));
        if (at != std::string_view::npos) {
            shift = static_cast<unsigned>(at + 1) * 10;
            digits.remove_suffix(1);
        }
    }
    u64 value = 0, fraction = 0;
    const char* const last = digits.data() + digits.size();
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    bool good = error == std::errc{} && value <= (std::numeric_limits<u64>::max() >> shift);
    if (good && shift != 0 && end != last && *end == '.') good = take_fraction(++end, last, shift, fraction);
    if (!good || end != last) return invalid(fmt::format("'{}' is not a number", text));
    return (value << shift) + fraction;
}

}  // namespace tandem::frontend
