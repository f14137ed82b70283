#include "devices/pci/generic_host.h"

namespace tandem::devices::pci {
namespace {

// Red Hat's identity of a generic PCI Express host (QEMU's documentation, docs/specs/pci-ids).
constexpr Identity kIdentity{
    .vendor = 0x1b36, .device = 0x0008, .class_code = 0x060000, .subsystem_vendor = 0x1af4, .subsystem = 0x1100};

}  // namespace

GenericHost::GenericHost() : PciFunction("pcie-host", kIdentity) {}

Result<void> GenericHost::apply(const GenericHostState& state) {
    TANDEM_TRY(check_function(state.function));
    apply_function(state.function);
    return {};
}

}  // namespace tandem::devices::pci
