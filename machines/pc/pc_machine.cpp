#include "machines/pc/pc_machine.h"

#include <fmt/format.h>

#include "accel/accelerator.h"
#include "base/bits.h"
#include "machines/pc/acpi_tables.h"
#include "machines/pc/board.h"
#include "machines/pc/boot_image.h"
#include "machines/pc/hypercalls.h"
#include "machines/pc/layout.h"
#include "machines/run_control.h"

namespace tandem::machines::pc {
namespace {

namespace x86 = cpu::x86;

class PcMachine final : public Machine, private accel::ExitHandler {
public:
    Result<void> create(MachineConfig config, std::unique_ptr<accel::Accelerator> accelerator) {
        TANDEM_TRY(check(config));
        reboot_ = config.reboot;
        cpus_ = config.cpus;
        TANDEM_TRY_ASSIGN(image_, load_boot_image({config.kernel, config.initrd, config.append}, config.ram_bytes));
        acpi_ = {config.cpus, static_cast<unsigned>(config.serial.size())};
        accelerator_ = std::move(accelerator);
        const SystemRequests requests{[this] { control_.post(RunControl::Event::PowerOff); },
                                      [this] { control_.post(RunControl::Event::Reset); },
                                      [this](u32 status) { control_.post_exit(status); }};
        TANDEM_TRY_ASSIGN(board_, Board::create(config, memory_, requests));
        describe(config);
        TANDEM_TRY(accelerator_->map_memory(board_->memory));
        for (unsigned i = 0; i < config.cpus; ++i) {
            TANDEM_TRY_ASSIGN(auto vcpu, accelerator_->create_vcpu(i, *this));
            board_->lapics[i]->connect(*vcpu);
            vcpus_.push_back(std::move(vcpu));
        }
        return reset();
    }

    Outcome run() override {
        board_->clock->start();
        Outcome outcome = control_.run(vcpus_, *this, {reboot_, [this] { return reset(); }});
        board_->clock->stop();
        return outcome;
    }

    void request_quit() override { control_.post(RunControl::Event::Quit); }
    void request_powerdown() override { board_->pm->press_power_button(); }

private:
    static Result<void> check(const MachineConfig& config) {
        if (config.cpus < 1 || config.cpus > layout::kMaxCpus) {
            return invalid(fmt::format("-smp {}: machine 'pc' takes 1 to {} processors", config.cpus, layout::kMaxCpus));
        }
        if (config.ram_bytes < layout::kMinRam || config.ram_bytes > layout::kMaxRam ||
            config.ram_bytes % layout::kMiB != 0) {
            return invalid(fmt::format("-m {}: machine 'pc' takes whole MiB from {} to {}", config.ram_bytes >> 20,
                                       layout::kMinRam >> 20, layout::kMaxRam >> 20));
        }
        if (config.serial.size() > std::size(layout::kSerial)) {
            return invalid(fmt::format("machine 'pc' has at most {} serial ports", std::size(layout::kSerial)));
        }
        if (config.kernel.empty()) {
            return invalid(config.initrd.empty() && config.append.empty()
                               ? "there is no firmware yet: give a kernel with -kernel"
                               : "-initrd and -append need -kernel");
        }
        return {};
    }

    // What the firmware configuration device says of the machine.
    void describe(const MachineConfig& config) {
        using devices::FwCfg;
        devices::FwCfg& fw = *board_->fw_cfg;
        fw.set_number(FwCfg::kRamSize, config.ram_bytes, 8);
        fw.set_number(FwCfg::kCpus, config.cpus, 2);
        fw.set_number(FwCfg::kMaxCpus, config.cpus, 2);
    }

    // Power-on state, then the kernel at its entry. No vCPU is in guest code.
    Result<void> reset() {
        TANDEM_TRY(board_->reset());
        TANDEM_TRY_ASSIGN(const auto tables, build_acpi_tables(acpi_, layout::kFirmware.base, layout::kFirmware.size));
        for (const auto& t : tables) {
            if (!board_->memory.write(t.address, t.bytes.data(), t.bytes.size())) {
                return Error{Errc::Internal, "ACPI tables do not lie in RAM"};
            }
        }
        TANDEM_TRY(image_->place(board_->memory, tables.front().address));
        for (const auto& vcpu : vcpus_) {
            const bool bsp = vcpu->index() == 0;
            x86::State state;
            x86::reset(state, bsp);
            if (bsp) image_->set_entry_state(state);
            state.msr.apic_base = board_->lapics[vcpu->index()]->apic_base();
            TANDEM_TRY(vcpu->import_state(state));
        }
        return {};
    }

    // accel::ExitHandler
    void handle(accel::Vcpu& vcpu, accel::Exit& exit) override {
        if (auto* port = std::get_if<accel::PortExit>(&exit)) {
            handle_port(*port);
        } else if (auto* mmio = std::get_if<accel::MmioExit>(&exit)) {
            handle_mmio(vcpu.index(), *mmio);
        } else if (auto* msr = std::get_if<accel::MsrExit>(&exit)) {
            handle_msr(vcpu.index(), *msr);
        } else if (auto* call = std::get_if<accel::HypercallExit>(&exit)) {
            handle_hypercall(*call);
        }
    }
    devices::CpuInterruptController& interrupt_controller(unsigned vcpu) override { return *board_->lapics[vcpu]; }
    u64 tsc(unsigned) override { return board_->clock->tsc(); }
    u64 tsc_hz() override { return board_->clock->tsc_hz(); }
    unsigned cpu_count() override { return cpus_; }

    void handle_port(accel::PortExit& e) {
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
            good = e.write ? lapic.msr_write(e.index, e.data) : lapic.msr_read(e.index, e.data);
        } else if (devices::KvmClock::owns_msr(e.index)) {
            good = e.write ? board_->kvmclock->msr_write(vcpu, e.index, e.data)
                           : board_->kvmclock->msr_read(vcpu, e.index, e.data);
        }
        e.fault = !good;
    }

    bool reboot_ = true;
    unsigned cpus_ = 1;
    AcpiConfig acpi_;
    std::unique_ptr<BootImage> image_;
    RunControl control_;
    // Destroyed from the bottom: the board's threads signal vCPUs, and the engine works on the memory.
    devices::GuestMemory memory_;
    std::unique_ptr<accel::Accelerator> accelerator_;
    std::vector<std::unique_ptr<accel::Vcpu>> vcpus_;
    std::unique_ptr<Board> board_;
};

}  // namespace

Result<std::unique_ptr<Machine>> create_pc(MachineConfig config, std::unique_ptr<accel::Accelerator> accelerator) {
    auto machine = std::make_unique<PcMachine>();
    TANDEM_TRY(machine->create(std::move(config), std::move(accelerator)));
    return std::unique_ptr<Machine>(std::move(machine));
}

}  // namespace tandem::machines::pc
