#include "machines/run_control.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>

#include "accel/run_loop.h"
#include "base/log.h"

namespace tandem::machines {

using accel::Exit;

RunControl::RunControl() : wake_(::eventfd(0, EFD_CLOEXEC)) {}

RunControl::~RunControl() {
    if (wake_ >= 0) ::close(wake_);
}

void RunControl::post(Event event) {
    events_.fetch_or(static_cast<u32>(event));
    const u64 one = 1;
    // A counter at its maximum refuses, which is awake enough.
    if (::write(wake_, &one, sizeof one) != sizeof one) return;
}

void RunControl::post(Event event, std::string detail) {
    {
        std::lock_guard guard(lock_);
        if (detail_.empty()) detail_ = std::move(detail);
    }
    post(event);
}

void RunControl::post_exit(u32 status) {
    exit_status_ = status;
    post(Event::Exit);
}

u32 RunControl::wait_for_events() {
    for (;;) {
        if (const u32 events = events_.exchange(0); events != 0) return events;
        u64 count = 0;
        if (::read(wake_, &count, sizeof count) < 0 && errno != EINTR) return static_cast<u32>(Event::Failure);
    }
}

std::string RunControl::detail() const {
    std::lock_guard guard(lock_);
    return detail_;
}

std::optional<Outcome> RunControl::outcome_of(u32 events, bool reboot) const {
    const auto has = [events](Event e) { return (events & static_cast<u32>(e)) != 0; };
    if (has(Event::Failure)) return Outcome{Outcome::Kind::InternalError, detail(), 0};
    if (has(Event::Exit)) return Outcome{Outcome::Kind::GuestExit, {}, exit_status_};
    if (has(Event::Quit)) return Outcome{Outcome::Kind::Quit, {}, 0};
    if (has(Event::PowerOff)) return Outcome{Outcome::Kind::PowerOff, {}, 0};
    if (reboot) return {};
    if (has(Event::TripleFault)) return Outcome{Outcome::Kind::Shutdown, detail(), 0};
    return Outcome{Outcome::Kind::Reset, {}, 0};
}

Outcome RunControl::run(std::span<const std::unique_ptr<accel::Vcpu>> vcpus, accel::ExitHandler& handler,
                        const Actions& actions) {
    std::vector<std::thread> threads;
    for (const auto& vcpu : vcpus) {
        threads.emplace_back([this, &handler, v = vcpu.get()] {
            ::prctl(PR_SET_NAME, fmt::format("tandem-vcpu{}", v->index()).c_str(), 0UL, 0UL, 0UL);
            run_vcpu(*v, handler);
        });
    }
    std::optional<Outcome> outcome;
    while (!outcome) {
        const u32 events = wait_for_events();
        park_all(vcpus);
        outcome = outcome_of(events, actions.reboot);
        if (!outcome) {
            // A guest may do nothing else for ever, which must not look like a hang.
            if ((events & static_cast<u32>(Event::TripleFault)) != 0 && complaints_.allow()) {
                log::warn("{}; resetting the machine (-no-reboot ends the program instead)", detail());
            }
            {
                std::lock_guard guard(lock_);
                detail_.clear();
            }
            if (auto reset = actions.reset(); !reset.ok()) {
                outcome = Outcome{Outcome::Kind::InternalError, "reset failed: " + reset.error().message, 0};
            }
        }
        release(outcome.has_value());
    }
    for (auto& t : threads) t.join();
    return *outcome;
}

void RunControl::park_all(std::span<const std::unique_ptr<accel::Vcpu>> vcpus) {
    std::unique_lock guard(lock_);
    parking_ = true;
    changed_.notify_all();
    for (const auto& vcpu : vcpus) vcpu->request_exit();
    changed_.wait(guard, [&] { return parked_ == vcpus.size(); });
}

void RunControl::release(bool ending) {
    std::lock_guard guard(lock_);
    ending_ = ending;
    parking_ = ending;
    changed_.notify_all();
}

void RunControl::run_vcpu(accel::Vcpu& vcpu, accel::ExitHandler& handler) {
    for (;;) {
        {
            std::unique_lock guard(lock_);
            if (parking_) {
                ++parked_;
                changed_.notify_all();
                changed_.wait(guard, [this] { return !parking_ || ending_; });
                if (ending_) return;
                --parked_;
            }
        }
        const Exit exit = accel::run_until_event(vcpu, handler);
        if (!std::holds_alternative<accel::RequestedExit>(exit)) note(vcpu, exit);
    }
}

void RunControl::note(const accel::Vcpu& vcpu, const Exit& exit) {
    const std::string who = fmt::format("vCPU {}", vcpu.index());
    if (const auto* shutdown = std::get_if<accel::ShutdownExit>(&exit)) {
        post(Event::TripleFault, fmt::format("{}: triple fault at {:#x}", who, shutdown->pc));
    } else if (const auto* system = std::get_if<accel::SystemEventExit>(&exit)) {
        post(system->kind == accel::SystemEventExit::Kind::PowerOff ? Event::PowerOff : Event::Reset);
    } else if (const auto* failure = std::get_if<accel::EmulationFailureExit>(&exit)) {
        post(Event::Failure, fmt::format("{}: cannot execute the instruction at {:#x}: {}", who, failure->pc, failure->why));
    } else if (const auto* internal = std::get_if<accel::InternalErrorExit>(&exit)) {
        post(Event::Failure, fmt::format("{}: {}", who, internal->why));
    } else {
        post(Event::Failure, fmt::format("{}: unexpected exit", who));
    }
    // The event's handling parks this thread; it must not run on before that.
    std::unique_lock guard(lock_);
    changed_.wait(guard, [this] { return parking_; });
}

}  // namespace tandem::machines
