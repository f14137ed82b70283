// Devices that the configuration adds to the board.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "devices/misc/pc_testdev.h"
#include "devices/misc/pci_testdev.h"
#include "devices/misc/pflash.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/pci_transport.h"
#include "machines/device_properties.h"
#include "machines/pc/board.h"
#include "machines/pc/board_virtio.h"
#include "machines/pc/layout.h"
#include "machines/pc/pc_machine.h"

namespace tandem::machines::pc {

using namespace devices;

namespace {

constexpr std::array<PropertyRow, 1> kPciTestDevProperties{{
    {"addr", "PCI SLOT[.FUNCTION], hexadecimal (default: first free slot)"},
}};

constexpr std::array<PropertyRow, 4> kSerialPortProperties{{
    {"chardev", "id of the -chardev it leads to (required)"},
    {"name", "what the guest finds it by: /dev/virtio-ports/NAME"},
    {"nr", "port number (default: the next free one)"},
    {"bus", "ID.0 of the virtio-serial device (default: the latest)"},
}};

constexpr std::array<PropertyRow, 2> kDebugExitProperties{{
    {"iobase", "port (default 0x501)"},
    {"iosize", "ports, 1 to 4 (default 2)"},
}};

constexpr std::array<PropertyRow, 5> kVirtioPciProperties{{
    {"addr", "PCI SLOT[.FUNCTION], hexadecimal (default: first free slot)"},
    {"bus", "pcie.0, the only one"},
    {"disable-legacy", "on; the device is always a modern one"},
    {"disable-modern", "off"},
    {"romfile", "empty: there is no option ROM"},
}};

// A virtio kind and what it sits on.
struct VirtioDriver {
    const VirtioKind* kind = nullptr;
    bool pci = true;
};
VirtioDriver find_virtio(std::string_view driver) {
    for (const auto& kind : virtio_kinds()) {
        if (!driver.starts_with(kind.stem)) continue;
        const std::string_view transport = driver.substr(kind.stem.size());
        if (transport.empty() || transport == "-pci") return {&kind, true};
        if (transport == "-device") return {&kind, false};
    }
    return {};
}

// Properties that only ever have one value here.
Result<void> check_fixed(const DeviceConfig& device, const DeviceProperties& properties) {
    struct Fixed {
        const char* name;
        std::string_view value;
    };
    for (const auto& [name, value] :
         {Fixed{"bus", "pcie.0"}, Fixed{"disable-legacy", "on"}, Fixed{"disable-modern", "off"}, Fixed{"romfile", ""}}) {
        if (properties.text(name).value_or(std::string(value)) == value) continue;
        return Error{Errc::Unsupported, fmt::format("device '{}': {}={} is not supported (known: '{}')", device.driver, name,
                                                    *properties.text(name), value)};
    }
    return {};
}

}  // namespace

struct Board::Driver {
    const char* name;
    const char* help;
    std::span<const PropertyRow> properties;
    Result<void> (Board::*attach)(const DeviceConfig& device, const DeviceProperties& properties, MachineConfig& config);
};

std::span<const Board::Driver> Board::drivers() {
    static constexpr std::array<Driver, 5> kDrivers{{
        {"isa-debug-exit", "writing VALUE to its port ends the program with status 2 * VALUE + 1", kDebugExitProperties,
         &Board::attach_debug_exit},
        {"pc-testdev", "interrupt lines, ports and memory for conformance suites", {}, &Board::attach_pc_testdev},
        {"virtconsole", "console (hvc) on a virtio-serial device", kSerialPortProperties, &Board::attach_serial_port},
        {"virtserialport", "stream on a virtio-serial device", kSerialPortProperties, &Board::attach_serial_port},
        {"pci-testdev", "PCI function that counts writes", kPciTestDevProperties, &Board::attach_pci_testdev},
    }};
    return kDrivers;
}

std::string device_help() {
    std::string text;
    const auto list = [&text](std::span<const PropertyRow> rows) {
        for (const auto& p : rows) text += fmt::format("    {:<20}{}\n", p.name, p.help);
    };
    for (const auto& kind : virtio_kinds()) {
        text += fmt::format("{}-pci, {}-device  {} on PCI or MMIO\n", kind.stem, kind.stem, kind.help);
        list(kind.properties);
    }
    text += "every virtio-...-pci\n";
    list(kVirtioPciProperties);
    for (const auto& driver : Board::drivers()) {
        text += fmt::format("{}  {}\n", driver.name, driver.help);
        list(driver.properties);
    }
    return text;
}

Result<void> Board::attach_configured(MachineConfig& config) {
    for (const auto& device : config.devices) {
        const auto row = std::ranges::find(drivers(), std::string_view(device.driver), &Driver::name);
        if (row == drivers().end()) {
            TANDEM_TRY(attach_virtio(device, config));
            continue;
        }
        const DeviceProperties properties(device, row->properties);
        TANDEM_TRY(properties.check());
        TANDEM_TRY((this->*row->attach)(device, properties, config));
    }
    return {};
}

Result<void> Board::attach_virtio(const DeviceConfig& device, MachineConfig& config) {
    const VirtioDriver driver = find_virtio(device.driver);
    if (driver.kind == nullptr) {
        std::string names;
        for (const auto& kind : virtio_kinds()) names += fmt::format("{}-pci, {}-device, ", kind.stem, kind.stem);
        for (const auto& other : drivers()) names += (&other == drivers().data() ? "" : ", ") + std::string(other.name);
        return invalid(fmt::format("unknown device '{}' (known: {})", device.driver, names));
    }
    std::vector<PropertyRow> rows(driver.kind->properties.begin(), driver.kind->properties.end());
    if (driver.pci) rows.insert(rows.end(), kVirtioPciProperties.begin(), kVirtioPciProperties.end());
    const DeviceProperties properties(device, rows);
    TANDEM_TRY(properties.check());
    TANDEM_TRY(check_fixed(device, properties));
    const auto same_kind = [&](const DeviceConfig& d) { return find_virtio(d.driver).kind == driver.kind; };
    const auto before = std::ranges::count_if(std::span(config.devices.data(), &device), same_kind);
    TANDEM_TRY_ASSIGN(auto made, driver.kind->create({device, properties, config, memory, static_cast<unsigned>(before)}));
    if (auto* bus = dynamic_cast<virtio::SerialBus*>(made.get())) {
        serial_buses_.push_back({properties.text("id").value_or(""), bus});
    }
    if (auto* balloon = dynamic_cast<virtio::Balloon*>(made.get())) balloon_ = balloon;
    if (!driver.pci) return add_virtio_mmio(std::move(made));
    return add_function(std::make_unique<virtio::VirtioPci>(std::move(made), driver.kind->pci_class), properties);
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

// "bus" is a virtio-serial device's id with ".0" behind it; without one, the latest.
Result<void> Board::attach_serial_port(const DeviceConfig& device, const DeviceProperties& properties,
                                       MachineConfig& config) {
    const auto wanted = properties.text("bus");
    const auto serves = [&](const SerialBus& b) { return !wanted || *wanted == b.id + ".0"; };
    const auto bus = std::find_if(serial_buses_.rbegin(), serial_buses_.rend(), serves);
    if (bus == serial_buses_.rend()) {
        return Error{Errc::NotFound, fmt::format("device '{}': there is no virtio-serial device{} before it", device.driver,
                                                 wanted ? fmt::format(" of bus '{}'", *wanted) : "")};
    }
    virtio::SerialBus::Port port;
    port.console = device.driver == "virtconsole";
    port.name = properties.text("name").value_or("");
    TANDEM_TRY_ASSIGN(const u64 number, properties.number("nr", 0, 0, virtio::kMaxConsolePorts));
    port.number = static_cast<u32>(number);
    const auto id = properties.text("chardev");
    if (!id) return invalid(fmt::format("device '{}' needs the property 'chardev'", device.driver));
    auto stream = take_chardev(config, *id);
    if (!stream) return std::move(stream).error().context(fmt::format("device '{}'", device.driver));
    port.stream = std::move(stream).value();
    return bus->bus->add_port(std::move(port));
}

template <class Function>
Result<void> Board::add_function(std::unique_ptr<Function> function, const DeviceProperties& properties) {
    TANDEM_TRY_ASSIGN(const auto address, properties.pci_address());
    DeviceProperties::PciAddress place{};
    if (address) {
        place = *address;
    } else {
        TANDEM_TRY_ASSIGN(place.slot, root_->free_slot(layout::kFirstFreeSlot));
    }
    TANDEM_TRY(root_->attach(place.slot, place.function, *function));
    all_.push_back(function.get());
    added_.push_back(std::move(function));
    return {};
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
