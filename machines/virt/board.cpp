#include "machines/virt/board.h"

#include <fmt/format.h>

#include <array>

#include "devices/irq/gicv2.h"
#include "devices/irq/gicv3.h"
#include "devices/misc/pci_testdev.h"
#include "devices/misc/pflash.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio/pci_transport.h"
#include "machines/board_machine.h"
#include "machines/virt/layout.h"

namespace tandem::machines::virt {

using namespace devices;

namespace {

constexpr std::string_view kPciTestDev = "pci-testdev";
constexpr std::array<PropertyRow, 1> kPciTestDevProperties{{{"addr", "SLOT[.FUNCTION] on the PCI bus, hexadecimal"}}};
constexpr std::array<std::string_view, 2> kPortDrivers{"virtconsole", "virtserialport"};

bool is_port(std::string_view driver) { return driver == kPortDrivers[0] || driver == kPortDrivers[1]; }

}  // namespace

Result<std::unique_ptr<Board>> Board::create(MachineConfig& config, const VirtOptions& options, GuestMemory& memory) {
    std::unique_ptr<Board> board(new Board(memory));
    board->clock = create_real_clock();
    board->clock->stop();
    TANDEM_TRY(memory.add("RAM", layout::kRam, config.ram_bytes));
    board->attach_gic(options, config.cpus);
    TANDEM_TRY(board->gic->map(board->mmio));
    TANDEM_TRY(board->attach_peripherals(config, config.cpus));
    if (board->its_) {
        TANDEM_TRY(board->mmio.add({"GIC ITS", layout::kIts.base, layout::kIts.size, board->its_.get()}));
    }
    if (board->messages_) {
        TANDEM_TRY(board->mmio.add({"GICv2m", layout::kGicv2m.base, layout::kGicv2m.size, board->messages_.get()}));
    }
    TANDEM_TRY(board->attach_pci());
    TANDEM_TRY(board->attach_configured(config));
    return board;
}

void Board::attach_gic(const VirtOptions& options, unsigned cpus) {
    if (options.gic_version == 3) {
        Gicv3Config c{{},          layout::kSpis,          layout::kGicd.base,     layout::kGicr.base,
                      options.its, options.virtualization, layout::kMaintenancePpi};
        for (unsigned i = 0; i < cpus; ++i) c.affinities.push_back(layout::affinity(i));
        auto v3 = std::make_unique<Gicv3>(std::move(c), memory);
        if (options.its) its_ = std::make_unique<GicIts>(layout::kIts.base, *v3, memory);
        gic = std::move(v3);
    } else {
        gic = std::make_unique<Gicv2>(Gicv2Config{cpus, layout::kSpis, layout::kGicd.base, layout::kGicc.base,
                                                  options.virtualization, layout::kGich.base, layout::kGicv.base,
                                                  layout::kMaintenancePpi});
    }
    if (!its_) {
        std::vector<IrqLine> lines;
        for (unsigned i = 0; i < layout::kMessageSpis; ++i) lines.push_back(gic->spi(layout::kMessageSpi + i));
        messages_ = std::make_unique<Gicv2m>(layout::kGicv2m.base, Gic::kFirstSpi + layout::kMessageSpi, std::move(lines));
    }
    all_.push_back(&gic->device());
    if (its_) all_.push_back(its_.get());
}

Result<void> Board::attach_peripherals(MachineConfig& config, unsigned cpus) {
    std::vector<std::array<IrqLine, kArmTimers>> lines(cpus);
    constexpr unsigned kPpis[kArmTimers] = {layout::kPhysicalTimerPpi, layout::kVirtualTimerPpi, layout::kHypervisorTimerPpi,
                                            layout::kHypervisorVirtualTimerPpi};
    for (unsigned i = 0; i < cpus; ++i) {
        for (unsigned k = 0; k < kArmTimers; ++k) lines[i][k] = gic->ppi(i, kPpis[k]);
    }
    timers = std::make_unique<ArmTimers>(*clock, std::move(lines));
    all_.push_back(timers.get());
    serial_backends_ = std::move(config.serial);
    for (std::size_t i = 0; i < serial_backends_.size(); ++i) {
        uarts_.push_back(
            std::make_unique<Pl011>(serial_backends_[i].get(), gic->spi(layout::kUartSpi[i]), fmt::format("serial{}", i)));
        TANDEM_TRY(mmio.add({"serial port", layout::kUart[i].base, layout::kUart[i].size, uarts_.back().get()}));
        all_.push_back(uarts_.back().get());
    }
    rtc_ = std::make_unique<Pl031>(*clock, gic->spi(layout::kRtcSpi));
    TANDEM_TRY(mmio.add({"RTC", layout::kRtc.base, layout::kRtc.size, rtc_.get()}));
    gpio = std::make_unique<Pl061>(*clock, gic->spi(layout::kGpioSpi));
    TANDEM_TRY(mmio.add({"GPIO", layout::kGpio.base, layout::kGpio.size, gpio.get()}));
    fw_cfg = std::make_unique<FwCfg>(memory);
    TANDEM_TRY(mmio.add({"firmware configuration", layout::kFwCfg.base, layout::kFwCfg.size, &fw_cfg->memory_registers()}));
    for (Device* d :
         {static_cast<Device*>(rtc_.get()), static_cast<Device*>(gpio.get()), static_cast<Device*>(fw_cfg.get())}) {
        all_.push_back(d);
    }
    return {};
}

// The four pins' lines are shared by all slots, as the device tree says.
Result<void> Board::attach_pci() {
    constexpr unsigned kPins = 4;
    std::array<pci::SharedLine, kPins> lines;
    for (unsigned i = 0; i < kPins; ++i) lines[i] = pci::SharedLine(gic->spi(layout::kPciSpi + i));
    MsiSink* messages = its_ ? static_cast<MsiSink*>(its_.get()) : messages_.get();
    pci::PcieRoot::Wiring wiring{&mmio, &io, messages, {}};
    for (unsigned i = 0; i < pci::kPirqs; ++i) wiring.pirq[i] = lines[i % kPins].source();
    root_ = std::make_unique<pci::PcieRoot>(std::move(wiring));
    host_bridge_ = std::make_unique<pci::GenericHost>();
    TANDEM_TRY(root_->attach(layout::kHostBridgeSlot, 0, *host_bridge_));
    TANDEM_TRY(root_->set_ecam(layout::kEcam.base, layout::kEcam.size));
    TANDEM_TRY(mmio.add({"PCI I/O window", layout::kPciIo.base, layout::kPciIo.size, &io_window_}));
    all_.push_back(root_.get());
    all_.push_back(host_bridge_.get());
    return {};
}

Result<void> Board::attach_configured(MachineConfig& config) {
    for (const auto& device : config.devices) {
        if (device.driver == kPciTestDev) {
            const DeviceProperties properties(device, kPciTestDevProperties);
            TANDEM_TRY(properties.check());
            TANDEM_TRY(add_function(std::make_unique<PciTestDev>(), properties));
            continue;
        }
        if (!is_port(device.driver)) {
            TANDEM_TRY(virtio_.attach(
                device, config, {std::string(kPortDrivers[0]), std::string(kPortDrivers[1]), std::string(kPciTestDev)}));
            continue;
        }
        const DeviceProperties properties(device, VirtioDevices::port_properties());
        TANDEM_TRY(properties.check());
        TANDEM_TRY(virtio_.attach_port(device, properties, config));
    }
    return {};
}

Result<void> Board::attach_flash(std::unique_ptr<BlockBackend> contents) {
    TANDEM_TRY_ASSIGN(auto flash,
                      Pflash::create("pflash1", std::move(contents), {layout::kFlashBlock, layout::kFlashWidth}));
    if (flash->size() > layout::kFlash[1].size) {
        return invalid(
            fmt::format("{}: {} bytes do not fit into {} MiB", flash->name(), flash->size(), layout::kFlash[1].size >> 20));
    }
    TANDEM_TRY(mmio.add({"variables flash", layout::kFlash[1].base, flash->size(), flash.get()}));
    all_.push_back(flash.get());
    added_.push_back(std::move(flash));
    return {};
}

VirtioDevices::Board Board::virtio_board() {
    return {memory, [this](std::unique_ptr<virtio::VirtioDevice> device) { return add_virtio_mmio(std::move(device)); },
            [this](std::unique_ptr<virtio::VirtioDevice> device, u32 pci_class, const DeviceProperties& properties,
                   const char*) { return add_virtio_pci(std::move(device), pci_class, properties); }};
}

Result<void> Board::add_virtio_mmio(std::unique_ptr<virtio::VirtioDevice> device) {
    const u64 offset = virtio_mmio_ * layout::kVirtioMmioStride;
    if (offset >= layout::kVirtioMmio.size) {
        return Error{Errc::Busy, fmt::format("device '{}': there is no room for more on MMIO", device->name())};
    }
    auto transport = std::make_unique<virtio::VirtioMmio>(std::move(device), gic->spi(layout::kVirtioSpi + virtio_mmio_++));
    TANDEM_TRY(mmio.add({"virtio-mmio", layout::kVirtioMmio.base + offset, layout::kVirtioMmioStride, transport.get()}));
    all_.push_back(transport.get());
    added_.push_back(std::move(transport));
    return {};
}

Result<void> Board::add_virtio_pci(std::unique_ptr<virtio::VirtioDevice> device, u32 pci_class,
                                   const DeviceProperties& properties) {
    TANDEM_TRY_ASSIGN(const bool doorbells, properties.flag("ioeventfd", true));
    return add_function(std::make_unique<virtio::VirtioPci>(std::move(device), pci_class, doorbells), properties);
}

template <class Function>
Result<void> Board::add_function(std::unique_ptr<Function> function, const DeviceProperties& properties) {
    TANDEM_TRY_ASSIGN(const auto place, choose_pci_address(*root_, properties, layout::kFirstFreeSlot));
    TANDEM_TRY(root_->attach(place.slot, place.function, *function));
    all_.push_back(function.get());
    added_.push_back(std::move(function));
    return {};
}

std::vector<NamedDevice> Board::named_devices() const { return name_devices(all_, *root_); }

std::string Board::device_help() {
    std::string text = VirtioDevices::help();
    for (const auto driver : kPortDrivers) {
        text += fmt::format("{}  on a virtio-serial device\n", driver) + property_help(VirtioDevices::port_properties());
    }
    return text + fmt::format("{}  PCI function that counts writes\n", kPciTestDev) + property_help(kPciTestDevProperties);
}

}  // namespace tandem::machines::virt
