#include "machines/pc/pc_machine.h"

#include <fmt/format.h>

#include "accel/accelerator.h"
#include "accel/run_loop.h"
#include "base/bits.h"
#include "machines/board_machine.h"
#include "machines/boot_file.h"
#include "machines/device_properties.h"
#include "machines/pc/acpi_loader.h"
#include "machines/pc/acpi_tables.h"
#include "machines/pc/bios_data.h"
#include "machines/pc/board.h"
#include "machines/pc/boot_image.h"
#include "machines/pc/firmware.h"
#include "machines/pc/hypercalls.h"
#include "machines/pc/kernel_files.h"
#include "machines/pc/layout.h"
#include "machines/pc/smbios.h"

namespace tandem::machines::pc {
namespace {

namespace x86 = cpu::x86;

constexpr std::array<PropertyRow, 4> kProperties{
    {{"hpet", "on (default) or off"},
     {"rt-prio", "off (default), or the SCHED_FIFO priority, 1 to 99, that a guest may ask for its processors' threads"},
     {"rt-prio-number", "number of the hypercall that asks for it (default: 0x52545052)"},
     {"hypercall-msr", "MSR by which the guest places a page of hypercall stubs (default: none)"}}};

class PcMachine final : public BoardMachine {
public:
    Result<void> create(MachineConfig config, std::unique_ptr<accel::Accelerator> accelerator) {
        TANDEM_TRY(take_properties(config));
        TANDEM_TRY(check(config));
        begin(config);
        const auto* model = config.cpu ? std::get_if<x86::CpuModel>(&*config.cpu) : nullptr;
        if (model != nullptr) signature_ = model->signature();
        cpus_ = config.cpus;
        const bool by_firmware = config.kernel.empty() || !config.firmware.empty() || needs_firmware(config.kernel);
        if (!config.pflash.empty()) {
            TANDEM_TRY_ASSIGN(firmware_, Firmware::read(*config.pflash.front(), "the first pflash drive"));
        } else if (by_firmware) {
            TANDEM_TRY_ASSIGN(firmware_, Firmware::load(config.firmware, config.firmware_directories));
        } else {
            TANDEM_TRY_ASSIGN(image_, load_boot_image({config.kernel, config.initrd, config.append}, config.ram_bytes));
        }
        acpi_ = {processor_topology(config), static_cast<unsigned>(config.serial.size())};
        const SystemRequests requests{
            [this] { control_.post(RunControl::Event::PowerOff); }, [this] { control_.post(RunControl::Event::Reset); },
            [this](u32 status) { control_.post_exit(status); }, [this] { control_.post(RunControl::Event::Panic); }};
        TANDEM_TRY_ASSIGN(board_, Board::create(config, memory_, requests));
        acpi_.virtio_mmio = board_->virtio_mmio_devices();
        acpi_.hpet = config.hpet;
        acpi_.panic_port = board_->panic_port();
        TANDEM_TRY_ASSIGN(smbios_, build_smbios(config));
        TANDEM_TRY_ASSIGN(const x86::CpuModel processors, model != nullptr ? *model : x86::CpuModel::create("max"));
        if (processors.has(x86::Feature::KVM_PV_EOI)) {
            for (const auto& lapic : board_->lapics) lapic->connect_eoi(memory_);
        }
        hypercall_options_.cpus = config.cpus;
        hypercalls_.emplace(hypercall_options_, processors, board_->apic_bus, memory_, *board_->clock);
        if (hypercall_options_.realtime_priority && !hypercalls_->has_realtime_number()) {
            return invalid(fmt::format("-machine rt-prio-number={}: a feature of -cpu has the hypercall of that number",
                                       hypercall_options_.realtime_number));
        }
        if (firmware_) TANDEM_TRY(firmware_->map(memory_));
        if (!config.pflash.empty()) {
            config.pflash.erase(config.pflash.begin());
            TANDEM_TRY(board_->attach_flash(std::move(config.pflash), 4 * layout::kGiB - firmware_->size()));
        }
        auto devices = board_->named_devices();
        const bool kicks = processors.has(x86::Feature::KVM_PV_UNHALT);
        if (hypercall_options_.page_msr != 0 || kicks) devices.push_back({std::string(hypercalls_->name()), &*hypercalls_});
        take_devices(config, std::move(devices));
        TANDEM_TRY(describe(config));
        TANDEM_TRY(create_vcpus(std::move(accelerator), config.cpus));
        for (const auto& vcpu : vcpus_) {
            devices::Lapic& lapic = *board_->lapics[vcpu->index()];
            lapic.connect(*vcpu);
            if (auto* halting = dynamic_cast<accel::UnhaltVcpu*>(vcpu.get()); halting != nullptr) {
                hypercalls_->connect(vcpu->index(), lapic.id(), *halting);
            }
        }
        stop_devices();  // until run()
        return reset();
    }

    void request_powerdown() override { board_->pm->press_power_button(); }

private:
    // What -machine says beside the type.
    Result<void> take_properties(MachineConfig& config) {
        const DeviceProperties properties("-machine " + config.type, config.properties, kProperties);
        TANDEM_TRY(properties.check());
        TANDEM_TRY_ASSIGN(config.hpet, properties.flag("hpet", config.hpet));
        if (properties.text("rt-prio").value_or("off") != "off") {
            TANDEM_TRY_ASSIGN(const u64 priority, properties.number("rt-prio", 1, 1, 99));
            hypercall_options_.realtime_priority = static_cast<int>(priority);
        }
        TANDEM_TRY_ASSIGN(hypercall_options_.realtime_number,
                          properties.number("rt-prio-number", hypercall_options_.realtime_number, 0, ~u32{0}));
        TANDEM_TRY_ASSIGN(const u64 msr, properties.number("hypercall-msr", 0, kFirstFreeMsr, ~u32{0}));
        hypercall_options_.page_msr = static_cast<u32>(msr);
        return {};
    }
    // Where no processor has registers of its own: what hypervisors use (SDM volume 4, table 2-2).
    static constexpr u32 kFirstFreeMsr = 0x40000000;
    static constexpr u64 kMtrrEnabledWriteBack = 1u << 11 | 6;

    static Result<void> check(const MachineConfig& config) {
        if (config.cpus < 1 || config.cpus > layout::kMaxCpus) {
            return invalid(fmt::format("-smp {}: machine 'pc' takes 1 to {} processors", config.cpus, layout::kMaxCpus));
        }
        if (const u32 last = processor_topology(config).apic_id(config.cpus - 1); last > layout::kMaxApicId) {
            return invalid(fmt::format("-smp: with these cores and threads APIC ids go up to {}, machine 'pc' has {}", last,
                                       layout::kMaxApicId));
        }
        if (config.ram_bytes < layout::kMinRam || config.ram_bytes > layout::kMaxRam ||
            config.ram_bytes % layout::kMiB != 0) {
            return invalid(fmt::format("-m {}: machine 'pc' takes whole MiB from {} to {}", config.ram_bytes >> 20,
                                       layout::kMinRam >> 20, layout::kMaxRam >> 20));
        }
        if (config.serial.size() > std::size(layout::kSerial)) {
            return invalid(fmt::format("machine 'pc' has at most {} serial ports", std::size(layout::kSerial)));
        }
        if (!config.pflash.empty() && !config.firmware.empty()) {
            return invalid("-bios and a drive with if=pflash exclude each other");
        }
        if (config.kernel.empty() && !(config.initrd.empty() && config.append.empty())) {
            return invalid("-initrd and -append need -kernel");
        }
        return {};
    }

    // What the firmware configuration device says of the machine.
    Result<void> describe(const MachineConfig& config) {
        using devices::FwCfg;
        FwCfg& fw = *board_->fw_cfg;
        fw.set_number(FwCfg::kRamSize, config.ram_bytes, 8);
        fw.set_number(FwCfg::kCpus, config.cpus, 2);
        // Firmware sizes its tables by this: one more than the largest APIC id.
        fw.set_number(FwCfg::kMaxCpus, acpi_.topology.apic_id(config.cpus - 1) + 1, 2);
        fw.set_number(FwCfg::kIrq0Override, 1, 1);
        std::vector<u8> map;
        for (const auto& e : memory_map(config.ram_bytes)) {
            // All of low RAM is one entry: firmware reserves what it keeps for itself.
            if (e.type != E820Entry::Ram || e.base == layout::kLowMemory.base) continue;
            const u64 base = e.base == layout::kOneMiB ? 0 : e.base;
            append_e820(map, {base, e.base + e.size - base, e.type});
        }
        TANDEM_TRY(fw.set_files(config.fw_cfg));
        TANDEM_TRY(fw.set_file("etc/e820", std::move(map)));
        // Without a display SeaBIOS shows its text screen on the first serial port.
        if (acpi_.serial_ports != 0) {
            TANDEM_TRY(fw.set_file("etc/sercon-port", {0xf8, 0x03}));
        }
        if (!firmware_) return {};
        fw.set(FwCfg::kUuid, parse_uuid(config.uuid));
        fw.set_number(FwCfg::kBootMenu, config.boot.menu ? 1 : 0, 2);
        TANDEM_TRY(publish_boot_order(fw, config));
        TANDEM_TRY(fw.set_file("etc/smbios/smbios-tables", smbios_.structures));
        TANDEM_TRY(fw.set_file("etc/smbios/smbios-anchor", smbios_.entry_point(0)));
        if (!config.kernel.empty()) TANDEM_TRY(publish_kernel(fw, config));
        return publish_acpi_tables(fw, acpi_);
    }

    Result<void> publish_boot_order(devices::FwCfg& fw, const MachineConfig& config) {
        std::string text;
        if (!config.kernel.empty()) text = std::string(kKernelRomPath) + "\n";
        for (const auto& [index, path] : board_->boot_order()) text += path + "\n";
        if (config.boot.strict) text += "HALT\n";
        if (text.empty()) return {};
        text.back() = '\0';
        return fw.set_file("bootorder", std::vector<u8>(text.begin(), text.end()));
    }

    static void append_e820(std::vector<u8>& map, const E820Entry& e) {
        map.resize(map.size() + 20);
        const auto entry = std::span(map).last(20);
        set_field<u64>(entry, 0, e.base);
        set_field<u64>(entry, 8, e.size);
        set_field<u32>(entry, 16, e.type);
    }

    Buses buses() override { return {board_->mmio, board_->io, *board_->clock, board_->balloon()}; }

    // Power-on state, then the firmware's first instruction or the kernel's entry. No vCPU is in guest code.
    Result<void> reset() override {
        board_->reset();
        hypercalls_->reset();
        if (firmware_) {
            TANDEM_TRY(firmware_->place(board_->memory));
        } else {
            TANDEM_TRY(place_kernel());
        }
        for (const auto& vcpu : vcpus_) {
            const bool bsp = vcpu->index() == 0;
            x86::State state;
            x86::reset(state, bsp, signature_);
            // Firmware would leave every processor with the same memory types (SDM volume 3, 11.11.8): all is write-back.
            if (image_) state.msr.mtrr_def_type = kMtrrEnabledWriteBack;
            if (bsp && image_) image_->set_entry_state(state);
            state.msr.apic_base = board_->lapics[vcpu->index()]->apic_base();
            TANDEM_TRY(vcpu->import_state(state));
        }
        return {};
    }

    Result<void> place_kernel() {
        TANDEM_TRY(board_->set_up_without_firmware());
        TANDEM_TRY(place_bios_data(board_->memory, acpi_.serial_ports));
        TANDEM_TRY_ASSIGN(const auto tables, build_acpi_tables(acpi_, layout::kAcpiTables.base, layout::kAcpiTables.size));
        for (const auto& t : tables) {
            if (!board_->memory.write(t.address, t.bytes.data(), t.bytes.size())) {
                return Error{Errc::Internal, "ACPI tables do not lie in RAM"};
            }
        }
        const auto entry = smbios_.entry_point(layout::kSmbios.base + kSmbiosEntrySize);
        if (!board_->memory.write(layout::kSmbios.base, entry.data(), entry.size()) ||
            !board_->memory.write(layout::kSmbios.base + kSmbiosEntrySize, smbios_.structures.data(),
                                  smbios_.structures.size())) {
            return Error{Errc::Internal, "SMBIOS tables do not lie in RAM"};
        }
        return image_->place(board_->memory, tables.front().address);
    }

    Result<void> take_controllers() override { return board_->take_controllers(); }
    Result<void> give_controllers() override { return board_->give_controllers(accelerator_->host_controllers()); }
    void end_of_interrupt(u8 vector) override { board_->apic_bus.broadcast_eoi(vector); }

    // accel::ExitHandler
    void handle(accel::Vcpu& vcpu, accel::Exit& exit) override {
        count(vcpu.index(), exit);
        if (auto* port = std::get_if<accel::PortExit>(&exit)) {
            handle_port(vcpu, *port);
        } else if (auto* mmio = std::get_if<accel::MmioExit>(&exit)) {
            handle_mmio(vcpu.index(), *mmio);
        } else if (auto* msr = std::get_if<accel::MsrExit>(&exit)) {
            handle_msr(vcpu.index(), *msr);
        } else if (auto* call = std::get_if<accel::HypercallExit>(&exit)) {
            hypercalls_->call(vcpu.index(), *call);
        }
    }
    devices::CpuInterruptController& interrupt_controller(unsigned vcpu) override { return *board_->lapics[vcpu]; }
    u64 tsc(unsigned) override { return board_->clock->tsc(); }
    std::optional<u64> host_tsc_base() override {
        const devices::HostTsc host = board_->clock->host_tsc();
        return host.usable ? std::optional(host.offset) : std::nullopt;
    }
    void tsc_offset_changed(unsigned vcpu, u64 offset) override {
        board_->lapics[vcpu]->set_tsc_offset(offset);
        board_->kvmclock->set_tsc_offset(vcpu, offset);
        hypercalls_->set_tsc_offset(vcpu, offset);
    }
    void fpu_error(unsigned) override { board_->fpu_error->assert_error(); }
    u64 tsc_hz() override { return board_->clock->tsc_hz(); }
    unsigned cpu_count() override { return cpus_; }

    void handle_port(accel::Vcpu& vcpu, accel::PortExit& e) {
        if (hypercalls_->owns_port(e.port)) {
            hypercalls_->port(vcpu.index(), e, [&](accel::HypercallExit& call) {
                accel::Exit exit = call;
                accel::dispatch(vcpu, *this, exit);
                call = std::get<accel::HypercallExit>(exit);
            });
            return;
        }
        if (e.write) {
            board_->io.write(e.port, e.data, e.size);
        } else {
            e.data = static_cast<u32>(board_->io.read(e.port, e.size));
        }
    }

    // A processor's local APIC answers before the bus, at the address its APIC base says.
    void handle_mmio(unsigned vcpu, accel::MmioExit& e) {
        devices::Lapic& lapic = *board_->lapics[vcpu];
        const u64 page = align_down(lapic.apic_base() & mask(52), devices::Lapic::kRegisterPage);
        if (align_down(e.address, devices::Lapic::kRegisterPage) == page) {
            if (e.write) {
                lapic.io_write(e.address - page, e.data, e.size);
            } else {
                e.data = lapic.io_read(e.address - page, e.size);
            }
        } else if (e.write) {
            board_->mmio.write(e.address, e.data, e.size);
        } else {
            e.data = board_->mmio.read(e.address, e.size);
        }
    }

    void handle_msr(unsigned vcpu, accel::MsrExit& e) {
        bool good = false;
        if (devices::Lapic::owns_msr(e.index)) {
            devices::Lapic& lapic = *board_->lapics[vcpu];
            // An APIC that runs elsewhere has refused what comes here.
            const bool ours = board_->apic_bus.host() == nullptr;
            good = ours && (e.write ? lapic.msr_write(e.index, e.data) : lapic.msr_read(e.index, e.data));
        } else if (devices::KvmClock::owns_msr(e.index)) {
            good = e.write ? board_->kvmclock->msr_write(vcpu, e.index, e.data)
                           : board_->kvmclock->msr_read(vcpu, e.index, e.data);
        } else if (hypercalls_->owns_msr(e.index)) {
            good = !e.write || hypercalls_->msr_write(e.data);
            if (!e.write) e.data = hypercalls_->msr_read();
        }
        e.fault = !good;
    }

    unsigned cpus_ = 1;
    u32 signature_ = x86::kPProSignature;  // of the processors
    AcpiConfig acpi_;
    SmbiosTables smbios_;
    // What the machine starts with: one of the two.
    std::optional<Firmware> firmware_;
    std::unique_ptr<BootImage> image_;
    std::unique_ptr<Board> board_;
    HypercallOptions hypercall_options_;
    std::optional<Hypercalls> hypercalls_;
};

}  // namespace

std::span<const PropertyRow> machine_properties() { return kProperties; }

Result<std::unique_ptr<Machine>> create_pc(MachineConfig config, std::unique_ptr<accel::Accelerator> accelerator) {
    auto machine = std::make_unique<PcMachine>();
    TANDEM_TRY(machine->create(std::move(config), std::move(accelerator)));
    return std::unique_ptr<Machine>(std::move(machine));
}

}  // namespace tandem::machines::pc
