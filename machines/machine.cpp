#include "machines/machine.h"

#include <fmt/format.h>

#include <array>

#include "machines/pc/pc_machine.h"

namespace tandem::machines {
namespace {

struct TypeRow {
    const char* name;
    const char* help;
    Result<std::unique_ptr<Machine>> (*create)(MachineConfig, std::unique_ptr<accel::Accelerator>);
};

constexpr std::array<TypeRow, 2> kTypes{{
    {"pc", "PC with PCI Express (Q35 kind), ACPI, 1 to 8 processors", pc::create_pc},
    {"q35", "the same, under QEMU's name", pc::create_pc},
}};

}  // namespace

Result<std::unique_ptr<Machine>> create_machine(MachineConfig config, std::unique_ptr<accel::Accelerator> accelerator) {
    for (const auto& row : kTypes) {
        if (config.type == row.name) return row.create(std::move(config), std::move(accelerator));
    }
    std::string names;
    for (const auto& row : kTypes) names += (names.empty() ? "" : ", ") + std::string(row.name);
    return invalid(fmt::format("unknown machine type '{}' (known: {})", config.type, names));
}

std::string machine_help() {
    std::string text;
    for (const auto& row : kTypes) text += fmt::format("{:<12}{}\n", row.name, row.help);
    return text;
}

std::string device_help() { return pc::device_help(); }

}  // namespace tandem::machines
