#include "devices/pci/function.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/bits.h"
#include "base/log.h"

namespace tandem::devices::pci {
namespace {

constexpr u8 kCapabilityMsix = 0x11;
constexpr u16 kMsixControl = 2;  // Message Control within the capability
constexpr u16 kCommandWritable = command::kIo | command::kMemory | command::kBusMaster | command::kIntxDisable | 0x140;

}  // namespace

PciFunction::PciFunction(std::string name, const Identity& identity) : name_(std::move(name)), identity_(identity) {
    const std::array<ConfigField, 11> header{{
        {"Vendor ID", reg::kVendor, 2, identity.vendor, 0},
        {"Device ID", reg::kDevice, 2, identity.device, 0},
        {"Command", reg::kCommand, 2, 0, kCommandWritable},
        {"Status", reg::kStatus, 2, 0, 0, 0xf900},
        {"Revision ID", reg::kRevision, 1, identity.revision, 0},
        {"Cache Line Size", 0x0c, 1, 0, 0xff},
        {"Header Type", reg::kHeaderType, 1, identity.multifunction ? 0x80u : 0u, 0},
        {"Subsystem Vendor ID", reg::kSubsystemVendor, 2, identity.subsystem_vendor, 0},
        {"Subsystem ID", reg::kSubsystem, 2, identity.subsystem, 0},
        {"Interrupt Line", reg::kInterruptLine, 1, 0, 0xff},
        {"Interrupt Pin", reg::kInterruptPin, 1, identity.interrupt_pin, 0},
    }};
    config_.define(header);
    for (unsigned i = 0; i < 3; ++i) {
        config_.define({"Class Code", static_cast<u16>(reg::kClass + i), 1,
                        static_cast<u32>(bits(identity.class_code, 8 * i + 7, 8 * i)), 0});
    }
}

void PciFunction::connect(BusWiring wiring) {
    wiring_ = std::move(wiring);
    if (msix_) msix_->connect(wiring_.msi, wiring_.requester);
}

void PciFunction::add_bar(unsigned index, BarKind kind, u64 size, IoHandler& handler) {
    bars_[index] = {kind, size, &handler, {}};
    const auto low = static_cast<u32>(~(size - 1));
    const u32 type = kind == BarKind::Io ? 1 : kind == BarKind::Memory64 ? 4 : 0;
    const auto offset = static_cast<u16>(reg::kBar0 + 4 * index);
    config_.define({"Base Address", offset, 4, type, low & (kind == BarKind::Io ? ~3u : ~15u)});
    if (kind == BarKind::Memory64) {
        config_.define({"Base Address (high)", static_cast<u16>(offset + 4), 4, 0, static_cast<u32>(~(size - 1) >> 32)});
    }
}

u16 PciFunction::add_capability(u8 id, u8 length, std::span<const ConfigField> rows) {
    const u16 at = next_capability_;
    config_.define({"Capability Pointer", last_capability_link_, 1, at, 0});
    config_.define({"Status", reg::kStatus, 2, status::kCapabilityList, 0, 0xf900});
    config_.define({"Capability ID", at, 1, id, 0});
    config_.define({"Next Capability", static_cast<u16>(at + 1), 1, 0, 0});
    config_.define(rows, at);
    last_capability_link_ = static_cast<u16>(at + 1);
    next_capability_ = static_cast<u16>(align_up(static_cast<u64>(at) + length, 4));
    return at;
}

void PciFunction::add_msix(unsigned bar_index, unsigned vectors) {
    msix_ = std::make_unique<MsixTable>(vectors);
    const std::array<ConfigField, 3> rows{{
        {"Message Control", kMsixControl, 2, vectors - 1, 0xc000},
        {"Table Offset/BIR", 4, 4, bar_index, 0},
        {"PBA Offset/BIR", 8, 4, static_cast<u32>(msix_->pba_offset()) | bar_index, 0},
    }};
    msix_capability_ = add_capability(kCapabilityMsix, 12, rows);
    add_bar(bar_index, BarKind::Memory32, msix_->bar_size(), *msix_);
}

u32 PciFunction::config_read(u16 offset, unsigned size) {
    before_config_read(offset, size);
    u32 value = config_.read(offset, size);
    // Interrupt Status is live, whatever the disable bit says (PCI Local Bus 3.0, 6.2.3).
    if (offset <= reg::kStatus && reg::kStatus < offset + size) {
        std::lock_guard guard(intx_lock_);
        if (intx_) value |= static_cast<u32>(status::kInterrupt) << (8 * (reg::kStatus - offset));
    }
    return value;
}

void PciFunction::config_write(u16 offset, u32 value, unsigned size) {
    config_.write(offset, value, size);
    const auto touches = [&](unsigned from, unsigned to) { return offset < to && from < offset + size; };
    const bool msix = msix_ && touches(msix_capability_ + kMsixControl, msix_capability_ + kMsixControl + 2u);
    if (touches(reg::kCommand, reg::kStatus) || msix) command_changed();
    if (touches(reg::kCommand, reg::kStatus) || touches(reg::kBar0, reg::kBar0 + 4 * kBars)) remap_bars();
    config_written(offset, size);
}

void PciFunction::command_changed() {
    const auto now = static_cast<u16>(config_.read(reg::kCommand, 2));
    command_.store(now, std::memory_order_release);
    if (msix_) {
        const u32 control = config_.read(static_cast<u16>(msix_capability_ + kMsixControl), 2);
        msix_->set_control(bit(control, 15), bit(control, 14), (now & command::kBusMaster) != 0);
    }
    std::lock_guard guard(intx_lock_);
    drive_intx();
}

std::optional<u64> PciFunction::wanted_address(unsigned index) const {
    const Bar& b = bars_[index];
    const u16 enable = b.kind == BarKind::Io ? command::kIo : command::kMemory;
    if (b.size == 0 || (config_.read(reg::kCommand, 2) & enable) == 0) return {};
    const auto offset = static_cast<u16>(reg::kBar0 + 4 * index);
    u64 address = config_.read(offset, 4) & (b.kind == BarKind::Io ? ~3u : ~15u);
    if (b.kind == BarKind::Memory64) address |= static_cast<u64>(config_.read(static_cast<u16>(offset + 4), 4)) << 32;
    // Zero is "not assigned"; the sizing pattern and addresses no processor can reach are not decoded either.
    const u64 limit = b.kind == BarKind::Io ? 0x10000 : b.kind == BarKind::Memory32 ? u64{1} << 32 : u64{1} << 52;
    if (address == 0 || address > limit - b.size || address + b.size == limit) return {};
    return address;
}

void PciFunction::remap_bars() {
    if (wiring_.memory == nullptr || wiring_.io == nullptr) return;
    const auto space = [&](const Bar& b) -> AddressSpace& { return b.kind == BarKind::Io ? *wiring_.io : *wiring_.memory; };
    for (unsigned i = 0; i < kBars; ++i) {
        Bar& b = bars_[i];
        if (b.mapped && b.mapped != wanted_address(i)) {
            (void)space(b).remove(*b.mapped);
            b.mapped.reset();
        }
    }
    for (unsigned i = 0; i < kBars; ++i) {
        Bar& b = bars_[i];
        const auto wanted = wanted_address(i);
        if (!wanted || b.mapped) continue;
        const auto added = space(b).add({fmt::format("{} BAR {}", name_, i), *wanted, b.size, b.handler});
        if (added.ok()) {
            b.mapped = wanted;
        } else {
            log::trace(log::GuestErrors, "guest_errors: {}", added.error().message);
        }
    }
}

void PciFunction::set_intx(bool level) {
    std::lock_guard guard(intx_lock_);
    intx_ = level;
    drive_intx();
}

void PciFunction::drive_intx() { wiring_.intx.set(intx_ && (command_.load() & command::kIntxDisable) == 0); }

void PciFunction::reset_function() {
    config_.reset();
    if (msix_) msix_->reset();
    {
        std::lock_guard guard(intx_lock_);
        intx_ = false;
    }
    command_changed();
    remap_bars();
}

FunctionState PciFunction::capture_function() const {
    FunctionState state;
    const auto image = config_.bytes();
    state.config.assign(image.begin(), image.end());
    if (msix_) state.msix = msix_->capture();
    std::lock_guard guard(intx_lock_);
    state.intx = intx_;
    return state;
}

Result<void> PciFunction::check_function(const FunctionState& state) const {
    if (!config_.matches(state.config)) {
        return Error{Errc::Corrupt, fmt::format("{}: saved configuration space is not this device's", name_)};
    }
    if (msix_ ? !msix_->fits(state.msix) : !state.msix.address.empty()) {
        return Error{Errc::Corrupt, fmt::format("{}: saved MSI-X table has another size", name_)};
    }
    return {};
}

void PciFunction::apply_function(const FunctionState& state) {
    config_.load(state.config);
    if (msix_) {
        msix_->set_control(false, false, false);
        msix_->apply(state.msix);
    }
    {
        std::lock_guard guard(intx_lock_);
        intx_ = state.intx;
    }
    command_changed();
    remap_bars();
}

}  // namespace tandem::devices::pci
