#include "frontend/options_platform.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <ctime>

namespace tandem::frontend {
namespace {

// "YYYY-MM-DD" with "THH:MM:SS" behind it or not, in UTC.
Result<i64> parse_date(const std::string& text) {
    std::tm t{};
    const char* end = ::strptime(text.c_str(), "%Y-%m-%d", &t);
    if (end != nullptr && *end == 'T') end = ::strptime(end, "T%H:%M:%S", &t);
    if (end == nullptr || *end != '\0') {
        return invalid(
            fmt::format("base={} is none of utc, localtime and a date (YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS)", text));
    }
    return static_cast<i64>(::timegm(&t));
}

// What the clock shows at first, minus UTC.
Result<i64> base_offset(const std::string& base) {
    const std::time_t now = std::time(nullptr);
    if (base == "utc") return i64{0};
    if (base == "localtime") {
        std::tm local{};
        ::localtime_r(&now, &local);
        return static_cast<i64>(local.tm_gmtoff);
    }
    TANDEM_TRY_ASSIGN(const i64 date, parse_date(base));
    return date - static_cast<i64>(now);
}

}  // namespace

Result<void> set_rtc(Options& o, std::string_view value) {
    PropertyList p = parse_properties(value, false);
    TANDEM_TRY_ASSIGN(o.rtc.offset_s, base_offset(p.take("base", "utc")));
    const std::string clock = p.take("clock", "host");
    const std::string drift = p.take("driftfix", "slew");
    if (clock != "host" && clock != "vm" && clock != "rt") {
        return invalid(fmt::format("clock={} is not supported (known: host, rt, vm)", clock));
    }
    if (drift != "slew" && drift != "none") return invalid(fmt::format("unknown driftfix '{}' (known: none, slew)", drift));
    o.rtc.follows_host = clock != "vm";
    o.rtc.makes_up_ticks = drift == "slew";
    return p.finish("base, clock, driftfix");
}

Result<void> set_boot(Options& o, std::string_view value) {
    PropertyList p = parse_properties(value, true);
    o.boot.order = p.take("order", p.head);
    TANDEM_TRY_ASSIGN(o.boot.menu, p.take_bool("menu", false));
    TANDEM_TRY_ASSIGN(o.boot.strict, p.take_bool("strict", false));
    TANDEM_TRY(p.finish("order, menu, strict"));
    for (std::size_t i = 0; i < o.boot.order.size(); ++i) {
        const char letter = o.boot.order[i];
        if (std::strchr("acdn", letter) == nullptr || o.boot.order.find(letter, i + 1) != std::string::npos) {
            return invalid(
                fmt::format("order={} is not a choice of a (diskette), c (disk), d (CD-ROM), n (network)", o.boot.order));
        }
    }
    return {};
}

Result<void> add_smbios(Options& o, std::string_view value) {
    const PropertyList p = parse_properties(value, false);
    unsigned type = 256;
    for (const auto& [key, text] : p.items) {
        if (key != "type") continue;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), type);
        if (error != std::errc{} || end != text.data() + text.size() || type > 255) {
            return invalid(fmt::format("type={} is not 0 to 255", text));
        }
    }
    if (type > 255) return invalid("needs type=N");
    for (const auto& [key, text] : p.items) {
        if (key != "type") o.smbios.push_back({type, key, text});
    }
    return {};
}

// What the guest does, and what becomes of the machine.
Result<void> set_run_action(Options& o, std::string_view value) {
    using machines::OnPanic;
    struct Row {
        std::string_view event, action;
        void (*apply)(Options& o);
    };
    static constexpr std::array kActions{
        Row{"reboot", "reset", [](Options& x) { x.no_reboot = false; }},
        Row{"reboot", "shutdown", [](Options& x) { x.no_reboot = true; }},
        Row{"shutdown", "poweroff", [](Options& x) { x.no_shutdown = false; }},
        Row{"shutdown", "pause", [](Options& x) { x.no_shutdown = true; }},
        Row{"panic", "none", [](Options& x) { x.on_panic = OnPanic::Report; }},
        Row{"panic", "pause", [](Options& x) { x.on_panic = OnPanic::Pause; }},
        Row{"panic", "shutdown", [](Options& x) { x.on_panic = OnPanic::End; }},
        Row{"panic", "exit-failure", [](Options& x) { x.on_panic = OnPanic::Fail; }},
    };
    for (const auto& [event, action] : parse_properties(value, false).items) {
        const auto row = std::ranges::find_if(
            kActions, [&e = event, &a = action](const Row& r) { return r.event == e && r.action == a; });
        if (row == kActions.end()) {
            return invalid(
                fmt::format("'{}={}' is unknown (known: reboot=reset|shutdown, shutdown=poweroff|pause, "
                            "panic=none|pause|shutdown|exit-failure)",
                            event, action));
        }
        row->apply(o);
    }
    return {};
}

}  // namespace tandem::frontend
