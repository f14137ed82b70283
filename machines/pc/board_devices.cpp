// Devices that the configuration adds to the board.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "devices/misc/pc_testdev.h"
#include "devices/misc/pci_testdev.h"
#include "devices/misc/pflash.h"
#include "devices/misc/pvpanic.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/pci_transport.h"
#include "machines/device_properties.h"
#include "machines/pc/board.h"
#include "machines/pc/layout.h"
#include "machines/pc/pc_machine.h"

namespace tandem::machines::pc {

using namespace devices;

namespace {

constexpr std::array<PropertyRow, 1> kPciTestDevProperties{{
    {"addr", "PCI SLOT[.FUNCTION], hexadecimal (default: first free slot)"},
}};

constexpr std::array<PropertyRow, 2> kDebugExitProperties{{
    {"iobase", "port (default 0x501)"},
    {"iosize", "ports, 1 to 4 (default 2)"},
}};

constexpr std::array<PropertyRow, 1> kPanicProperties{{
    {"ioport", "port (default 0x505)"},
}};

}  // namespace

struct Board::Driver {
    const char* name;
    const char* help;
    std::span<const PropertyRow> properties;
    Result<void> (Board::*attach)(const DeviceConfig& device, const DeviceProperties& properties, MachineConfig& config);
};

std::span<const Board::Driver> Board::drivers() {
    static const std::span<const PropertyRow> kPortProperties = VirtioDevices::port_properties();
    static const std::array<Driver, 7> kDrivers{{
        {"isa-debug-exit", "writing VALUE to its port ends the program with status 2 * VALUE + 1", kDebugExitProperties,
         &Board::attach_debug_exit},
        {"pc-testdev", "interrupt lines, ports and memory for conformance suites", {}, &Board::attach_pc_testdev},
        {"virtconsole", "console (hvc) on a virtio-serial device", kPortProperties, &Board::attach_serial_port},
        {"virtserialport", "stream on a virtio-serial device", kPortProperties, &Board::attach_serial_port},
        {"pvpanic", "port through which a guest's kernel says that it panicked (-action panic=)", kPanicProperties,
         &Board::attach_panic_port},
        {"pvpanic-pci", "the same as a PCI function", kPciTestDevProperties, &Board::attach_panic_function},
        {"pci-testdev", "PCI function that counts writes", kPciTestDevProperties, &Board::attach_pci_testdev},
    }};
    return kDrivers;
}

std::string device_help() {
    std::string text = VirtioDevices::help();
    for (const auto& driver : Board::drivers()) {
        text += fmt::format("{}  {}\n", driver.name, driver.help) + property_help(driver.properties);
    }
    return text;
}

Result<void> Board::attach_configured(MachineConfig& config) {
    for (const auto& device : config.devices) {
        const auto row = std::ranges::find(drivers(), std::string_view(device.driver), &Driver::name);
        if (row == drivers().end()) {
            std::vector<std::string> others;
            for (const auto& other : drivers()) others.emplace_back(other.name);
            TANDEM_TRY(virtio_.attach(device, config, others));
            continue;
        }
        const DeviceProperties properties(device, row->properties);
        TANDEM_TRY(properties.check());
        TANDEM_TRY((this->*row->attach)(device, properties, config));
    }
    return {};
}

// Open Firmware's name of the device, as far as firmware compares it.
Result<void> Board::note_boot_index(const DeviceProperties& properties, DeviceProperties::PciAddress place,
                                    const char* boot_path) {
    if (!properties.text("bootindex")) return {};
    TANDEM_TRY_ASSIGN(const u64 index, properties.number("bootindex", 0, 0, 0x7fffffff));
    const std::string function = place.function == 0 ? "" : fmt::format(",{:x}", place.function);
    const std::string path =
        "/pci@i0cf8/" + fmt::format(fmt::runtime(boot_path), fmt::format("{:x}{}", place.slot, function));
    if (boot_order_.emplace(index, path).second) return {};
    return invalid(fmt::format("bootindex {} is given to two devices", index));
}

template <class Function>
Result<void> Board::add_function(std::unique_ptr<Function> function, const DeviceProperties& properties,
                                 const char* boot_path) {
    TANDEM_TRY_ASSIGN(const auto place, choose_pci_address(*root_, properties, layout::kFirstFreeSlot));
    TANDEM_TRY(root_->attach(place.slot, place.function, *function));
    if (boot_path != nullptr) TANDEM_TRY(note_boot_index(properties, place, boot_path));
    all_.push_back(function.get());
    added_.push_back(std::move(function));
    return {};
}

VirtioDevices::Board Board::virtio_board() {
    return {memory, [this](std::unique_ptr<virtio::VirtioDevice> device) { return add_virtio_mmio(std::move(device)); },
            [this](std::unique_ptr<virtio::VirtioDevice> device, u32 pci_class, const DeviceProperties& properties,
                   const char* boot_path) -> Result<void> {
                TANDEM_TRY_ASSIGN(const bool doorbells, properties.flag("ioeventfd", true));
                return add_function(std::make_unique<virtio::VirtioPci>(std::move(device), pci_class, doorbells), properties,
                                    boot_path);
            }};
}

Result<void> Board::add_virtio_mmio(std::unique_ptr<virtio::VirtioDevice> device) {
    const u64 offset = virtio_mmio_ * layout::kVirtioMmioStride;
    if (offset >= layout::kVirtioMmio.size) {
        return Error{Errc::Busy, fmt::format("device '{}': there is no room for more on MMIO", device->name())};
    }
    const unsigned line = layout::virtio_mmio_gsi(virtio_mmio_++) - layout::kPirqGsi;
    auto transport = std::make_unique<virtio::VirtioMmio>(std::move(device), gsi_lines_[line].source());
    TANDEM_TRY(mmio.add({"virtio-mmio", layout::kVirtioMmio.base + offset, layout::kVirtioMmioStride, transport.get()}));
    all_.push_back(transport.get());
    added_.push_back(std::move(transport));
    return {};
}

Result<void> Board::attach_serial_port(const DeviceConfig& device, const DeviceProperties& properties,
                                       MachineConfig& config) {
    return virtio_.attach_port(device, properties, config);
}

std::function<void(bool)> Board::panic_handler() const {
    return [panicked = requests_.panicked](bool loaded) {
        if (!loaded) return panicked();
        log::warn("the guest's kernel crashed; a second one saves its memory");
    };
}

Result<void> Board::attach_panic_port(const DeviceConfig& device, const DeviceProperties& properties, MachineConfig&) {
    TANDEM_TRY_ASSIGN(const u64 port, properties.number("ioport", layout::kPanicPort, 1, 0xffff));
    if (panic_port_ != 0) return invalid(fmt::format("device '{}': a machine has one", device.driver));
    panic_port_ = static_cast<u16>(port);
    added_ports_.push_back(std::make_unique<PanicPort>(panic_handler()));
    auto mapped = map_ports("pvpanic", port, 1, *added_ports_.back());
    if (!mapped.ok()) return std::move(mapped).error().context(fmt::format("device '{}'", device.driver));
    return {};
}

Result<void> Board::attach_panic_function(const DeviceConfig&, const DeviceProperties& properties, MachineConfig&) {
    return add_function(std::make_unique<PanicFunction>(panic_handler()), properties);
}

Result<void> Board::attach_debug_exit(const DeviceConfig& device, const DeviceProperties& properties, MachineConfig&) {
    TANDEM_TRY_ASSIGN(const u64 base, properties.number("iobase", 0x501, 1, 0xffff));
    TANDEM_TRY_ASSIGN(const u64 size, properties.number("iosize", 2, 1, 4));
    added_ports_.push_back(std::make_unique<DebugExit>(requests_.exit));
    auto mapped = map_ports("isa-debug-exit", base, size, *added_ports_.back());
    if (!mapped.ok()) return std::move(mapped).error().context(fmt::format("device '{}'", device.driver));
    return {};
}

Result<void> Board::attach_flash(std::vector<std::unique_ptr<BlockBackend>> chips, u64 top) {
    unsigned unit = 1;
    for (auto& chip : chips) {
        TANDEM_TRY_ASSIGN(auto flash, Pflash::create(fmt::format("pflash{}", unit++), std::move(chip)));
        if (flash->size() > top - layout::kFlashFloor) {
            return invalid(fmt::format("{}: {} bytes do not fit below the firmware", flash->name(), flash->size()));
        }
        top -= flash->size();
        TANDEM_TRY(mmio.add({std::string(flash->name()), top, flash->size(), flash.get()}));
        all_.push_back(flash.get());
        added_.push_back(std::move(flash));
    }
    return {};
}

Result<void> Board::attach_pc_testdev(const DeviceConfig& device, const DeviceProperties&, MachineConfig&) {
    std::array<IrqLine, PcTestDev::kLines> lines;
    for (unsigned i = 0; i < lines.size(); ++i) lines[i] = i < isa_lines_.size() ? isa_irq(i) : ioapic->line(i);
    auto test = std::make_unique<PcTestDev>(std::move(lines));
    struct Part {
        AddressSpace& space;
        const char* name;
        layout::Range range;
        IoHandler& handler;
    };
    for (const auto& p : {Part{io, "pc-testdev lines", layout::kTestLines, test->line_ports()},
                          Part{io, "pc-testdev data", layout::kTestData, test->data_ports()},
                          Part{io, "pc-testdev data bytes", layout::kTestDataBytes, test->data_ports()},
                          Part{io, "pc-testdev flush", layout::kTestFlush, test->flush_ports()},
                          Part{mmio, "pc-testdev memory", layout::kTestMemory, test->memory()}}) {
        auto mapped = p.space.add({p.name, p.range.base, p.range.size, &p.handler});
        if (!mapped.ok()) return std::move(mapped).error().context(fmt::format("device '{}'", device.driver));
    }
    all_.push_back(test.get());
    added_.push_back(std::move(test));
    return {};
}

Result<void> Board::attach_pci_testdev(const DeviceConfig&, const DeviceProperties& properties, MachineConfig&) {
    return add_function(std::make_unique<PciTestDev>(), properties);
}

}  // namespace tandem::machines::pc
