// What machines have in common: processors on an engine, running, pausing, resetting, and what they tell of themselves. A
// board adds its devices, what it starts with, and how it answers exits.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "devices/pci/root.h"
#include "machines/registers.h"
#include "machines/run_control.h"

namespace tandem::machines {

class BoardMachine : public Machine, protected accel::ExitHandler {
public:
    Outcome run() final;
    void request_quit() final { control_.post(RunControl::Event::Quit); }
    void request_reset() final { control_.post(RunControl::Event::Reset); }
    void request_exit(u32 status) final { control_.post_exit(status); }
    void pause() final { control_.post(RunControl::Event::Pause); }
    void resume() final { control_.post(RunControl::Event::Resume); }
    [[nodiscard]] RunState state() const final { return control_.state(); }
    [[nodiscard]] std::string exit_counts() const final;
    void fail(std::string why) final { control_.post(RunControl::Event::Failure, std::move(why)); }
    Result<void> while_stopped(const std::function<Result<void>()>& action) final { return control_.while_stopped(action); }
    [[nodiscard]] MachineParts parts() final;
    // See machines/registers.h.
    Result<accel::StateRegisters> registers_of(unsigned cpu);

protected:
    // The board, once it exists.
    struct Buses {
        devices::AddressSpace& mmio;
        devices::AddressSpace& io;
        devices::RealClock& clock;
        devices::virtio::Balloon* balloon;  // null: none
    };
    [[nodiscard]] virtual Buses buses() = 0;
    // Power-on state, and whatever the machine starts with in memory. No vCPU is in guest code.
    virtual Result<void> reset() = 0;

    // Interrupt controllers of the engine's own: it stops with their state in the models, and goes on with the models' state
    // in them. Between the two the machine is stopped; devices rest.
    virtual Result<void> take_controllers() { return {}; }
    virtual Result<void> give_controllers() { return {}; }

    // Set-up, in this order: before the board takes the configuration apart, after it has, and when memory is complete.
    void begin(const MachineConfig& config);
    void take_devices(const MachineConfig& config, std::vector<NamedDevice> devices);
    Result<void> create_vcpus(std::unique_ptr<accel::Accelerator> accelerator, unsigned count);

    // To be called for every exit. vCPU thread.
    void count(unsigned vcpu, const accel::Exit& exit) {
        if (exit.index() < kCountedExits) ++exits_[vcpu][exit.index()];
    }
    void stop_devices();
    void start_devices();

    RunControl control_;
    // Destroyed from the bottom, after the board: its threads signal vCPUs, and the engine works on the memory.
    devices::GuestMemory memory_;
    std::unique_ptr<accel::Accelerator> accelerator_;
    std::vector<std::unique_ptr<accel::Vcpu>> vcpus_;

private:
    static constexpr std::size_t kCountedExits = 5;      // the first alternatives of accel::Exit
    std::vector<std::array<u64, kCountedExits>> exits_;  // each written by its vCPU's thread
    std::string type_;
    std::optional<cpu::ArchModel> cpu_;
    OnGuestReset on_reset_ = OnGuestReset::Reset;
    bool pause_at_shutdown_ = false;
    bool start_paused_ = false;
    OnPanic on_panic_ = OnPanic::End;
    std::vector<NamedDevice> devices_;
    std::vector<NamedDrive> drives_;
};

// Every device with a name that is unique: those of functions on `root` end in their address, and where two devices still
// have one name the later ones are numbered.
std::vector<NamedDevice> name_devices(std::span<devices::Device* const> devices, const devices::pci::PcieRoot& root);

}  // namespace tandem::machines
