// Devices that the configuration adds to the board.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "devices/misc/pc_testdev.h"
#include "devices/misc/pci_testdev.h"
#include "devices/virtio/block.h"
#include "devices/virtio/pci_transport.h"
#include "machines/device_properties.h"
#include "machines/pc/board.h"
#include "machines/pc/layout.h"
#include "machines/pc/pc_machine.h"

namespace tandem::machines::pc {

using namespace devices;

namespace {

constexpr std::array<PropertyRow, 5> kBlockProperties{{
    {"drive", "id of the -drive it shows (required)"},
    {"serial", "up to 20 characters that the guest reads as the disk's serial number"},
    {"num-queues", "request queues, 1 to 16 (default 1)"},
    {"logical_block_size", "512 (default) or 4096"},
    {"addr", "PCI SLOT[.FUNCTION], hexadecimal (default: first free slot)"},
}};

constexpr std::array<PropertyRow, 1> kPciTestDevProperties{{
    {"addr", "PCI SLOT[.FUNCTION], hexadecimal (default: first free slot)"},
}};

constexpr std::array<PropertyRow, 2> kDebugExitProperties{{
    {"iobase", "port (default 0x501)"},
    {"iosize", "ports, 1 to 4 (default 2)"},
}};

// Takes the drive out of the configuration: a drive serves one device.
Result<std::unique_ptr<BlockBackend>> take_drive(const DeviceConfig& device, const DeviceProperties& properties,
                                                 MachineConfig& config) {
    const auto id = properties.text("drive");
    if (!id) return invalid(fmt::format("device '{}' needs the property 'drive'", device.driver));
    auto disk = machines::take_drive(config, *id);
    if (!disk) return std::move(disk).error().context(fmt::format("device '{}'", device.driver));
    return disk;
}

}  // namespace

struct Board::Driver {
    const char* name;
    const char* help;
    std::span<const PropertyRow> properties;
    Result<void> (Board::*attach)(const DeviceConfig& device, const DeviceProperties& properties, MachineConfig& config);
};

std::span<const Board::Driver> Board::drivers() {
    static constexpr std::array<Driver, 4> kDrivers{{
        {"virtio-blk-pci", "virtio disk on PCI", kBlockProperties, &Board::attach_virtio_block},
        {"isa-debug-exit", "writing VALUE to its port ends the program with status 2 * VALUE + 1", kDebugExitProperties,
         &Board::attach_debug_exit},
        {"pc-testdev", "interrupt lines, ports and memory for conformance suites", {}, &Board::attach_pc_testdev},
        {"pci-testdev", "PCI function that counts writes", kPciTestDevProperties, &Board::attach_pci_testdev},
    }};
    return kDrivers;
}

std::string device_help() {
    std::string text;
    for (const auto& driver : Board::drivers()) {
        text += fmt::format("{}  {}\n", driver.name, driver.help);
        for (const auto& p : driver.properties) text += fmt::format("    {:<20}{}\n", p.name, p.help);
    }
    return text;
}

Result<void> Board::attach_configured(MachineConfig& config) {
    for (const auto& device : config.devices) {
        const auto row = std::ranges::find(drivers(), std::string_view(device.driver), &Driver::name);
        if (row == drivers().end()) {
            std::string names;
            for (const auto& driver : drivers()) names += (names.empty() ? "" : ", ") + std::string(driver.name);
            return invalid(fmt::format("unknown device '{}' (known: {})", device.driver, names));
        }
        const DeviceProperties properties(device, row->properties);
        TANDEM_TRY(properties.check());
        TANDEM_TRY((this->*row->attach)(device, properties, config));
    }
    return {};
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

Result<void> Board::attach_virtio_block(const DeviceConfig& device, const DeviceProperties& properties,
                                        MachineConfig& config) {
    virtio::BlockOptions options;
    options.name = fmt::format("{} '{}'", device.driver, properties.text("drive").value_or(""));
    options.serial = properties.text("serial").value_or("");
    TANDEM_TRY_ASSIGN(const u64 queues, properties.number("num-queues", 1, 1, virtio::kMaxBlockQueues));
    TANDEM_TRY_ASSIGN(const u64 block_size, properties.number("logical_block_size", 512, 512, 4096));
    options.queues = static_cast<u16>(queues);
    options.logical_block_size = static_cast<u32>(block_size);
    TANDEM_TRY_ASSIGN(auto disk, take_drive(device, properties, config));
    TANDEM_TRY_ASSIGN(auto block, virtio::create_block(memory, std::move(disk), options));
    auto function = std::make_unique<virtio::VirtioPci>(std::move(block), virtio::kBlockClass);
    return add_function(std::move(function), properties);
}

}  // namespace tandem::machines::pc
