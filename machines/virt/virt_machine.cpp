#include "machines/virt/virt_machine.h"

#include <fmt/format.h>

#include <optional>
#include <random>

#include "accel/arm_parts.h"
#include "base/log.h"
#include "cpu/arm64/state.h"
#include "machines/board_machine.h"
#include "machines/boot_file.h"
#include "machines/virt/board.h"
#include "machines/virt/device_tree.h"
#include "machines/virt/firmware.h"
#include "machines/virt/layout.h"
#include "machines/virt/linux_image.h"
#include "machines/virt/psci.h"

namespace tandem::machines::virt {
namespace {

namespace arm64 = cpu::arm64;

// Nobody asks for vectors here: the interrupt controllers only drive lines.
class NoVectors final : public devices::CpuInterruptController {
public:
    [[nodiscard]] bool interrupt_pending() const override { return false; }
    int acknowledge() override { return -1; }
    [[nodiscard]] u8 cr8() const override { return 0; }
    void set_cr8(u8) override {}
};

class VirtMachine final : public BoardMachine {
public:
    Result<void> create(MachineConfig config, std::unique_ptr<accel::Accelerator> accelerator) {
        TANDEM_TRY_ASSIGN(options_, parse_options(config.properties, config.cpus));
        TANDEM_TRY(check(config));
        TANDEM_TRY(adopt_parts(dynamic_cast<accel::ArmParts*>(accelerator.get()), config));
        begin(config);
        if (!config.pflash.empty()) {
            TANDEM_TRY_ASSIGN(firmware_, Firmware::read(*config.pflash.front()));
        } else if (config.kernel.empty() || !config.firmware.empty()) {
            TANDEM_TRY_ASSIGN(firmware_, Firmware::load(config.firmware, config.firmware_directories));
        } else {
            TANDEM_TRY_ASSIGN(image_, LinuxImage::load({config.kernel, config.initrd}, layout::kRam, config.ram_bytes));
        }
        TANDEM_TRY_ASSIGN(board_, Board::create(config, options_, memory_));
        if (firmware_) TANDEM_TRY(attach_flash(config));
        std::vector<u64> affinities;
        for (unsigned i = 0; i < config.cpus; ++i) affinities.push_back(layout::affinity(i));
        // An EL2 of the guest's takes HVC.
        using Conduit = accel::HypercallExit::Conduit;
        psci_ = std::make_unique<Psci>(
            std::move(affinities), options_.virtualization ? Conduit::Smc : Conduit::Hvc,
            Psci::Requests{[this](unsigned cpu, u64 entry, u64 context) { vcpus_[cpu]->power_on(entry, context); },
                           [this] { control_.post(RunControl::Event::PowerOff); },
                           [this] { control_.post(RunControl::Event::Reset); }});
        board_->add(*psci_);
        take_devices(config, board_->named_devices());
        TANDEM_TRY(describe(config));
        TANDEM_TRY(create_vcpus(std::move(accelerator), config.cpus));
        for (const auto& vcpu : vcpus_) board_->gic->connect(vcpu->index(), *vcpu);
        stop_devices();  // until run()
        return reset();
    }

    void request_powerdown() override { board_->gpio->press_power_key(); }

private:
    static Result<void> check(const MachineConfig& config) {
        if (config.ram_bytes < layout::kMinRam || config.ram_bytes > layout::kMaxRam ||
            config.ram_bytes % layout::kMiB != 0) {
            return invalid(fmt::format("-m {}: machine 'virt' takes whole MiB from {} to {}", config.ram_bytes >> 20,
                                       layout::kMinRam >> 20, layout::kMaxRam >> 20));
        }
        if (config.serial.size() > std::size(layout::kUart)) {
            return invalid(fmt::format("machine 'virt' has at most {} serial ports", std::size(layout::kUart)));
        }
        if (config.pflash.size() > std::size(layout::kFlash)) {
            return invalid(fmt::format("machine 'virt' has {} flash chips (if=pflash)", std::size(layout::kFlash)));
        }
        if (!config.pflash.empty() && !config.firmware.empty()) {
            return invalid("-bios and a drive with if=pflash exclude each other");
        }
        if (config.debug_console) return invalid("-debugcon: machine 'virt' has no I/O ports");
        if (config.kernel.empty() && !(config.initrd.empty() && config.append.empty())) {
            return invalid("-initrd and -append need -kernel");
        }
        return {};
    }

    // An engine with parts of its own has no EL2 for the guest, no performance monitors, and no ITS in its GICv3: messages
    // go to a GICv2m frame, whose interrupts are shared ones.
    Result<void> adopt_parts(accel::ArmParts* parts, const MachineConfig& config) {
        if (parts == nullptr) return {};
        if (options_.virtualization) {
            return Error{Errc::Unsupported, "-machine virt: virtualization=on needs -accel jit: KVM's guests have no EL2"};
        }
        engine_psci_ = true;
        facts_.performance_monitors = false;
        TANDEM_TRY_ASSIGN(host_gic_, parts->create_host_gic({options_.gic_version, config.cpus, layout::kSpis,
                                                             layout::kGicd.base, layout::kGicc.base, layout::kGicr.base}));
        if (host_gic_ != nullptr && options_.gic_version == 3) options_.its = false;
        return {};
    }

    // Firmware in the first chip, its variables in the second.
    Result<void> attach_flash(MachineConfig& config) {
        TANDEM_TRY(Firmware::map(memory_));
        auto variables = config.pflash.size() > 1 ? std::move(config.pflash[1]) : create_volatile_flash();
        config.pflash.clear();
        facts_.firmware = true;
        facts_.variables_bytes = variables->size_bytes();
        return board_->attach_flash(std::move(variables));
    }

    Result<void> describe(const MachineConfig& config) {
        using devices::FwCfg;
        board_->fw_cfg->set_number(FwCfg::kRamSize, config.ram_bytes, 8);
        board_->fw_cfg->set_number(FwCfg::kCpus, config.cpus, 2);
        board_->fw_cfg->set_number(FwCfg::kMaxCpus, config.cpus, 2);
        TANDEM_TRY(board_->fw_cfg->set_files(config.fw_cfg));
        facts_.options = options_;
        facts_.cpus = config.cpus;
        facts_.ram_bytes = config.ram_bytes;
        facts_.serial_ports = board_->serial_ports();
        facts_.virtio_mmio = board_->virtio_mmio_devices();
        if (firmware_) return config.kernel.empty() ? Result<void>{} : publish_kernel(*board_->fw_cfg, config);
        facts_.command_line = config.append;
        facts_.initrd_start = image_->initrd_start();
        facts_.initrd_end = image_->initrd_end();
        return {};
    }

    // Kernel, initrd and command line for firmware that starts them itself.
    static Result<void> publish_kernel(devices::FwCfg& fw, const MachineConfig& config) {
        using devices::FwCfg;
        TANDEM_TRY_ASSIGN(auto kernel, read_file("kernel", config.kernel, config.ram_bytes));
        fw.set_number(FwCfg::kKernelSize, kernel.size(), 4);
        fw.set(FwCfg::kKernelData, std::move(kernel));
        if (!config.initrd.empty()) {
            TANDEM_TRY_ASSIGN(auto initrd, read_initrd(config.initrd, config.ram_bytes));
            fw.set_number(FwCfg::kInitrdSize, initrd.size(), 4);
            fw.set(FwCfg::kInitrdData, std::move(initrd));
        }
        std::vector<u8> line(config.append.begin(), config.append.end());
        line.push_back(0);
        fw.set_number(FwCfg::kCommandLineSize, line.size(), 4);
        fw.set(FwCfg::kCommandLineData, std::move(line));
        return {};
    }

    Buses buses() override { return {board_->mmio, board_->io, *board_->clock, board_->balloon()}; }

    // Kernel or firmware start on the first processor at the highest exception level there is; the others wait for PSCI
    // (booting.rst, "Call the kernel image"). Firmware starts where the first chip is, and finds the device tree where RAM
    // begins.
    Result<void> reset() override {
        for (devices::Device* d : board_->devices()) d->reset();
        TANDEM_TRY(firmware_ ? firmware_->place(memory_) : image_->place(memory_));
        constexpr std::size_t kSeedBytes = 64;
        std::random_device random;
        facts_.seed.clear();
        for (std::size_t i = 0; i < kSeedBytes; ++i) facts_.seed.push_back(static_cast<u8>(random()));
        TANDEM_TRY_ASSIGN(const auto tree, build_device_tree(facts_, LinuxImage::kDeviceTreeMax));
        const u64 tree_address = firmware_ ? layout::kRam : image_->device_tree();
        if (!memory_.write(tree_address, tree.data(), tree.size())) {
            return Error{Errc::Internal, "the device tree does not lie in RAM"};
        }
        for (const auto& vcpu : vcpus_) {
            arm64::State state;
            arm64::reset(state, options_.virtualization ? 2 : 1);
            if (vcpu->index() == 0) {
                state.pc = firmware_ ? layout::kFlash[0].base : image_->entry();
                state.x[0] = tree_address;
            } else {
                state.activity = arm64::Activity::PoweredOff;
            }
            TANDEM_TRY(vcpu->import_state(state));
        }
        return {};
    }

    Result<void> give_controllers() override {
        return host_gic_ != nullptr ? board_->gic->give(*host_gic_) : Result<void>{};
    }
    Result<void> take_controllers() override {
        TANDEM_TRY(board_->gic->take());
        if (!engine_psci_) return {};
        for (const auto& vcpu : vcpus_) {
            cpu::ArchState state;
            TANDEM_TRY(vcpu->export_state(state));
            psci_->set_on(vcpu->index(), std::get<arm64::State>(state).activity != arm64::Activity::PoweredOff);
        }
        return {};
    }

    // accel::ExitHandler
    void handle(accel::Vcpu& vcpu, accel::Exit& exit) override {
        count(vcpu.index(), exit);
        if (auto* mmio = std::get_if<accel::MmioExit>(&exit)) {
            handle_mmio(vcpu.index(), *mmio);
        } else if (auto* reg = std::get_if<accel::SystemRegisterExit>(&exit)) {
            handle_register(vcpu.index(), *reg);
        } else if (auto* call = std::get_if<accel::HypercallExit>(&exit)) {
            psci_->call(vcpu.index(), *call);
        }
    }
    devices::CpuInterruptController& interrupt_controller(unsigned) override { return no_vectors_; }
    u64 tsc(unsigned) override { return board_->timers->counter(); }
    u64 tsc_hz() override { return devices::ArmTimers::kFrequency; }
    unsigned cpu_count() override { return static_cast<unsigned>(vcpus_.size()); }
    void timer_programmed(unsigned vcpu, devices::ArmTimer timer, const devices::TimerSetting& setting) override {
        board_->timers->program(vcpu, timer, setting);
    }

    void timer_output(unsigned vcpu, devices::ArmTimer timer, bool level) override {
        const bool is_virtual = timer == devices::ArmTimer::Virtual;
        board_->gic->ppi(vcpu, is_virtual ? layout::kVirtualTimerPpi : layout::kPhysicalTimerPpi).set(level);
    }

    // The interrupt controller answers each processor for itself.
    void handle_mmio(unsigned vcpu, accel::MmioExit& e) {
        bool claimed = false;
        if (e.write) {
            claimed =
                board_->gic->mmio_write(vcpu, e.address, e.data, e.size) || board_->mmio.write(e.address, e.data, e.size);
        } else {
            claimed =
                board_->gic->mmio_read(vcpu, e.address, e.size, e.data) || board_->mmio.read(e.address, e.size, e.data);
        }
        e.unclaimed = !claimed && !layout::host_bridge_answers(e.address);
    }

    // The GIC's registers, and PMOVSSET_EL0: the level of the performance monitors' interrupt.
    void handle_register(unsigned vcpu, accel::SystemRegisterExit& e) {
        constexpr u16 kPmovsset = devices::system_register(3, 3, 9, 14, 3);
        if (e.encoding == kPmovsset) {
            board_->gic->ppi(vcpu, layout::kPerformanceMonitorPpi).set(e.data != 0);
            e.answer = accel::SystemRegisterExit::Answer::Done;
            return;
        }
        devices::GicRegisterAccess a{e.encoding, e.level, e.write, e.routes_irq, e.routes_fiq, e.data};
        const auto answer = board_->gic->system_register(vcpu, a);
        e.data = a.data;
        e.answer = static_cast<accel::SystemRegisterExit::Answer>(answer);
    }

    NoVectors no_vectors_;
    VirtOptions options_;
    // One of them is there.
    std::optional<LinuxImage> image_;
    std::optional<Firmware> firmware_;
    BoardFacts facts_;
    devices::HostGic* host_gic_ = nullptr;  // the engine's; null: the board's model is the controller
    bool engine_psci_ = false;              // the engine switches processors
    std::unique_ptr<Psci> psci_;
    std::unique_ptr<Board> board_;
};

}  // namespace

Result<std::unique_ptr<Machine>> create_virt(MachineConfig config, std::unique_ptr<accel::Accelerator> accelerator) {
    auto machine = std::make_unique<VirtMachine>();
    TANDEM_TRY(machine->create(std::move(config), std::move(accelerator)));
    return std::unique_ptr<Machine>(std::move(machine));
}

std::string device_help() { return Board::device_help(); }

}  // namespace tandem::machines::virt
