#include "accel/switch/switch_vcpu.h"

#include <algorithm>
#include <utility>

namespace tandem::accel {

Result<void> SwitchVcpu::add(std::size_t engine, std::unique_ptr<Vcpu> vcpu) {
    auto* base = dynamic_cast<VcpuBase*>(vcpu.get());
    if (base == nullptr) return Error{Errc::Unsupported, "this engine does not exchange vCPUs with others"};
    base->share_signals(signals_);
    engines_[engine] = base;
    owned_.push_back(std::move(vcpu));
    if (current() == nullptr) current_.store(base, std::memory_order_release);
    return {};
}

namespace {

Result<void> set_debugger_of(VcpuBase& vcpu, std::span<const Breakpoint> breakpoints) {
    auto* const debugged = dynamic_cast<DebuggedVcpu*>(&vcpu);
    if (debugged != nullptr) return debugged->set_debugger(breakpoints);
    if (breakpoints.empty()) return {};
    return Error{Errc::Unsupported, "this engine has no breakpoints for a debugger"};
}

}  // namespace

Result<void> SwitchVcpu::set_debugger(std::span<const Breakpoint> breakpoints) {
    TANDEM_TRY(set_debugger_of(*current(), breakpoints));
    if (helped()) TANDEM_TRY(set_debugger_of(*helper_, breakpoints));
    debugger_.assign(breakpoints.begin(), breakpoints.end());
    told_.reset();
    return {};
}

// Signals wait in the word that all engines' vCPUs share: there is nothing to move, and nothing to lose.
Result<void> SwitchVcpu::change(std::size_t engine) {
    VcpuBase* next = engines_[engine];
    if (next == current()) return {};
    TANDEM_TRY(current()->fetch_state(state_));
    TANDEM_TRY(next->store_state(state_));
    TANDEM_TRY(set_debugger_of(*next, debugger_));
    if (current() != helper_) TANDEM_TRY(set_debugger_of(*current(), {}));
    told_.reset();
    current_.store(next, std::memory_order_release);
    return {};
}

void SwitchVcpu::signal(u32 bits) {
    signals_.raise(bits);
    if (VcpuBase* vcpu = current()) vcpu->prod();
}

void SwitchVcpu::set_line(devices::CpuLine line, bool level) {
    const u32 bit = SignalWord::bit_of(line);
    if (!level) return signals_.lower(bit);
    signal(bit);
}

void SwitchVcpu::raise_sipi(u8 vector) {
    signals_.raise_sipi(vector);
    if (VcpuBase* vcpu = current()) vcpu->prod();
}

namespace {

bool stopped_for(const Exit& exit, DebugExit::Reason reason) {
    const auto* const debug = std::get_if<DebugExit>(&exit);
    return debug != nullptr && debug->reason == reason;
}

}  // namespace

Exit SwitchVcpu::step_unseen() {
    if (!helped() || !current()->step_shows()) return current()->step();
    auto done = hand_off(true);
    return done ? std::move(**done) : Exit{InternalErrorExit{done.error().message}};
}

// Where run() has told of a breakpoint it goes on with a step.
Exit SwitchVcpu::execute(bool stepping) {
    for (;;) {
        const bool past = std::exchange(told_, {}) == exit_pc() && helped() && current()->step_shows();
        Exit exit = stepping || past ? step_unseen() : current()->run();
        if (past && !stepping && stopped_for(exit, DebugExit::Reason::SingleStep)) continue;
        if (std::holds_alternative<RequestedExit>(exit) || std::holds_alternative<HaltExit>(exit)) return exit;
        if (std::holds_alternative<EmulationFailureExit>(exit) && helped()) {
            auto done = hand_off(stepping);
            if (done && !*done) continue;
            exit = done ? std::move(**done) : Exit{InternalErrorExit{done.error().message}};
        }
        if (!stepping && stopped_for(exit, DebugExit::Reason::Breakpoint)) told_ = exit_pc();
        signals_.lower(SignalWord::ExitRequest);  // contract U3: this exit answers it
        return exit;
    }
}

// Each hand-off moves the state twice. Where one follows another at once the guest is in code that the engine cannot
// execute, of which the helper then does more and more at a time.
unsigned SwitchVcpu::instructions_to_hand_off() {
    constexpr auto kSoon = std::chrono::microseconds(200);
    constexpr unsigned kLongest = 256;
    const bool soon = std::chrono::steady_clock::now() - last_hand_off_ < kSoon;
    burst_ = soon ? std::min(burst_ * 2, kLongest) : 1;
    return burst_;
}

Result<std::optional<Exit>> SwitchVcpu::hand_off(bool stepping) {
    const unsigned count = stepping || one_at_a_time_ || !debugger_.empty() ? 1 : instructions_to_hand_off();
    TANDEM_TRY(current()->fetch_state(state_));
    TANDEM_TRY(helper_->store_state(state_));
    std::optional<Exit> ending;
    for (unsigned i = 0; i < count && !ending; ++i) {
        if (i > 0 && signals_.peek() != 0) break;
        Exit exit = helper_->step();
        hand_offs_.fetch_add(1, std::memory_order_relaxed);
        const auto* debug = std::get_if<DebugExit>(&exit);
        const bool stepped = debug != nullptr && debug->reason == DebugExit::Reason::SingleStep;
        if (!stepped || stepping) ending = std::move(exit);
    }
    TANDEM_TRY(helper_->fetch_state(state_));
    TANDEM_TRY(current()->store_state(state_));
    last_hand_off_ = std::chrono::steady_clock::now();
    return ending;
}

}  // namespace tandem::accel
