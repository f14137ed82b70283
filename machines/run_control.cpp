#include "machines/run_control.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>

#include "accel/concluding.h"
#include "accel/run_loop.h"
#include "base/log.h"

namespace tandem::machines {

using accel::Exit;

RunControl::RunControl() : wake_(::eventfd(0, EFD_CLOEXEC)) {}

RunControl::~RunControl() {
    if (wake_ >= 0) ::close(wake_);
}

void RunControl::post(Event event) {
    u32 bits = static_cast<u32>(event);
    constexpr u32 kPauseBits = static_cast<u32>(Event::Pause) | static_cast<u32>(Event::Resume);
    u32 old = events_.load();
    // A pause and a resume cancel each other's request, so that the later one counts.
    while (!events_.compare_exchange_weak(old, ((bits & kPauseBits) != 0 ? old & ~kPauseBits : old) | bits)) {
    }
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

namespace {

bool has(u32 events, RunControl::Event e) { return (events & static_cast<u32>(e)) != 0; }

}  // namespace

std::optional<Outcome> RunControl::reset(u32 events, const Actions& actions) {
    // A guest that has asked for a reset goes on until it is parked, and may try a triple fault next.
    const bool fault = has(events, Event::TripleFault) && !has(events, Event::Reset);
    if (actions.on_reset == OnGuestReset::End) {
        if (fault) return Outcome{Outcome::Kind::Shutdown, detail(), 0};
        return Outcome{Outcome::Kind::Reset, {}, 0};
    }
    // A guest may do nothing else for ever, which must not look like a hang.
    if (fault && complaints_.allow()) {
        log::warn("{}; resetting the machine (-no-reboot ends the program instead)", detail());
    }
    {
        std::lock_guard guard(lock_);
        detail_.clear();
    }
    if (auto done = actions.reset(); !done.ok()) {
        return Outcome{Outcome::Kind::InternalError, "reset failed: " + done.error().message, 0};
    }
    return {};
}

std::optional<Outcome> RunControl::panic(OnPanic action) {
    const char* then = action == OnPanic::Report ? "goes on" : action == OnPanic::Pause ? "is paused" : "ends";
    if (complaints_.allow()) log::warn("the guest's kernel panicked; the machine {}", then);
    if (action == OnPanic::Pause) paused_ = true;
    if (action == OnPanic::Report || action == OnPanic::Pause) return {};
    return Outcome{Outcome::Kind::Panic, {}, action == OnPanic::Fail ? 1u : 0u};
}

std::optional<Outcome> RunControl::handle(u32 events, const Actions& actions) {
    if (has(events, Event::Failure)) return Outcome{Outcome::Kind::InternalError, detail(), 0};
    if (has(events, Event::Exit)) return Outcome{Outcome::Kind::GuestExit, {}, exit_status_};
    if (has(events, Event::Quit)) return Outcome{Outcome::Kind::Quit, {}, 0};
    if (has(events, Event::Panic)) {
        if (auto outcome = panic(actions.on_panic)) return outcome;
    }
    if (has(events, Event::PowerOff)) {
        if (!actions.pause_at_shutdown) return Outcome{Outcome::Kind::PowerOff, {}, 0};
        log::info("the guest powered off; the machine is paused");
        paused_ = true;
    }
    if (has(events, Event::Reset) || has(events, Event::TripleFault)) {
        if (auto outcome = reset(events, actions)) return outcome;
    }
    if (has(events, Event::Pause)) paused_ = true;
    if (has(events, Event::Resume)) paused_ = false;
    // Before the requests, whose answers say that it is so.
    if (paused_ && (state_ == RunState::Running || has(events, Event::Pause))) state_ = RunState::Paused;
    if (!paused_ && has(events, Event::Resume)) state_ = RunState::Running;
    serve_requests();
    return {};
}

Outcome RunControl::run(std::span<const std::unique_ptr<accel::Vcpu>> vcpus, accel::ExitHandler& handler,
                        const Actions& actions) {
    paused_ = actions.start_paused;
    parking_ = paused_;
    state_ = paused_ ? RunState::Prelaunch : RunState::Running;
    if (!paused_) actions.continues();
    std::vector<std::thread> threads;
    for (const auto& vcpu : vcpus) {
        threads.emplace_back([this, &handler, v = vcpu.get()] {
            // A halted processor sleeps until its timer, and those are microseconds apart; the default slack is 50.
            ::prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
            ::prctl(PR_SET_NAME, fmt::format("tandem-vcpu{}", v->index()).c_str(), 0UL, 0UL, 0UL);
            run_vcpu(*v, handler);
        });
    }
    std::optional<Outcome> outcome;
    while (!outcome) {
        const bool was_paused = paused_;
        const u32 events = wait_for_events();
        park_all(vcpus);
        if (has(events, Event::Reset)) events_.fetch_and(~static_cast<u32>(Event::TripleFault));
        if (!was_paused) actions.stopped();
        outcome = handle(events, actions);
        if (outcome) {
            conclude(vcpus, *outcome);
            break;
        }
        if (paused_) continue;
        state_ = RunState::Running;
        actions.continues();
        release(false);
    }
    state_ = RunState::Ended;
    refuse_requests();
    release(true);
    for (auto& t : threads) t.join();
    return *outcome;
}

void RunControl::conclude(std::span<const std::unique_ptr<accel::Vcpu>> vcpus, Outcome& outcome) const {
    if (outcome.kind == Outcome::Kind::Quit || outcome.kind == Outcome::Kind::InternalError) return;
    for (const auto& vcpu : vcpus) {
        auto* const concluding = dynamic_cast<accel::ConcludingVcpu*>(vcpu.get());
        if (concluding == nullptr) continue;
        const auto done = concluding->conclude([this] { return has(events_.load(), Event::Quit); });
        if (done) continue;
        outcome = {Outcome::Kind::InternalError, fmt::format("vCPU {}: {}", vcpu->index(), done.error().message), 0};
    }
}

Result<void> RunControl::while_stopped(const std::function<Result<void>()>& action) {
    Request request;
    request.action = &action;
    {
        std::lock_guard guard(lock_);
        if (ended_) return Error{Errc::Busy, "the machine has ended"};
        requests_.push_back(&request);
    }
    post(Event::Action);
    std::unique_lock guard(lock_);
    changed_.wait(guard, [&] { return request.done; });
    return std::move(request.answer);
}

void RunControl::serve_requests() {
    std::unique_lock guard(lock_);
    while (!requests_.empty()) {
        Request* request = requests_.front();
        requests_.pop_front();
        guard.unlock();
        auto answer = (*request->action)();
        guard.lock();
        request->answer = std::move(answer);
        request->done = true;
        changed_.notify_all();
    }
}

void RunControl::refuse_requests() {
    std::lock_guard guard(lock_);
    ended_ = true;
    for (Request* request : requests_) {
        request->answer = Error{Errc::Busy, "the machine has ended"};
        request->done = true;
    }
    requests_.clear();
    changed_.notify_all();
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
