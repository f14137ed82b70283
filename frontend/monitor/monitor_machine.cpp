// Commands that show processors and devices.
#include <fmt/format.h>

#include <algorithm>

#include "frontend/monitor/monitor_internal.h"
#include "frontend/monitor/registers.h"

namespace tandem::frontend {
namespace {

using machines::MachineParts;
using nlohmann::json;

// IA32_APIC_BASE (SDM volume 3, 11.4.4 and 11.12.1).
constexpr u64 kX2apic = 1u << 10, kApicEnabled = 1u << 11;

// A device's saved state, one field a line; numbers that look like masks or addresses in hexadecimal.
void list_fields(const json& value, const std::string& name, std::string& text) {
    if (value.is_object()) {
        for (const auto& [key, field] : value.items()) list_fields(field, name.empty() ? key : name + "." + key, text);
        return;
    }
    if (value.is_array() && !value.empty() && value[0].is_structured()) {
        for (std::size_t i = 0; i < value.size(); ++i) list_fields(value[i], fmt::format("{}[{}]", name, i), text);
        return;
    }
    const auto scalar = [](const json& v) {
        if (v.is_number_unsigned()) return fmt::format("{:#x}", v.get<u64>());
        return v.dump(-1, ' ', false, json::error_handler_t::replace);
    };
    if (!value.is_array()) {
        text += fmt::format("  {} = {}\n", name, scalar(value));
        return;
    }
    constexpr std::size_t kShown = 64;
    std::string list;
    for (std::size_t i = 0; i < std::min(value.size(), kShown); ++i) list += " " + scalar(value[i]);
    if (value.size() > kShown) list += fmt::format(" ... ({} values)", value.size());
    text += fmt::format("  {} ={}\n", name, list);
}

std::string describe(const machines::NamedDevice& d) {
    const auto state = d.device->save();
    std::string text = fmt::format("{} (state version {})\n", d.name, state.version);
    list_fields(state.fields, "", text);
    return text;
}

std::string list_regions(std::string_view title, const devices::AddressSpace& space) {
    std::string text = fmt::format("{}\n", title);
    for (const auto& r : space.regions())
        text += fmt::format("  {:016x}-{:016x} {}\n", r.base, r.base + (r.size - 1), r.name);
    return text;
}

}  // namespace

Monitor::Answer Monitor::info_registers(Arguments& arguments) {
    const auto which = arguments.word();
    if (!which.empty() && which != "-a")
        return invalid(fmt::format("'info registers' does not know '{}' (known: -a)", which));
    return inspect([&](const MachineParts& parts) -> Answer {
        std::string text;
        for (unsigned i = 0; i < parts.vcpus.size(); ++i) {
            if (which.empty() && i != cpu_) continue;
            TANDEM_TRY_ASSIGN(const auto state, state_of(parts, i));
            text += fmt::format("{}CPU#{}\n{}", text.empty() ? "" : "\n", i, format_registers(state));
        }
        return text;
    });
}

Monitor::Answer Monitor::info_cpus(Arguments&) {
    return inspect([this](const MachineParts& parts) -> Answer {
        std::string text;
        for (unsigned i = 0; i < parts.vcpus.size(); ++i) {
            TANDEM_TRY_ASSIGN(const auto s, state_of(parts, i));
            text += fmt::format("{} CPU #{}: pc={:#018x} {}\n", i == cpu_ ? '*' : ' ', i, program_counter(s), activity(s));
        }
        return text;
    });
}

Monitor::Answer Monitor::info_mtree(Arguments&) {
    return inspect([](const MachineParts& parts) -> Answer {
        std::string text = "memory\n";
        for (const auto& r : parts.memory.ranges()) {
            text += fmt::format("  {:016x}-{:016x} {}{}\n", r.gpa, r.gpa + (r.size - 1), r.name,
                                r.readonly ? " (read-only)" : "");
        }
        text += list_regions("memory-mapped devices", parts.mmio);
        // Each x86 processor has its own in front of the bus, where its APIC base says.
        for (unsigned i = 0; i < parts.vcpus.size(); ++i) {
            TANDEM_TRY_ASSIGN(const auto any, state_of(parts, i));
            const auto* state = std::get_if<cpu::x86::State>(&any);
            if (state == nullptr || (state->msr.apic_base & (kApicEnabled | kX2apic)) != kApicEnabled) continue;
            const u64 base = state->msr.apic_base & ~u64{0xfff};
            text += fmt::format("  {:016x}-{:016x} local APIC of CPU #{}\n", base, base + 0xfff, i);
        }
        return text + list_regions("I/O ports", parts.io);
    });
}

Monitor::Answer Monitor::info_qtree(Arguments&) {
    return inspect([](const MachineParts& parts) -> Answer {
        std::string text = fmt::format("machine: {}\n", parts.type);
        for (const auto& d : parts.devices) text += fmt::format("  dev: {}\n", d.name);
        for (const auto& d : parts.drives) text += fmt::format("  drive: {}\n", d.name);
        return text;
    });
}

Monitor::Answer Monitor::info_device(Arguments& arguments) {
    // A name may have an id with a space before it.
    const std::string name(trimmed(arguments.rest));
    return inspect([&](const MachineParts& parts) -> Answer {
        std::string known;
        for (const auto& d : parts.devices) {
            if (d.name == name) return describe(d);
            known += (known.empty() ? "" : ", ") + d.name;
        }
        return Error{Errc::NotFound, fmt::format("there is no device '{}' (there are: {})", name, known)};
    });
}

// The states of all devices whose names begin so.
Monitor::Answer Monitor::device_states(std::span<const std::string_view> prefixes) {
    return inspect([&](const MachineParts& parts) -> Answer {
        std::string text;
        for (const auto& d : parts.devices) {
            const auto matches = [&](std::string_view prefix) { return d.name.starts_with(prefix); };
            if (std::ranges::any_of(prefixes, matches)) text += describe(d);
        }
        return text.empty() ? std::string("There is none.\n") : text;
    });
}

Monitor::Answer Monitor::info_pic(Arguments&) {
    constexpr std::string_view kNames[] = {"pic", "gic"};
    return device_states(kNames);
}
Monitor::Answer Monitor::info_ioapic(Arguments&) {
    constexpr std::string_view kNames[] = {"ioapic"};
    return device_states(kNames);
}
Monitor::Answer Monitor::info_lapic(Arguments&) {
    Arguments own{};
    const std::string name = fmt::format("lapic{}", cpu_);
    own.rest = name;
    return info_device(own);
}
Monitor::Answer Monitor::info_network(Arguments&) {
    constexpr std::string_view kNames[] = {"virtio-net"};
    std::string text;
    for (const auto& line : context_.networks) text += line + "\n";
    TANDEM_TRY_ASSIGN(const std::string cards, device_states(kNames));
    return text + cards;
}

Monitor::Answer Monitor::info_irq(Arguments&) {
    constexpr std::string_view kNames[] = {"pic", "ioapic", "lapic", "gic"};
    return device_states(kNames);
}

Monitor::Answer Monitor::info_exits(Arguments&) {
    return inspect([this](const MachineParts&) -> Answer { return context_.machine.exit_counts(); });
}

}  // namespace tandem::frontend
