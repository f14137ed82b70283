#include "accel/vcpu_base.h"

namespace tandem::accel {

Exit VcpuBase::loop(bool stepping) {
    for (;;) {
        if (!stepping && (signals_.take(SignalWord::ExitRequest) & SignalWord::ExitRequest) != 0) return RequestedExit{};
        if (auto taken = take_events(); !taken) return failed(taken.error());
        const Rest now = rest();
        if (now.kind == Rest::Kind::Shutdown) return finish(ShutdownExit{exit_pc()});
        if (now.kind == Rest::Kind::Asleep) return halt();
        auto entered = enter(stepping);
        if (!entered) return failed(entered.error());
        if (*entered) return std::move(**entered);
        if (stepping && (signals_.peek() & SignalWord::ExitRequest) != 0) return finish(RequestedExit{});
    }
}

Exit VcpuBase::finish(Exit exit) {
    signals_.lower(SignalWord::ExitRequest);
    return exit;
}

Exit VcpuBase::halt() { return HaltExit{(signals_.take(SignalWord::ExitRequest) & SignalWord::ExitRequest) != 0}; }

void VcpuBase::signal(u32 bits) {
    signals_.raise(bits);
    prod();
}

void VcpuBase::set_line(devices::CpuLine line, bool level) {
    const u32 bit = SignalWord::bit_of(line);
    if (!level) return signals_.lower(bit);
    signal(bit);
}

void VcpuBase::raise_sipi(u8 vector) {
    signals_.raise_sipi(vector);
    prod();
}

}  // namespace tandem::accel
