#include "machines/pc/board.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "machines/board_machine.h"
#include "machines/pc/layout.h"

namespace tandem::machines::pc {

using namespace devices;

cpu::x86::Topology processor_topology(const MachineConfig& config) {
    const auto* model = config.cpu ? std::get_if<cpu::x86::CpuModel>(&*config.cpu) : nullptr;
    return model != nullptr ? model->topology(config.cpus) : cpu::x86::Topology{1, config.cpus, 1};
}

Result<std::unique_ptr<Board>> Board::create(MachineConfig& config, GuestMemory& memory, const SystemRequests& requests) {
    std::unique_ptr<Board> board(new Board(memory, requests));
    board->clock = create_real_clock();
    board->clock->stop();
    TANDEM_TRY(board->attach_memory(config.ram_bytes));
    TANDEM_TRY(board->attach_interrupt_controllers(processor_topology(config)));
    TANDEM_TRY(board->attach_clocks(config));
    board->fill_cmos(config);
    TANDEM_TRY(board->attach_serial(config.serial));
    TANDEM_TRY(board->attach_system_control());
    TANDEM_TRY(board->attach_debug_console(std::move(config.debug_console)));
    TANDEM_TRY(board->attach_pci());
    TANDEM_TRY(board->attach_configured(config));
    return board;
}

Result<void> Board::attach_memory(u64 ram_bytes) {
    const u64 low = std::min(ram_bytes, layout::kLowRamMax);
    TANDEM_TRY(memory.add("RAM", 0, low));
    if (ram_bytes > low) TANDEM_TRY(memory.add("RAM above 4 GiB", layout::kHighRam, ram_bytes - low));
    return {};
}

Result<void> Board::attach_interrupt_controllers(const cpu::x86::Topology& topology) {
    for (u32 i = 0; i < topology.count(); ++i) {
        LapicConfig config{.id = topology.apic_id(i), .bsp = i == 0, .base = layout::kLapic.base};
        config.number = i;
        lapics.push_back(std::make_unique<Lapic>(config, apic_bus, *clock));
        all_.push_back(lapics.back().get());
    }
    ioapic = std::make_unique<Ioapic>(apic_bus);
    TANDEM_TRY(mmio.add({"IOAPIC", layout::kIoapic.base, layout::kIoapic.size, ioapic.get()}));
    pic = std::make_unique<PicPair>(lapics[0]->lint(0));
    lapics[0]->connect_ext_int([this] { return pic->acknowledge(); });
    TANDEM_TRY(map_ports("8259 master", layout::kPic1.base, layout::kPic1.size, pic->master_ports()));
    TANDEM_TRY(map_ports("8259 slave", layout::kPic2.base, layout::kPic2.size, pic->slave_ports()));
    TANDEM_TRY(map_ports("8259 edge/level", layout::kElcr.base, layout::kElcr.size, pic->elcr_ports()));
    all_.push_back(ioapic.get());
    all_.push_back(pic.get());
    for (unsigned irq = 0; irq < isa_lines_.size(); ++irq) {
        const unsigned pin = irq == 0 ? layout::kTimerPin : irq;
        isa_lines_[irq] = pci::SharedLine(IrqLine([this, irq, pin](bool level) {
            // The better answer of the two: enumerators are in that order.
            return std::min(pic->set_line(irq, level), ioapic->set_pin(pin, level));
        }));
    }
    return {};
}

// Its interrupts go to the pins of the PIRQs, as messages, or to those of timer and clock.
Result<Board::ClockLines> Board::attach_event_timer(bool wanted) {
    if (!wanted) return ClockLines{isa_irq(0), isa_irq(layout::kRtcIrq)};
    Hpet::Wiring wiring;
    wiring.legacy = {isa_irq(0), isa_irq(layout::kRtcIrq)};
    wiring.pit = GatedLine(isa_irq(0));
    wiring.rtc = GatedLine(isa_irq(layout::kRtcIrq));
    wiring.messages = &apic_bus;
    for (unsigned i = 0; i < pci::kPirqs; ++i) {
        wiring.input[layout::kPirqGsi + i] = gsi_lines_[i].source();
    }
    ClockLines lines{wiring.pit.input(), wiring.rtc.input()};
    pit_line_ = wiring.pit;
    pit_line_.on_change([this](bool closed) {
        if (HostControllers* host = apic_bus.host(); host != nullptr && host->all()) host->set_pit_closed(closed);
    });
    hpet_ = std::make_unique<Hpet>(*clock, std::move(wiring));
    TANDEM_TRY(mmio.add({"HPET", layout::kHpet.base, layout::kHpet.size, hpet_.get()}));
    all_.push_back(hpet_.get());
    return lines;
}

Result<void> Board::attach_clocks(const MachineConfig& config) {
    for (unsigned i = 0; i < pci::kPirqs; ++i) gsi_lines_[i] = pci::SharedLine(ioapic->line(layout::kPirqGsi + i));
    TANDEM_TRY_ASSIGN(const ClockLines lines, attach_event_timer(config.hpet));
    pit_ = std::make_unique<Pit>(*clock, lines.pit);
    TANDEM_TRY(map_ports("8254", layout::kPit.base, layout::kPit.size, pit_->ports()));
    TANDEM_TRY(map_ports("system control B", layout::kPort61, 1, pit_->control_port()));
    rtc_ = std::make_unique<Rtc>(*clock, lines.rtc, config.rtc);
    TANDEM_TRY(map_ports("RTC", layout::kRtc.base, layout::kRtc.size, *rtc_));
    kvmclock = std::make_unique<KvmClock>(*clock, memory, config.cpus);
    for (Device* d :
         {static_cast<Device*>(pit_.get()), static_cast<Device*>(rtc_.get()), static_cast<Device*>(kvmclock.get())}) {
        all_.push_back(d);
    }
    return {};
}

Result<void> Board::attach_serial(std::vector<std::unique_ptr<CharBackend>>& backends) {
    serial_backends_ = std::move(backends);
    for (std::size_t i = 0; i < serial_backends_.size(); ++i) {
        uarts_.push_back(std::make_unique<Uart16550>(serial_backends_[i].get(), *clock, isa_irq(layout::kSerialIrq[i]),
                                                     fmt::format("serial{}", i)));
        TANDEM_TRY(map_ports("serial port", layout::kSerial[i].base, layout::kSerial[i].size, *uarts_.back()));
        all_.push_back(uarts_.back().get());
    }
    return {};
}

Result<void> Board::attach_system_control() {
    reset_ports_ = std::make_unique<ResetPorts>(requests_.reset);
    TANDEM_TRY(map_ports("system control A", layout::kPort92, 1, reset_ports_->port92()));
    keyboard_controller_ =
        std::make_unique<I8042>(isa_irq(layout::kKeyboardIrq), isa_irq(layout::kMouseIrq), requests_.reset);
    TANDEM_TRY(
        map_ports("keyboard controller data", layout::kKeyboard.base, layout::kKeyboard.size, keyboard_controller_->data()));
    TANDEM_TRY(map_ports("keyboard controller command", layout::kKeyboardCommand, 1, keyboard_controller_->command()));
    fpu_error = std::make_unique<FpuError>(isa_irq(layout::kFpuIrq));
    TANDEM_TRY(map_ports("x87 error", layout::kFpuError.base, layout::kFpuError.size, *fpu_error));
    all_.push_back(fpu_error.get());
    TANDEM_TRY(map_ports("POST", layout::kPort80, 1, post_port_));
    pm = std::make_unique<AcpiPm>(*clock, isa_irq(layout::kSciIrq), [this](unsigned sleep_type) {
        if (sleep_type == layout::kSleepTypeS5) return requests_.power_off();
        log::trace(log::GuestErrors, "guest_errors: acpi-pm: sleep type {} is not offered", sleep_type);
    });
    fw_cfg = std::make_unique<FwCfg>(memory);
    TANDEM_TRY(map_ports("firmware configuration", layout::kFwCfg.base, layout::kFwCfg.size, fw_cfg->ports()));
    TANDEM_TRY(map_ports("firmware configuration DMA", layout::kFwCfgDma.base, layout::kFwCfgDma.size, fw_cfg->dma_ports()));
    all_.push_back(fw_cfg.get());
    all_.push_back(reset_ports_.get());
    all_.push_back(keyboard_controller_.get());
    all_.push_back(&post_port_);
    all_.push_back(pm.get());
    return {};
}

Result<void> Board::attach_pci() {
    pci::LpcBridge::Wiring lpc{&io, pm.get(), {}, {}};
    for (unsigned irq = 0; irq < lpc.pic.size(); ++irq) {
        // Only the 8259s: on the I/O APIC the PIRQs have pins of their own.
        lpc.pic[irq] = pic->line(irq);
    }
    for (unsigned i = 0; i < pci::kPirqs; ++i) {
        lpc.gsi[i] = gsi_lines_[i].source();
    }
    lpc_ = std::make_unique<pci::LpcBridge>(std::move(lpc));
    pci::PcieRoot::Wiring wiring{&mmio, &io, &apic_bus, {}};
    for (unsigned i = 0; i < pci::kPirqs; ++i) wiring.pirq[i] = lpc_->pirq_input(i);
    root_ = std::make_unique<pci::PcieRoot>(std::move(wiring));
    TANDEM_TRY(root_->map_ports(layout::kPciConfig, &reset_ports_->reset_control()));
    host_bridge_ = std::make_unique<pci::HostBridge>(*root_);
    TANDEM_TRY(root_->attach(layout::kHostBridgeSlot, 0, *host_bridge_));
    TANDEM_TRY(root_->attach(layout::kLpcSlot, 0, *lpc_));
    all_.push_back(root_.get());
    all_.push_back(host_bridge_.get());
    all_.push_back(lpc_.get());
    return {};
}

Result<void> Board::attach_debug_console(std::unique_ptr<CharBackend> backend) {
    if (!backend) return {};
    debug_backend_ = std::move(backend);
    added_ports_.push_back(std::make_unique<DebugConsole>(debug_backend_.get()));
    for (const u64 port : layout::kDebugConsole) {
        TANDEM_TRY(map_ports("debug console", port, 1, *added_ports_.back()));
    }
    return {};
}

// The fields that PC firmware looks at (RTC memory map of the AT and its successors).
void Board::fill_cmos(const MachineConfig& config) {
    using namespace layout;
    const u64 ram_bytes = config.ram_bytes;
    const auto put = [this](u8 at, u64 value, unsigned bytes) {
        for (unsigned i = 0; i < bytes; ++i) rtc_->set_nvram(static_cast<u8>(at + i), static_cast<u8>(value >> (8 * i)));
    };
    const u64 low = std::min(ram_bytes, kLowRamMax);
    const u64 extended = std::min<u64>((low - kOneMiB) / kKiB, 0xffff);
    constexpr u64 kAbove = 16 * kMiB, kUnit = 64 * kKiB;
    put(0x14, 0x06, 1);  // equipment: coprocessor, pointing device, no diskette drive
    put(0x15, 640, 2);   // KiB of base memory
    put(0x17, extended, 2);
    put(0x30, extended, 2);
    put(0x34, low > kAbove ? std::min<u64>((low - kAbove) / kUnit, 0xffff) : 0, 2);
    put(0x5b, (ram_bytes - low) / kUnit, 3);
    // Boot order, a digit for each kind of device: the third is in another byte.
    constexpr std::string_view kKinds = "acdn";
    std::array<u64, 3> kinds{2, 3, 0};
    if (!config.boot.order.empty()) {
        kinds = {};
        for (std::size_t i = 0; i < std::min(kinds.size(), config.boot.order.size()); ++i) {
            kinds[i] = kKinds.find(config.boot.order[i]) + 1;
        }
    }
    put(0x3d, kinds[0] | kinds[1] << 4, 1);
    put(0x38, kinds[2] << 4, 1);
    put(0x5f, config.cpus - 1, 1);
}

Result<void> Board::map_ports(const char* name, u64 base, u64 size, IoHandler& handler) {
    return io.add({name, base, size, &handler});
}

std::vector<NamedDevice> Board::named_devices() const { return name_devices(all_, *root_); }

void Board::reset() {
    for (Device* d : all_) d->reset();
}

Result<void> Board::set_up_without_firmware() {
    host_bridge_->enable_window(layout::kEcam.base);
    lpc_->enable_pm(static_cast<u16>(layout::kPm.base));
    keyboard_controller_->enter_initialised_state();
    for (const auto& lapic : lapics) lapic->enter_virtual_wire_mode();
    const auto window = [](const layout::Range& r) { return pci::PcieRoot::Window{r.base, r.size}; };
    return root_->assign_resources(window(layout::kPci32), window(layout::kPci64), window(layout::kPciIo));
}

}  // namespace tandem::machines::pc
