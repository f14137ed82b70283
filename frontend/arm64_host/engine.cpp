// -accel on an AArch64 host: its KVM. The translator generates code for x86-64 hosts.
#include "frontend/engine.h"

#include <fmt/format.h>

#include "accel/kvm/arm64/arm64_kvm.h"
#include "frontend/lists.h"

namespace tandem::frontend {
namespace {

constexpr std::string_view kKvmProperties = "irqchip, stats";
using Irqchip = accel::Arm64KvmOptions::Irqchip;

Result<Irqchip> parse_irqchip(std::string_view name) {
    if (name == "kernel") return Irqchip::Kernel;
    if (name == "user") return Irqchip::User;
    return invalid(fmt::format("-accel kvm: irqchip is kernel or user, not '{}'", name));
}

Result<Engine> create_kvm(PropertyList p) {
    Engine engine;
    TANDEM_TRY_ASSIGN(engine.print_statistics, p.take_bool("stats", false));
    accel::Arm64KvmOptions kvm;
    TANDEM_TRY_ASSIGN(kvm.irqchip, parse_irqchip(p.take("irqchip", "kernel")));
    TANDEM_TRY(p.finish(kKvmProperties, "kvm"));
    TANDEM_TRY_ASSIGN(engine.accelerator, accel::create_arm64_kvm_accelerator(kvm));
    TANDEM_TRY_ASSIGN(engine.model, cpu::arm64::CpuModel::named("host"));
    return engine;
}

}  // namespace

std::string engine_help() { return help_line("kvm", kKvmProperties); }

Result<Engine> create_engine(const cpu::ArchModel& arch, const Options& options) {
    const auto* model = std::get_if<cpu::arm64::CpuModel>(&arch);
    if (model == nullptr) {
        return Error{Errc::Unsupported, fmt::format("-machine {}: this is an AArch64 host, which runs AArch64 guests on KVM "
                                                    "(-machine virt)",
                                                    options.machine)};
    }
    if (model->name() != "host" && model->name() != "max") {
        return Error{Errc::Unsupported,
                     fmt::format("-cpu {}: KVM gives guests this host's processor (-cpu host)", model->name())};
    }
    if (model->changed()) {
        return Error{Errc::Unsupported,
                     fmt::format("-cpu {}: KVM gives guests this host's processor as it is (-cpu host)", options.cpu)};
    }
    const PropertyList chosen = options.accel.empty() ? PropertyList{} : options.accel.front();
    if (!chosen.head.empty() && chosen.head != "kvm") {
        return Error{
            Errc::Unsupported,
            fmt::format("-accel {}: an AArch64 host has kvm alone: the translator needs an x86-64 host", chosen.head)};
    }
    return create_kvm(chosen);
}

}  // namespace tandem::frontend
