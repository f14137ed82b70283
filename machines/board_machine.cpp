#include "machines/board_machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/log.h"

namespace tandem::machines {

void BoardMachine::begin(const MachineConfig& config) {
    type_ = config.type;
    cpu_ = config.cpu;
    on_reset_ = config.on_reset;
    pause_at_shutdown_ = config.pause_at_shutdown;
    start_paused_ = config.start_paused;
    on_panic_ = config.on_panic;
    for (const auto& [name, backend] : config.drives) drives_.push_back({name, backend.get()});
    // The first flash chip is read once and is memory from then on.
    for (std::size_t i = 1; i < config.pflash.size(); ++i) {
        drives_.push_back({fmt::format("pflash{}", i), config.pflash[i].get()});
    }
    exits_.resize(config.cpus);
}

// Drives that no device took are gone after the set-up.
void BoardMachine::take_devices(const MachineConfig& config, std::vector<NamedDevice> devices) {
    for (const auto& [name, backend] : config.drives) {
        if (backend) std::erase_if(drives_, [&](const NamedDrive& d) { return d.backend == backend.get(); });
    }
    devices_ = std::move(devices);
}

Result<void> BoardMachine::create_vcpus(std::unique_ptr<accel::Accelerator> accelerator, unsigned count) {
    accelerator_ = std::move(accelerator);
    TANDEM_TRY(accelerator_->map_memory(memory_));
    for (unsigned i = 0; i < count; ++i) {
        TANDEM_TRY_ASSIGN(auto vcpu, accelerator_->create_vcpu(i, *this));
        vcpus_.push_back(std::move(vcpu));
    }
    return {};
}

Outcome BoardMachine::run() {
    const RunControl::Actions actions{on_reset_,
                                      pause_at_shutdown_,
                                      start_paused_,
                                      on_panic_,
                                      [this] { return reset(); },
                                      [this] { stop_devices(); },
                                      [this] { start_devices(); }};
    return control_.run(vcpus_, *this, actions);
}

std::string BoardMachine::exit_counts() const {
    static constexpr const char* kNames[kCountedExits] = {"port", "mmio", "msr", "hypercall", "sysreg"};
    std::string text;
    for (std::size_t kind = 0; kind < kCountedExits; ++kind) {
        u64 sum = 0;
        for (const auto& vcpu : exits_) sum += vcpu[kind];
        text += fmt::format("{:<12}{}\n", kNames[kind], sum);
    }
    return text;
}

MachineParts BoardMachine::parts() {
    const Buses b = buses();
    return {type_, cpu_, *accelerator_, vcpus_, memory_, b.mmio, b.io, b.clock, devices_, drives_, b.balloon};
}

Result<accel::StateRegisters> BoardMachine::registers_of(unsigned cpu) {
    using Phase = accel::StateRegisters::Phase;
    if (cpu >= vcpus_.size()) return invalid(fmt::format("there is no processor {}", cpu));
    if (!cpu_) return Error{Errc::Unsupported, "the machine does not know its CPU model"};
    const Phase phase = control_.state() == RunState::Prelaunch ? Phase::BeforeFirstRun : Phase::Later;
    return accel::StateRegisters(*vcpus_[cpu], *this, *cpu_, phase);
}

Result<accel::StateRegisters> registers_of(Machine& machine, unsigned cpu) {
    auto* board = dynamic_cast<BoardMachine*>(&machine);
    if (board == nullptr) return Error{Errc::Internal, "a machine that is no board"};
    return board->registers_of(cpu);
}

// First the clock, so that no timer makes work for a device that has been told to rest.
void BoardMachine::stop_devices() {
    const Buses b = buses();
    b.clock.stop();
    for (devices::AddressSpace* space : {&b.mmio, &b.io}) space->set_doorbell_host(nullptr);
    for (const auto& d : devices_) d.device->machine_stopped();
    if (auto taken = take_controllers(); !taken) fail(taken.error().message);
}

void BoardMachine::start_devices() {
    if (auto given = give_controllers(); !given) fail(given.error().message);
    const Buses b = buses();
    // A trace of exits has them all (contract T2).
    devices::DoorbellHost* host = log::enabled(log::Exits) ? nullptr : accelerator_->doorbells();
    for (devices::AddressSpace* space : {&b.mmio, &b.io}) space->set_doorbell_host(host);
    for (const auto& d : devices_) d.device->machine_continues();
    b.clock.start();
}

std::vector<NamedDevice> name_devices(std::span<devices::Device* const> devices, const devices::pci::PcieRoot& root) {
    std::vector<NamedDevice> result;
    std::map<std::string, unsigned> seen;
    for (devices::Device* d : devices) {
        std::string name(d->name());
        if (const auto* function = dynamic_cast<const devices::pci::PciFunction*>(d))
            name += "@" + root.address_of(*function);
        const unsigned before = seen[name]++;
        result.push_back({before == 0 ? name : fmt::format("{}.{}", name, before), d});
    }
    return result;
}

}  // namespace tandem::machines
