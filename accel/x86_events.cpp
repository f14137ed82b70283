#include "accel/x86_events.h"

#include "accel/unhalt.h"

namespace tandem::accel {

using cpu::x86::Activity;
using cpu::x86::State;

Rest x86_rest(Activity activity, bool interrupts_enabled, const SignalWord& signals,
              const devices::CpuInterruptController& controller) {
    constexpr u32 kAlways = SignalWord::Init | SignalWord::Sipi;
    switch (activity) {
        case Activity::Running: return {};
        case Activity::Shutdown: return {Rest::Kind::Shutdown, 0};
        case Activity::WaitForSipi: return {Rest::Kind::Asleep, kAlways};
        case Activity::Halted: break;
    }
    const bool nmi = (signals.peek() & SignalWord::Nmi) != 0;
    if (nmi || (interrupts_enabled && controller.interrupt_pending())) return {};
    return {Rest::Kind::Asleep,
            kAlways | SignalWord::Nmi | kUnhaltSignal | (interrupts_enabled ? u32{SignalWord::Interrupt} : 0)};
}

Result<void> x86_take_init_and_sipi(SignalWord& signals, Activity activity, bool bootstrap, u32 signature,
                                    const X86Change& change) {
    if ((signals.peek() & (SignalWord::Init | SignalWord::Sipi)) == 0) return {};
    if ((signals.take(SignalWord::Init) & SignalWord::Init) != 0) {
        (void)signals.take(kUnhaltSignal);
        TANDEM_TRY_ASSIGN(activity, change([&](State& s) { cpu::x86::init(s, bootstrap, signature); }));
    }
    const u32 sipi = signals.take(SignalWord::Sipi);
    if ((sipi & SignalWord::Sipi) == 0 || activity != Activity::WaitForSipi) return {};
    const auto vector = static_cast<u8>(sipi >> SignalWord::kSipiVectorShift);
    TANDEM_TRY_ASSIGN(activity, change([&](State& s) { cpu::x86::start_up(s, vector); }));
    return {};
}

bool x86_take_unhalt(SignalWord& signals, Activity activity) {
    return activity == Activity::Halted && (signals.take(kUnhaltSignal) & kUnhaltSignal) != 0;
}

void x86_show_signals(const SignalWord& signals, State& state) {
    state.nmi_pending = state.nmi_pending || (signals.peek() & SignalWord::Nmi) != 0;
}

void x86_drop_signals(SignalWord& signals) {
    (void)signals.take(SignalWord::Init | SignalWord::Sipi | SignalWord::Nmi | kUnhaltSignal);
}

}  // namespace tandem::accel
