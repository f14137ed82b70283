#include "devices/pci/lpc_bridge.h"

#include "base/bits.h"
#include "base/log.h"

namespace tandem::devices::pci {
namespace {

constexpr u16 kPmbase = 0x40, kAcpiControl = 0x44, kPirqA = 0x60, kPirqE = 0x68;
constexpr u32 kAcpiEnable = 0x80;
constexpr u64 kPmSize = 128;
constexpr u8 kRouteDisabled = 0x80;

constexpr Identity kIdentity{.vendor = 0x8086,
                             .device = 0x2918,
                             .revision = 0x02,
                             .class_code = 0x060100,
                             .subsystem_vendor = 0x8086,
                             .subsystem = 0x2918,
                             .multifunction = true};

constexpr std::array<ConfigField, 9> kRegisters{{
    {"PMBASE", kPmbase, 4, 1, 0x0000ff80},
    {"ACPI_CNTL", kAcpiControl, 1, 0, 0x87},
    {"GPIOBASE", 0x48, 4, 1, 0x0000ff80},
    {"GC", 0x4c, 1, 0, 0x11},
    {"PIRQ[A-D]_ROUT", kPirqA, 4, 0x80808080, 0x8f8f8f8f},
    {"SIRQ_CNTL", 0x64, 1, 0x10, 0xff},
    {"PIRQ[E-H]_ROUT", kPirqE, 4, 0x80808080, 0x8f8f8f8f},
    {"LPC_EN", 0x82, 2, 0, 0x3f0f},
    {"RCBA", 0xf0, 4, 0, 0xffffc001},
}};

}  // namespace

LpcBridge::LpcBridge(Wiring wiring) : PciFunction("lpc", kIdentity), wiring_(std::move(wiring)) {
    config().define(kRegisters);
    route_.fill(kRouteDisabled);
}

void LpcBridge::enable_pm(u16 base) {
    config().set(kPmbase, base | 1u, 4);
    config().set(kAcpiControl, kAcpiEnable, 1);
    place_pm();
}

void LpcBridge::reset() {
    reset_function();
    place_pm();
    reroute();
}

Result<void> LpcBridge::apply(const LpcBridgeState& state) {
    TANDEM_TRY(check_function(state.function));
    apply_function(state.function);
    place_pm();
    reroute();
    return {};
}

void LpcBridge::config_written(u16 offset, unsigned size) {
    const auto touches = [&](unsigned from, unsigned to) { return offset < to && from < offset + size; };
    if (touches(kPmbase, kAcpiControl + 1)) place_pm();
    if (touches(kPirqA, kPirqA + 4) || touches(kPirqE, kPirqE + 4)) reroute();
}

void LpcBridge::place_pm() {
    const bool on = (config().read(kAcpiControl, 1) & kAcpiEnable) != 0;
    const u64 wanted = on ? config().read(kPmbase, 4) & 0xff80u : 0;
    if (wanted == pm_base_ || wiring_.pm == nullptr) return;
    if (pm_base_ != 0) (void)wiring_.io->remove(pm_base_);
    pm_base_ = 0;
    if (wanted == 0) return;
    const auto added = wiring_.io->add({"ACPI power management", wanted, kPmSize, wiring_.pm});
    if (added.ok()) {
        pm_base_ = wanted;
    } else {
        log::trace(log::GuestErrors, "guest_errors: {}", added.error().message);
    }
}

void LpcBridge::set_pirq(unsigned index, bool level) {
    std::lock_guard guard(lock_);
    level_[index] = level;
    wiring_.gsi[index].set(level);
    drive_pic();
}

void LpcBridge::reroute() {
    std::lock_guard guard(lock_);
    for (unsigned i = 0; i < kPirqs; ++i) {
        route_[i] = static_cast<u8>(config().read(static_cast<u16>(i < 4 ? kPirqA + i : kPirqE + i - 4), 1));
    }
    drive_pic();
}

void LpcBridge::drive_pic() {
    u16 up = 0;
    for (unsigned i = 0; i < kPirqs; ++i) {
        if (level_[i] && (route_[i] & kRouteDisabled) == 0) up = static_cast<u16>(up | 1u << (route_[i] & 0xf));
    }
    for (unsigned irq = 0; irq < wiring_.pic.size(); ++irq) {
        if (bit(up ^ driven_, irq)) wiring_.pic[irq].set(bit(up, irq));
    }
    driven_ = up;
}

}  // namespace tandem::devices::pci
