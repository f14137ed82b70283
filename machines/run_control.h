// The vCPU threads of a machine: starting, parking all of them while the machine is changed, ending.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "accel/accelerator.h"
#include "base/log.h"
#include "machines/machine.h"

namespace tandem::machines {

class RunControl {
public:
    // What ends or interrupts a run.
    enum class Event : u32 { Quit = 1, PowerOff = 2, Reset = 4, TripleFault = 8, Failure = 16, Exit = 32 };

    RunControl();
    ~RunControl();
    RunControl(const RunControl&) = delete;
    RunControl& operator=(const RunControl&) = delete;

    // Any thread, also before run(). Quit is async-signal-safe.
    void post(Event event);
    void post(Event event, std::string detail);
    // The guest ends the program with this status.
    void post_exit(u32 status);

    struct Actions {
        bool reboot = true;
        // Resets the machine; all vCPUs are parked.
        std::function<Result<void>()> reset;
    };
    // Runs every vCPU on a thread of its own until an event that ends the run, which it returns.
    Outcome run(std::span<const std::unique_ptr<accel::Vcpu>> vcpus, accel::ExitHandler& handler, const Actions& actions);

private:
    void run_vcpu(accel::Vcpu& vcpu, accel::ExitHandler& handler);
    // Takes in what a vCPU stopped for. vCPU thread.
    void note(const accel::Vcpu& vcpu, const accel::Exit& exit);
    u32 wait_for_events();
    void park_all(std::span<const std::unique_ptr<accel::Vcpu>> vcpus);
    void release(bool ending);
    [[nodiscard]] std::string detail() const;
    // The outcome that `events` amount to; nothing when the machine is to be reset and goes on.
    std::optional<Outcome> outcome_of(u32 events, bool reboot) const;

    int wake_ = -1;  // eventfd: posting is async-signal-safe
    std::atomic<u32> events_{0};
    std::atomic<u32> exit_status_{0};
    log::RateLimit complaints_;

    mutable std::mutex lock_;  // guards what follows
    std::condition_variable changed_;
    std::string detail_;
    bool parking_ = false;
    bool ending_ = false;
    unsigned parked_ = 0;
};

}  // namespace tandem::machines
