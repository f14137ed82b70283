#include "devices/misc/pvpanic.h"

namespace tandem::devices {
namespace {

constexpr pci::Identity kIdentity{
    .vendor = 0x1b36, .device = 0x0011, .class_code = 0x088000, .subsystem_vendor = 0x1af4, .subsystem = 0x1100};
constexpr u64 kBarSize = 4096;  // a page, so that it can be given away on its own

}  // namespace

PanicFunction::PanicFunction(std::function<void(bool)> panicked)
    : PciFunction("pvpanic-pci", kIdentity), port_(std::move(panicked)) {
    add_bar(0, pci::BarKind::Memory32, kBarSize, port_);
}

Result<void> PanicFunction::apply(const PanicFunctionState& state) {
    TANDEM_TRY(check_function(state.function));
    apply_function(state.function);
    return {};
}

}  // namespace tandem::devices
