#include "machines/virtio_devices.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "machines/absent_devices.h"
#include "machines/virtio_kinds.h"

namespace tandem::machines {

using namespace devices;

namespace {

constexpr std::array<PropertyRow, 4> kSerialPortProperties{{
    {"chardev", "id of the -chardev it leads to (required)"},
    {"name", "what the guest finds it by: /dev/virtio-ports/NAME"},
    {"nr", "port number (default: the next free one)"},
    {"bus", "ID.0 of the virtio-serial device (default: the latest)"},
}};

constexpr std::array<PropertyRow, 6> kVirtioPciProperties{{
    {"addr", "PCI SLOT[.FUNCTION], hexadecimal (default: first free slot)"},
    {"bus", "pcie.0, the only one"},
    {"disable-legacy", "on; the device is always a modern one"},
    {"disable-modern", "off"},
    {"ioeventfd", "on (default): an engine that can rings the queues' bells without leaving the guest; or off"},
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

std::span<const PropertyRow> VirtioDevices::port_properties() { return kSerialPortProperties; }

std::string property_help(std::span<const PropertyRow> rows) {
    std::string text;
    for (const auto& p : rows) text += fmt::format("    {:<20}{}\n", p.name, p.help);
    return text;
}

std::string VirtioDevices::help() {
    std::string text;
    for (const auto& kind : virtio_kinds()) {
        text += fmt::format("{}-pci, {}-device  {} on PCI or MMIO\n", kind.stem, kind.stem, kind.help);
        text += property_help(kind.properties);
    }
    return text + "every virtio-...-pci\n" + property_help(kVirtioPciProperties);
}

Result<DeviceProperties::PciAddress> choose_pci_address(const pci::PcieRoot& root, const DeviceProperties& properties,
                                                        unsigned first_free) {
    TANDEM_TRY_ASSIGN(const auto address, properties.pci_address());
    if (address) return *address;
    DeviceProperties::PciAddress place{};
    TANDEM_TRY_ASSIGN(place.slot, root.free_slot(first_free));
    return place;
}

Result<void> VirtioDevices::attach(const DeviceConfig& device, MachineConfig& config,
                                   const std::vector<std::string>& others) {
    const VirtioDriver driver = find_virtio(device.driver);
    if (driver.kind == nullptr) {
        std::string names;
        for (const auto& kind : virtio_kinds())
            names += fmt::format("{}{}-pci, {}-device", names.empty() ? "" : ", ", kind.stem, kind.stem);
        for (const auto& other : others) names += ", " + other;
        if (const char* instead = instead_of(device.driver)) {
            return Error{Errc::Unsupported, fmt::format("there is no device '{}': {}", device.driver, instead)};
        }
        return invalid(fmt::format("unknown device '{}' (known: {})", device.driver, names));
    }
    std::vector<PropertyRow> rows(driver.kind->properties.begin(), driver.kind->properties.end());
    if (driver.pci) rows.insert(rows.end(), kVirtioPciProperties.begin(), kVirtioPciProperties.end());
    const DeviceProperties properties(device, rows);
    TANDEM_TRY(properties.check());
    TANDEM_TRY(check_fixed(device, properties));
    const auto same_kind = [&](const DeviceConfig& d) { return find_virtio(d.driver).kind == driver.kind; };
    const auto before = std::ranges::count_if(std::span(config.devices.data(), &device), same_kind);
    TANDEM_TRY_ASSIGN(auto made,
                      driver.kind->create({device, properties, config, board_.memory, static_cast<unsigned>(before)}));
    if (auto* bus = dynamic_cast<virtio::SerialBus*>(made.get())) {
        serial_buses_.push_back({properties.text("id").value_or(""), bus});
    }
    if (auto* balloon = dynamic_cast<virtio::Balloon*>(made.get())) balloon_ = balloon;
    if (!driver.pci && properties.text("bootindex")) {
        return invalid(fmt::format("device '{}': only devices on PCI have a bootindex", device.driver));
    }
    if (!driver.pci) return board_.add_mmio(std::move(made));
    return board_.add_pci(std::move(made), driver.kind->pci_class, properties, driver.kind->boot_path);
}

// "bus" is a virtio-serial device's id with ".0" behind it; without one, the latest.
Result<void> VirtioDevices::attach_port(const DeviceConfig& device, const DeviceProperties& properties,
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

}  // namespace tandem::machines
