// The pc board without its processors: memory, buses, chips and their wiring.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "cpu/x86/topology.h"
#include "devices/char/uart16550.h"
#include "devices/fabric/address_space.h"
#include "devices/fabric/clock.h"
#include "devices/fabric/guest_memory.h"
#include "devices/irq/apic_bus.h"
#include "devices/irq/ioapic.h"
#include "devices/irq/lapic.h"
#include "devices/irq/pic.h"
#include "devices/misc/acpi_pm.h"
#include "devices/misc/debug_ports.h"
#include "devices/misc/fpu_error.h"
#include "devices/misc/fw_cfg.h"
#include "devices/misc/i8042.h"
#include "devices/misc/kvmclock.h"
#include "devices/misc/reset_ports.h"
#include "devices/pci/host_bridge.h"
#include "devices/pci/lpc_bridge.h"
#include "devices/pci/root.h"
#include "devices/timer/hpet.h"
#include "devices/timer/pit.h"
#include "devices/timer/rtc.h"
#include "machines/device_properties.h"
#include "machines/machine.h"
#include "machines/virtio_devices.h"

namespace tandem::machines::pc {

// What devices ask of the machine as a whole. Any thread; must not block.
struct SystemRequests {
    std::function<void()> power_off;
    std::function<void()> reset;
    std::function<void(u32 status)> exit;  // end the program
    std::function<void()> panicked;        // the guest's kernel says so
};

// As the processors' model says, or all of them in one socket.
cpu::x86::Topology processor_topology(const MachineConfig& config);

class Board {
public:
    // `config.drives` and `config.serial` move into the board's devices. Errors name the device and the property.
    // `memory` is filled with RAM and outlives the board, as does whatever connects to the local APICs.
    static Result<std::unique_ptr<Board>> create(MachineConfig& config, devices::GuestMemory& memory,
                                                 const SystemRequests& requests);

    devices::GuestMemory& memory;
    devices::AddressSpace io{"I/O ports", devices::DoorbellHost::Space::Ports};
    devices::AddressSpace mmio{"memory"};
    std::unique_ptr<devices::RealClock> clock;

    // Interrupt fabric.
    devices::ApicBus apic_bus;
    std::vector<std::unique_ptr<devices::Lapic>> lapics;  // by vCPU
    std::unique_ptr<devices::Ioapic> ioapic;
    std::unique_ptr<devices::PicPair> pic;
    std::unique_ptr<devices::FpuError> fpu_error;
    std::unique_ptr<devices::KvmClock> kvmclock;
    std::unique_ptr<devices::AcpiPm> pm;
    std::unique_ptr<devices::FwCfg> fw_cfg;

    // Every device, in the order of reset and restore.
    [[nodiscard]] std::span<devices::Device* const> devices() const { return all_; }

    // Devices over MMIO, which the firmware tables list.
    [[nodiscard]] unsigned virtio_mmio_devices() const { return virtio_mmio_; }
    // Port of a pvpanic device; 0: there is none.
    [[nodiscard]] u16 panic_port() const { return panic_port_; }
    // What has a "bootindex", by it: the device's path as firmware names it (IEEE 1275 in fw_cfg's "bootorder").
    [[nodiscard]] const std::map<u64, std::string>& boot_order() const { return boot_order_; }
    // The balloon, where there is one.
    [[nodiscard]] devices::virtio::Balloon* balloon() const { return virtio_.balloon(); }
    // Flash chips from `top` down, each below the one before.
    Result<void> attach_flash(std::vector<std::unique_ptr<devices::BlockBackend>> chips, u64 top);
    // The same with unique names.
    [[nodiscard]] std::vector<NamedDevice> named_devices() const;

    // Interrupt controllers that run elsewhere: give_controllers() hands the models' state to `host` (null: they stay here)
    // and has everything go there; take_controllers() brings it back. While no vCPU runs and devices rest.
    Result<void> give_controllers(devices::HostControllers* host);
    Result<void> take_controllers();

    // Puts every device into its power-on state. All processors are out of guest code.
    void reset();
    // What firmware would do before it starts a kernel: configuration window, power-management ports, BAR addresses, virtual
    // wire mode.
    Result<void> set_up_without_firmware();

private:
    Board(devices::GuestMemory& guest_memory, SystemRequests requests)
        : memory(guest_memory), requests_(std::move(requests)) {}
    Result<void> attach_memory(u64 ram_bytes);
    Result<void> attach_interrupt_controllers(const cpu::x86::Topology& topology);
    Result<void> attach_clocks(const MachineConfig& config);
    // Before the clocks whose interrupts it may replace; returns the lines that these are to drive.
    struct ClockLines {
        devices::IrqLine pit, rtc;
    };
    Result<ClockLines> attach_event_timer(bool wanted);
    Result<void> attach_serial(std::vector<std::unique_ptr<devices::CharBackend>>& backends);
    Result<void> attach_system_control();
    Result<void> attach_debug_console(std::unique_ptr<devices::CharBackend> backend);
    void fill_cmos(const MachineConfig& config);
    Result<void> attach_pci();
    Result<void> attach_configured(MachineConfig& config);
    // Rows of the device table: what -device may add, and how.
    struct Driver;
    static std::span<const Driver> drivers();
    friend std::string device_help();
    Result<void> attach_debug_exit(const DeviceConfig& device, const DeviceProperties& properties, MachineConfig& config);
    Result<void> attach_panic_port(const DeviceConfig& device, const DeviceProperties& properties, MachineConfig& config);
    Result<void> attach_panic_function(const DeviceConfig& device, const DeviceProperties& properties,
                                       MachineConfig& config);
    [[nodiscard]] std::function<void(bool)> panic_handler() const;
    Result<void> attach_pc_testdev(const DeviceConfig& device, const DeviceProperties& properties, MachineConfig& config);
    Result<void> attach_pci_testdev(const DeviceConfig& device, const DeviceProperties& properties, MachineConfig& config);
    VirtioDevices::Board virtio_board();
    Result<void> add_virtio_mmio(std::unique_ptr<devices::virtio::VirtioDevice> device);
    Result<void> attach_serial_port(const DeviceConfig& device, const DeviceProperties& properties, MachineConfig& config);

    // Puts a function where its property "addr" says, or into the first free slot, and takes it over.
    // `boot_path`: what follows its address in the boot order, when it can be in there.
    template <class Function>
    Result<void> add_function(std::unique_ptr<Function> function, const DeviceProperties& properties,
                              const char* boot_path = nullptr);
    Result<void> note_boot_index(const DeviceProperties& properties, DeviceProperties::PciAddress place,
                                 const char* boot_path);
    Result<void> map_ports(const char* name, u64 base, u64 size, devices::IoHandler& handler);
    // A new source of ISA interrupt `irq`, which reaches the 8259s and the I/O APIC.
    [[nodiscard]] devices::IrqLine isa_irq(unsigned irq) const { return isa_lines_[irq].source(); }

    const SystemRequests requests_;
    std::array<devices::pci::SharedLine, 16> isa_lines_;
    std::array<devices::pci::SharedLine, devices::pci::kPirqs> gsi_lines_;  // I/O APIC pins of the PIRQs
    std::vector<std::unique_ptr<devices::CharBackend>> serial_backends_;
    std::unique_ptr<devices::CharBackend> debug_backend_;
    std::unique_ptr<devices::Hpet> hpet_;
    std::unique_ptr<devices::Pit> pit_;
    std::unique_ptr<devices::Rtc> rtc_;
    std::vector<std::unique_ptr<devices::Uart16550>> uarts_;
    std::unique_ptr<devices::ResetPorts> reset_ports_;
    std::unique_ptr<devices::I8042> keyboard_controller_;
    devices::PostPort post_port_;
    std::unique_ptr<devices::pci::LpcBridge> lpc_;
    std::unique_ptr<devices::pci::PcieRoot> root_;
    std::unique_ptr<devices::pci::HostBridge> host_bridge_;
    std::vector<std::unique_ptr<devices::Device>> added_;
    std::vector<std::unique_ptr<devices::IoHandler>> added_ports_;  // of devices without state
    std::vector<devices::Device*> all_;
    unsigned virtio_mmio_ = 0;
    VirtioDevices virtio_{virtio_board()};  // what no row of the table names
    u16 panic_port_ = 0;
    std::map<u64, std::string> boot_order_;
    devices::GatedLine pit_line_;  // closed by the HPET

    devices::ControllerState controller_state() const;
    void set_host(devices::HostControllers* host);
};

}  // namespace tandem::machines::pc
