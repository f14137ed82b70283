#include "accel/vcpu_base.h"

namespace tandem::accel {

Exit VcpuBase::loop(bool stepping) {
    for (;;) {
        if (!stepping && (signals().take(SignalWord::ExitRequest) & SignalWord::ExitRequest) != 0) return RequestedExit{};
        if (auto taken = take_events(); !taken) return failed(taken.error());
        const Rest now = rest();
        if (now.kind == Rest::Kind::Shutdown) return finish(ShutdownExit{exit_pc()});
        if (now.kind == Rest::Kind::Asleep) return halt();
        auto entered = enter(stepping);
        if (!entered) return failed(entered.error());
        if (*entered) return std::move(**entered);
        if (stepping && (signals().peek() & SignalWord::ExitRequest) != 0) return finish(RequestedExit{});
    }
}

void VcpuBase::wait_for_event() {
    const Rest now = rest();
    if (now.kind != Rest::Kind::Asleep) return;
    devices::CpuInterruptController* const timer = timekeeper();
    const u64 limit_ns = timer != nullptr ? timer->begin_sleep() : SignalWord::kNoLimit;
    signals().wait(now.wake | SignalWord::ExitRequest, limit_ns);
    if (timer != nullptr) timer->end_sleep();
}

Exit VcpuBase::finish(Exit exit) {
    if (word_ == &own_) own_.lower(SignalWord::ExitRequest);
    return exit;
}

Exit VcpuBase::halt() { return HaltExit{(signals().take(SignalWord::ExitRequest) & SignalWord::ExitRequest) != 0}; }

void VcpuBase::signal(u32 bits) {
    signals().raise(bits);
    prod();
}

void VcpuBase::set_line(devices::CpuLine line, bool level) {
    const u32 bit = SignalWord::bit_of(line);
    if (!level) return signals().lower(bit);
    signal(bit);
}

void VcpuBase::raise_sipi(u8 vector) {
    signals().raise_sipi(vector);
    prod();
}

}  // namespace tandem::accel
