#include "devices/pci/host_bridge.h"

#include "base/bits.h"
#include "base/log.h"

namespace tandem::devices::pci {
namespace {

constexpr u16 kPciexbar = 0x60;
constexpr u32 kPciexbarEnable = 1;

// SMRAM's registers that are not there: ESMRAMC (5.1), and those by which firmware asks a virtual machine for memory of this
// kind (OVMF's Include/IndustryStandard/Q35MchIch9.h).
constexpr u16 kEsmramc = 0x9e, kSmbaseControl = 0x9c;

constexpr Identity kIdentity{.vendor = 0x8086,
                             .device = 0x29c0,
                             .revision = 0x02,
                             .class_code = 0x060000,
                             .subsystem_vendor = 0x1af4,  // by which firmware knows a virtual machine
                             .subsystem = 0x1100};

// 5.1: only what software on this machine may touch.
constexpr std::array<ConfigField, 5> kRegisters{{
    {"PCIEXBAR", kPciexbar, 4, 0, 0xf0000007},
    {"PCIEXBAR (high)", kPciexbar + 4, 4, 0, 0x0000000f},
    {"PAM0-3", 0x90, 4, 0, 0x33333330},
    {"PAM4-6", 0x94, 4, 0, 0x00333333},
    {"SMRAM", 0x9d, 1, 0x02, 0x78},
}};

}  // namespace

HostBridge::HostBridge(PcieRoot& root) : PciFunction("mch", kIdentity), root_(root) { config().define(kRegisters); }

void HostBridge::enable_window(u64 base) {
    config().set(kPciexbar, static_cast<u32>(base) | kPciexbarEnable, 4);
    config().set(kPciexbar + 4, static_cast<u32>(base >> 32), 4);
    place_window();
}

void HostBridge::reset() {
    reset_function();
    place_window();
}

Result<void> HostBridge::apply(const HostBridgeState& state) {
    TANDEM_TRY(check_function(state.function));
    apply_function(state.function);
    place_window();
    return {};
}

void HostBridge::config_written(u16 offset, unsigned size) {
    const auto touches = [&](u16 at) { return offset <= at && at < offset + size; };
    if ((touches(kEsmramc) || touches(kSmbaseControl)) && !asked_for_smram_) {
        asked_for_smram_ = true;
        log::warn(
            "firmware asks for system management mode, which this machine does not have: OVMF's .secboot, .ms and .snakeoil "
            "builds need it and stop here; OVMF_CODE_4M.fd and OVMF.fd do not");
    }
    if (offset < kPciexbar + 8 && kPciexbar < offset + size) place_window();
}

void HostBridge::place_window() {
    const u64 value = config().read(kPciexbar, 4) | static_cast<u64>(config().read(kPciexbar + 4, 4)) << 32;
    // LENGTH (bits 2:1): 256, 128 or 64 buses of 1 MiB; 3 is reserved.
    const u64 length = bits(value, 2, 1);
    const u64 size = bit(value, 0) && length < 3 ? (u64{256} << 20) >> length : 0;
    const auto placed = root_.set_ecam(bits(value, 35, 28) << 28, size);
    if (!placed.ok()) log::trace(log::GuestErrors, "guest_errors: {}", placed.error().message);
}

}  // namespace tandem::devices::pci
