// The vCPU threads of a machine: starting, parking all of them while the machine is changed or paused, ending.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
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
    enum class Event : u32 {
        Quit = 1,
        PowerOff = 2,
        Reset = 4,
        TripleFault = 8,
        Failure = 16,
        Exit = 32,
        Pause = 64,
        Resume = 128,
        Action = 256,
        Panic = 512
    };

    RunControl();
    ~RunControl();
    RunControl(const RunControl&) = delete;
    RunControl& operator=(const RunControl&) = delete;

    // Any thread, also before run(). Quit, Pause and Resume are async-signal-safe. Of Pause and Resume the later one counts.
    void post(Event event);
    void post(Event event, std::string detail);
    // The guest ends the program with this status.
    void post_exit(u32 status);

    struct Actions {
        OnGuestReset on_reset = OnGuestReset::Reset;
        bool pause_at_shutdown = false;  // power-off pauses the machine instead of ending the run (-no-shutdown)
        bool start_paused = false;
        OnPanic on_panic = OnPanic::End;
        // Resets the machine; all vCPUs are parked.
        std::function<Result<void>()> reset;
        // All vCPUs have been parked, or are about to go on: clock and devices follow.
        std::function<void()> stopped, continues;
    };
    // Runs every vCPU on a thread of its own until an event that ends the run, which it returns.
    Outcome run(std::span<const std::unique_ptr<accel::Vcpu>> vcpus, accel::ExitHandler& handler, const Actions& actions);

    // Has the thread of run() call `action` with all vCPUs parked and the clock stopped, and waits for its answer. Busy when
    // the run has ended or ends before. Any thread but a vCPU's, a device's and that of run().
    Result<void> while_stopped(const std::function<Result<void>()>& action);

    [[nodiscard]] RunState state() const { return state_.load(); }

private:
    struct Request {
        const std::function<Result<void>()>* action = nullptr;
        Result<void> answer;
        bool done = false;
    };

    void run_vcpu(accel::Vcpu& vcpu, accel::ExitHandler& handler);
    // Takes in what a vCPU stopped for. vCPU thread.
    void note(const accel::Vcpu& vcpu, const accel::Exit& exit);
    u32 wait_for_events();
    // A guest that has ended by itself: an engine may have found something all the same.
    void conclude(std::span<const std::unique_ptr<accel::Vcpu>> vcpus, Outcome& outcome) const;
    void park_all(std::span<const std::unique_ptr<accel::Vcpu>> vcpus);
    void release(bool ending);
    // Performs what has been asked for by while_stopped().
    void serve_requests();
    // Refuses what is still asked for, and everything later.
    void refuse_requests();
    // Handles `events` with all vCPUs parked; an outcome when the run ends.
    std::optional<Outcome> handle(u32 events, const Actions& actions);
    std::optional<Outcome> reset(u32 events, const Actions& actions);
    std::optional<Outcome> panic(OnPanic action);
    [[nodiscard]] std::string detail() const;

    int wake_ = -1;  // eventfd: posting is async-signal-safe
    std::atomic<u32> events_{0};
    std::atomic<u32> exit_status_{0};
    log::RateLimit complaints_;
    std::atomic<RunState> state_{RunState::Prelaunch};
    bool paused_ = false;  // thread of run() only

    mutable std::mutex lock_;  // guards what follows; a leaf
    std::condition_variable changed_;
    std::string detail_;
    std::deque<Request*> requests_;
    bool parking_ = false;
    bool ending_ = false;
    bool ended_ = false;
    unsigned parked_ = 0;
};

}  // namespace tandem::machines
