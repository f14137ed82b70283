// No PC on an AArch64 host, which has nothing that runs its processors.
#include <fmt/format.h>

#include "machines/pc/pc_machine.h"

namespace tandem::machines::pc {

Result<std::unique_ptr<Machine>> create_pc(MachineConfig config, std::unique_ptr<accel::Accelerator>) {
    return Error{Errc::Unsupported, fmt::format("-machine {}: x86-64 guests need an x86-64 host", config.type)};
}
std::string device_help() { return {}; }
std::span<const PropertyRow> machine_properties() { return {}; }

}  // namespace tandem::machines::pc
