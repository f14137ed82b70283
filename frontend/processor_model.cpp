// What -cpu says.
#include "cpu/arm64/models/list.h"
#include "frontend/engine.h"
#include "machines/machine.h"
#include "machines/virt/options.h"

namespace tandem::frontend {

std::string cpu_help(const std::string& machine_type) {
    const auto architecture = machines::machine_architecture(machine_type);
    const bool arm64 = architecture.ok() && *architecture == machines::Architecture::Aarch64;
    return arm64 ? cpu::arm64::model_list() : cpu::x86::CpuModel::help();
}

Result<cpu::ArchModel> create_model(const Options& options) {
    TANDEM_TRY_ASSIGN(const auto architecture, machines::machine_architecture(options.machine));
    if (architecture == machines::Architecture::X86_64) {
        auto model = cpu::x86::CpuModel::create(options.cpu);
        if (!model) return std::move(model).error().context("-cpu");
        model->set_topology(options.topology);
        return cpu::ArchModel(std::move(model).value());
    }
    TANDEM_TRY_ASSIGN(const auto machine, machines::virt::parse_options(options.machine_properties, options.cpus));
    auto model = cpu::arm64::CpuModel::create(options.cpu);
    if (!model) return std::move(model).error().context("-cpu");
    model->set_el2(machine.virtualization);
    model->set_gic_registers(machine.gic_version == 3);
    return cpu::ArchModel(std::move(model).value());
}

}  // namespace tandem::frontend
