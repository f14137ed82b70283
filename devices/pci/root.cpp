#include "devices/pci/root.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bits.h"

namespace tandem::devices::pci {
namespace {

constexpr u64 kPortAddress = 0;  // 0xcf8
constexpr u64 kPortReset = 1;    // 0xcf9
constexpr u64 kPortData = 4;     // 0xcfc
constexpr u32 kAddressMask = 0x80fffffc;

}  // namespace

PcieRoot::PcieRoot(Wiring wiring) : wiring_(std::move(wiring)) {
    for (unsigned i = 0; i < kPirqs; ++i) pirq_[i] = SharedLine(wiring_.pirq[i]);
}

Result<void> PcieRoot::attach(unsigned slot, unsigned function, PciFunction& device) {
    if (slot >= kSlots || function >= kFunctions) {
        return invalid(fmt::format("{}: there is no PCI address {:02x}.{:x}", device.function_name(), slot, function));
    }
    const unsigned key = slot * kFunctions + function;
    if (const auto it = functions_.find(key); it != functions_.end()) {
        return Error{Errc::Busy, fmt::format("{}: PCI address {:02x}.{:x} is taken by {}", device.function_name(), slot,
                                             function, it->second->function_name())};
    }
    const u8 pin = device.interrupt_pin();
    device.connect({wiring_.memory, wiring_.io, wiring_.msi, pin == 0 ? IrqLine{} : pirq_[pirq_of(slot, pin)].source(),
                    static_cast<u16>(key)});
    functions_[key] = &device;
    return {};
}

std::string PcieRoot::address_of(const PciFunction& function) const {
    for (const auto& [key, device] : functions_) {
        if (device == &function) return fmt::format("{:02x}.{:x}", key / kFunctions, key % kFunctions);
    }
    return {};
}

Result<unsigned> PcieRoot::free_slot(unsigned from) const {
    for (unsigned slot = from; slot < kSlots; ++slot) {
        const auto it = functions_.lower_bound(slot * kFunctions);
        if (it == functions_.end() || it->first >= (slot + 1) * kFunctions) return slot;
    }
    return Error{Errc::NotFound, "no free PCI slot on bus 0"};
}

Result<void> PcieRoot::map_ports(u16 base, IoHandler* reset_control) {
    ports_.reset_control = reset_control;
    return wiring_.io->add({"PCI configuration", base, 8, &ports_});
}

Result<void> PcieRoot::set_ecam(u64 base, u64 size) {
    std::lock_guard guard(lock_);
    if (base == ecam_base_ && size == ecam_size_) return {};
    if (ecam_size_ != 0) TANDEM_TRY(wiring_.memory->remove(ecam_base_));
    ecam_size_ = 0;
    if (size == 0) return {};
    TANDEM_TRY(wiring_.memory->add({"PCIe configuration window", base, size, &ecam_}));
    ecam_base_ = base;
    ecam_size_ = size;
    return {};
}

Result<void> PcieRoot::assign_resources(Window memory32, Window memory64, Window io) {
    std::lock_guard guard(lock_);
    const auto take = [](Window& window, u64 size) -> u64 {
        const u64 base = align_up(window.base, size);
        if (base - window.base > window.size || size > window.size - (base - window.base)) return 0;
        window.size -= base - window.base + size;
        window.base = base + size;
        return base;
    };
    for (auto& [key, function] : functions_) {
        for (unsigned i = 0; i < PciFunction::kBars; ++i) {
            const auto info = function->bar(i);
            if (info.size == 0) continue;
            u64 base = take(info.kind == BarKind::Io ? io : memory32, info.size);
            if (base == 0 && info.kind == BarKind::Memory64) base = take(memory64, info.size);
            if (base == 0) {
                return Error{Errc::Unsupported,
                             fmt::format("{}: no room for BAR {} of {:#x} bytes", function->function_name(), i, info.size)};
            }
            const auto offset = static_cast<u16>(reg::kBar0 + 4 * i);
            function->config_write(offset, static_cast<u32>(base), 4);
            if (info.kind == BarKind::Memory64) {
                function->config_write(static_cast<u16>(offset + 4), static_cast<u32>(base >> 32), 4);
            }
        }
    }
    return {};
}

void PcieRoot::reset() {
    std::lock_guard guard(lock_);
    config_address_ = 0;
}

RootState PcieRoot::capture() const {
    std::lock_guard guard(lock_);
    return {config_address_};
}

Result<void> PcieRoot::apply(const RootState& state) {
    std::lock_guard guard(lock_);
    config_address_ = state.config_address & kAddressMask;
    return {};
}

PciFunction* PcieRoot::at(u32 address) const {
    if (bits(address, 27, 20) != 0) return nullptr;
    const auto it = functions_.find(static_cast<unsigned>(bits(address, 19, 12)));
    return it == functions_.end() ? nullptr : it->second;
}

u32 PcieRoot::read(u32 address, unsigned size) {
    std::lock_guard guard(lock_);
    PciFunction* function = at(address);
    return function == nullptr ? static_cast<u32>(mask(size * 8)) : function->config_read(address & 0xfff, size);
}

void PcieRoot::write(u32 address, u32 value, unsigned size) {
    std::lock_guard guard(lock_);
    if (PciFunction* function = at(address)) function->config_write(address & 0xfff, value, size);
}

namespace {

// Register accesses do not cross a dword; what does is split into bytes.
bool crosses_dword(u64 offset, unsigned size) { return (offset & 3) + size > 4; }

// CONFIG_ADDRESS (bus 23:16, slot 15:11, function 10:8, register 7:2) as the window's address.
u32 window_address(u32 config_address, u64 byte) {
    return static_cast<u32>(bits(config_address, 23, 8) << 12 | bits(config_address, 7, 2) << 2 | byte);
}

}  // namespace

u64 PcieRoot::Ports::io_read(u64 offset, unsigned size) {
    if (offset == kPortAddress && size == 4) {
        std::lock_guard guard(root_.lock_);
        return root_.config_address_;
    }
    if (offset == kPortReset && size == 1 && reset_control != nullptr) return reset_control->io_read(0, 1);
    if (offset < kPortData || offset + size > kPortData + 4) return mask(size * 8);
    std::lock_guard guard(root_.lock_);
    if (!bit(root_.config_address_, 31)) return mask(size * 8);
    return root_.read(window_address(root_.config_address_, offset - kPortData), size);
}

void PcieRoot::Ports::io_write(u64 offset, u64 value, unsigned size) {
    if (offset == kPortReset && size == 1) {
        if (reset_control != nullptr) reset_control->io_write(0, value, 1);
        return;
    }
    std::lock_guard guard(root_.lock_);
    if (offset == kPortAddress && size == 4) {
        root_.config_address_ = static_cast<u32>(value) & kAddressMask;
    } else if (offset >= kPortData && offset + size <= kPortData + 4 && bit(root_.config_address_, 31)) {
        root_.write(window_address(root_.config_address_, offset - kPortData), static_cast<u32>(value), size);
    }
}

u64 PcieRoot::Ecam::io_read(u64 offset, unsigned size) {
    if (size == 8 || crosses_dword(offset, size)) {
        u64 value = 0;
        for (unsigned i = 0; i < size; ++i)
            value |= static_cast<u64>(root_.read(static_cast<u32>(offset + i), 1)) << (8 * i);
        return value;
    }
    return root_.read(static_cast<u32>(offset), size);
}

void PcieRoot::Ecam::io_write(u64 offset, u64 value, unsigned size) {
    if (size == 8 || crosses_dword(offset, size)) {
        for (unsigned i = 0; i < size; ++i) {
            root_.write(static_cast<u32>(offset + i), static_cast<u32>(bits(value, 8 * i + 7, 8 * i)), 1);
        }
        return;
    }
    root_.write(static_cast<u32>(offset), static_cast<u32>(value), size);
}

}  // namespace tandem::devices::pci
