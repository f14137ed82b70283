// The virtio devices that a configuration adds to a board, over PCI or MMIO, and the ports of virtio-serial devices.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "devices/pci/root.h"
#include "devices/virtio/balloon.h"
#include "devices/virtio/console.h"
#include "machines/device_properties.h"
#include "machines/machine.h"

namespace tandem::machines {

class VirtioDevices {
public:
    // The board's side. It owns what it is handed, and lists it among its devices.
    struct Board {
        devices::GuestMemory& memory;
        std::function<Result<void>(std::unique_ptr<devices::virtio::VirtioDevice>)> add_mmio;
        // `boot_path`: see VirtioKind.
        std::function<Result<void>(std::unique_ptr<devices::virtio::VirtioDevice>, u32 pci_class, const DeviceProperties&,
                                   const char* boot_path)>
            add_pci;
    };
    explicit VirtioDevices(Board board) : board_(std::move(board)) {}

    // Adds `device`, which is one of config.devices, whose back ends move out of the configuration. InvalidArgument when the
    // driver is no virtio device; `others` are the names that the board knows beside them.
    Result<void> attach(const DeviceConfig& device, MachineConfig& config, const std::vector<std::string>& others);
    // A virtconsole or virtserialport.
    Result<void> attach_port(const DeviceConfig& device, const DeviceProperties& properties, MachineConfig& config);
    static std::span<const PropertyRow> port_properties();
    // Null where there is none.
    [[nodiscard]] devices::virtio::Balloon* balloon() const { return balloon_; }

    // "name  help" and properties, for -device help.
    static std::string help();

private:
    struct SerialBus {
        std::string id;
        devices::virtio::SerialBus* bus;
    };
    Board board_;
    std::vector<SerialBus> serial_buses_;
    devices::virtio::Balloon* balloon_ = nullptr;
};

// Where a PCI function goes: what its property "addr" says, or the first free slot from `first_free` on.
Result<DeviceProperties::PciAddress> choose_pci_address(const devices::pci::PcieRoot& root,
                                                        const DeviceProperties& properties, unsigned first_free);
// "NAME  HELP" lines of properties, for -device help.
std::string property_help(std::span<const PropertyRow> rows);

}  // namespace tandem::machines
