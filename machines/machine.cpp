#include "machines/machine.h"

#include <fmt/format.h>

#include <array>

#include "machines/device_properties.h"
#include "machines/pc/pc_machine.h"
#include "machines/virt/options.h"
#include "machines/virt/virt_machine.h"
#include "machines/virtio_devices.h"

namespace tandem::machines {
namespace {

struct TypeRow {
    const char* name;
    const char* help;
    Architecture architecture;
    Result<std::unique_ptr<Machine>> (*create)(MachineConfig, std::unique_ptr<accel::Accelerator>);
    std::string (*devices)();
    std::span<const PropertyRow> (*properties)();
};

constexpr std::array<TypeRow, 3> kTypes{{
    {"pc", "PC with PCI Express (Q35 kind), ACPI, 1 to 240 processors", Architecture::X86_64, pc::create_pc, pc::device_help,
     pc::machine_properties},
    {"q35", "the same, under QEMU's name", Architecture::X86_64, pc::create_pc, pc::device_help, pc::machine_properties},
    {"virt", "AArch64 board with GICv2 or GICv3, PCI Express, device tree, 1 to 16 processors", Architecture::Aarch64,
     virt::create_virt, virt::device_help, virt::machine_properties},
}};

template <class Backend>
Result<Backend> take_by_id(std::vector<std::pair<std::string, Backend>>& list, std::string_view what, std::string_view id) {
    std::string known;
    for (auto& [name, backend] : list) {
        if (name == id && backend) return std::move(backend);
        if (name == id) return Error{Errc::Busy, fmt::format("{} '{}' is used by another device", what, id)};
        known += (known.empty() ? "" : ", ") + name;
    }
    return Error{Errc::NotFound,
                 fmt::format("there is no {} '{}' (there are: {})", what, id, known.empty() ? "none" : known)};
}

}  // namespace

Result<std::unique_ptr<devices::BlockBackend>> take_drive(MachineConfig& config, std::string_view id) {
    return take_by_id(config.drives, "drive", id);
}
Result<std::unique_ptr<devices::CharBackend>> take_chardev(MachineConfig& config, std::string_view id) {
    for (const auto& [name, backend] : config.chardevs) {
        if (name != id || !backend || !backend->shared()) continue;
        if (auto end = backend->share()) return end;
        return Error{Errc::Busy, fmt::format("character device '{}' has as many users as it can have", id)};
    }
    return take_by_id(config.chardevs, "character device", id);
}
Result<std::unique_ptr<devices::NetBackend>> take_network(MachineConfig& config, std::string_view id) {
    return take_by_id(config.networks, "network", id);
}

namespace {

Result<const TypeRow*> find_type(std::string_view type) {
    std::string names;
    for (const auto& row : kTypes) {
        if (type == row.name) return &row;
        names += (names.empty() ? "" : ", ") + std::string(row.name);
    }
    return invalid(fmt::format("unknown machine type '{}' (known: {})", type, names));
}

}  // namespace

Result<std::unique_ptr<Machine>> create_machine(MachineConfig config, std::unique_ptr<accel::Accelerator> accelerator) {
    TANDEM_TRY_ASSIGN(const TypeRow* row, find_type(config.type));
    return row->create(std::move(config), std::move(accelerator));
}

Result<Architecture> machine_architecture(std::string_view type) {
    TANDEM_TRY_ASSIGN(const TypeRow* row, find_type(type));
    return row->architecture;
}

const char* run_state_name(RunState state) {
    constexpr const char* kNames[] = {"prelaunch", "running", "paused", "ended"};
    return kNames[static_cast<unsigned>(state)];
}

std::string machine_help() {
    std::string text;
    for (const auto& row : kTypes) text += fmt::format("{:<12}{}\n", row.name, row.help);
    return text;
}

std::string machine_property_help(std::string_view machine_type) {
    const auto row = find_type(machine_type);
    return row ? property_help((*row)->properties()) : std::string{};
}

std::string device_help(std::string_view machine_type) {
    const auto row = find_type(machine_type);
    return row ? (*row)->devices() : std::string{};
}

}  // namespace tandem::machines
