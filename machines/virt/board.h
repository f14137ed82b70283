// The virt board without its processors: memory, buses, chips and their wiring.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "devices/char/pl011.h"
#include "devices/fabric/address_space.h"
#include "devices/fabric/clock.h"
#include "devices/fabric/guest_memory.h"
#include "devices/irq/gic.h"
#include "devices/irq/gic_its.h"
#include "devices/irq/gicv2m.h"
#include "devices/misc/fw_cfg.h"
#include "devices/misc/pl061.h"
#include "devices/pci/generic_host.h"
#include "devices/pci/root.h"
#include "devices/timer/arm_timers.h"
#include "devices/timer/pl031.h"
#include "machines/device_properties.h"
#include "machines/machine.h"
#include "machines/virt/options.h"
#include "machines/virtio_devices.h"

namespace tandem::machines::virt {

class Board {
public:
    // `config.drives` and `config.serial` move into the board's devices. Errors name the device and the property.
    // `memory` is filled with RAM and outlives the board.
    static Result<std::unique_ptr<Board>> create(MachineConfig& config, const VirtOptions& options,
                                                 devices::GuestMemory& memory);

    devices::GuestMemory& memory;
    devices::AddressSpace mmio{"memory"};
    devices::AddressSpace io{"PCI I/O"};
    std::unique_ptr<devices::RealClock> clock;
    std::unique_ptr<devices::Gic> gic;
    std::unique_ptr<devices::ArmTimers> timers;
    std::unique_ptr<devices::FwCfg> fw_cfg;
    std::unique_ptr<devices::Pl061> gpio;

    // Every device, in the order of reset and restore.
    [[nodiscard]] std::span<devices::Device* const> devices() const { return all_; }
    [[nodiscard]] std::vector<NamedDevice> named_devices() const;
    // One more, which the machine owns.
    void add(devices::Device& device) { all_.push_back(&device); }
    [[nodiscard]] unsigned virtio_mmio_devices() const { return virtio_mmio_; }
    [[nodiscard]] unsigned serial_ports() const { return static_cast<unsigned>(uarts_.size()); }
    [[nodiscard]] devices::virtio::Balloon* balloon() const { return virtio_.balloon(); }
    // The second flash chip, with these contents; once.
    Result<void> attach_flash(std::unique_ptr<devices::BlockBackend> contents);
    // What -device may add.
    static std::string device_help();

private:
    explicit Board(devices::GuestMemory& guest_memory) : memory(guest_memory) {}
    // I/O ports of PCI functions, as memory.
    struct IoWindow final : devices::IoHandler {
        explicit IoWindow(devices::AddressSpace& s) : space(s) {}
        u64 io_read(u64 offset, unsigned size) override { return space.read(offset, size); }
        void io_write(u64 offset, u64 value, unsigned size) override { space.write(offset, value, size); }
        devices::AddressSpace& space;
    };
    void attach_gic(const VirtOptions& options, unsigned cpus);
    Result<void> attach_peripherals(MachineConfig& config, unsigned cpus);
    Result<void> attach_pci();
    Result<void> attach_configured(MachineConfig& config);
    VirtioDevices::Board virtio_board();
    Result<void> add_virtio_mmio(std::unique_ptr<devices::virtio::VirtioDevice> device);
    Result<void> add_virtio_pci(std::unique_ptr<devices::virtio::VirtioDevice> device, u32 pci_class,
                                const DeviceProperties& properties);
    template <class Function>
    Result<void> add_function(std::unique_ptr<Function> function, const DeviceProperties& properties);

    std::vector<std::unique_ptr<devices::CharBackend>> serial_backends_;
    std::unique_ptr<devices::Gicv2m> messages_;  // without an ITS
    std::unique_ptr<devices::GicIts> its_;       // with a GICv3, where it is wanted
    std::vector<std::unique_ptr<devices::Pl011>> uarts_;
    std::unique_ptr<devices::Pl031> rtc_;
    IoWindow io_window_{io};
    std::unique_ptr<devices::pci::PcieRoot> root_;
    std::unique_ptr<devices::pci::GenericHost> host_bridge_;
    std::vector<std::unique_ptr<devices::Device>> added_;
    std::vector<devices::Device*> all_;
    unsigned virtio_mmio_ = 0;
    VirtioDevices virtio_{virtio_board()};
};

}  // namespace tandem::machines::virt
