#include "accel/kvm/kvm_vcpu.h"

#include <fmt/format.h>
#include <x86intrin.h>

#include "accel/kvm/state.h"
#include "accel/run_loop.h"
#include "accel/trace.h"
#include "accel/x86_events.h"

namespace tandem::accel::kvm {
namespace {

using cpu::x86::Activity;
using cpu::x86::State;

constexpr u64 kInterruptFlag = 0x200;

}  // namespace

KvmVcpu::KvmVcpu(unsigned index, ExitHandler& handler, Shared& shared, const cpu::x86::CpuModel& model)
    : VcpuBase(index, handler), controller_(handler.interrupt_controller(index)), shared_(shared), model_(model) {}

Result<void> KvmVcpu::open(std::span<const kvm_cpuid_entry2> cpuid) {
    TANDEM_TRY_ASSIGN(const int fd, TANDEM_KVM(shared_.vm, KVM_CREATE_VCPU, static_cast<unsigned long>(index_)));
    fd_ = Fd(fd);
    TANDEM_TRY(page_.map(fd_, shared_.system.vcpu_map_size));
    TANDEM_TRY(set_cpuid(fd_, cpuid));
    // Or else hypercalls are answered whose features the guest's CPUID does not have (contract H1).
    if (shared_.system.enforces_features) {
        kvm_enable_cap cap{};
        cap.cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID;
        cap.args[0] = 1;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(fd_, KVM_ENABLE_CAP, &cap));
    }
    if (shared_.system.sync_regs) page_->kvm_valid_regs = KVM_SYNC_X86_REGS;
    State s;
    cpu::x86::reset(s, index_ == 0, model_.signature());
    return store(s);
}

// --- Running

// Where the debugger was told of a breakpoint, and where the guest's own lets the instruction pass (RFLAGS.RF), a step comes
// first.
Exit KvmVcpu::run() {
    for (;;) {
        if (told_ || pass_) {
            const Result<void> done = complete();
            if (!done) return failed(done.error());
            if (std::exchange(pass_, false) || std::exchange(told_, {}) == exit_pc()) {
                Exit exit = step_guest(true);
                past_breakpoints_ = false;
                const auto* const debug = std::get_if<DebugExit>(&exit);
                if (debug == nullptr || debug->reason != DebugExit::Reason::SingleStep) return exit;
            }
        }
        Exit exit = run_guest(false);
        if (!pass_) return exit;
    }
}

Exit KvmVcpu::run_guest(bool stepping) {
    std::optional<KickOpen> open;
    if (!open_) open.emplace();
    gate_.begin(page_);
    if (auto set = set_debug(stepping); !set) return failed(set.error());
    if (auto set = sync_tsc(); !set) return failed(set.error());
    Exit exit = loop(stepping);
    shared_.exits.fetch_add(std::exchange(returns_, 0), std::memory_order_relaxed);
    return exit;
}

Result<std::optional<Exit>> KvmVcpu::enter(bool stepping) {
    activity_ = Activity::Running;
    std::optional<Exit> exit;
    do {
        TANDEM_TRY(enter_kernel(stepping));
        if (page_->exit_reason == KVM_EXIT_IO) {  // most exits, without the detour of the others
            take_io();
        } else if (page_->exit_reason == KVM_EXIT_MMIO) {
            take_mmio();
        } else {
            exit = take_exit();
        }
    } while (!stepping && !exit && signals().peek() == 0);
    // KVM's emulator does not report the step of an instruction that it has left for an access.
    while (stepping && !exit && access_open_) {
        TANDEM_TRY(complete());
        exit = take_exit();
        if (!exit && !access_open_) exit = debug_exit({DebugExit::Reason::SingleStep, exit_pc(), 0});
    }
    return exit;
}

// Costs the guest at every exit, and under an emulator by the branch: what only events and debuggers need is asked for
// first.
Result<void> KvmVcpu::enter_kernel(bool stepping) {
    if (!debug_known_) TANDEM_TRY(set_debug(stepping));
    const u8 cr8 = controller_.cr8();
    page_->cr8 = cr8;
    if (!stepping && !nothing_waits()) TANDEM_TRY(inject());
    known_.reset();
    failed_ = false;
    if (!breakpoints_.empty() && !stepping && plants()) plant_breakpoints();
    const int error = gate_.enter(fd_, [&] {
        const u32 now = signals().peek();
        const bool leave =
            now != 0 && !stepping && ((now & (SignalWord::ExitRequest | SignalWord::Init)) != 0 || event_came());
        if (!leave) ++entries_;
        return leave;
    });
    if (std::exchange(eoi_offered_, false)) controller_.take_eoi();
    if (!planted_.empty()) lift_breakpoints();
    access_open_ = false;
    if ((page_->cr8 & 15) != cr8) sync_cr8();
    ready_for_interrupt_ = page_->ready_for_interrupt_injection != 0;
    if (ready_for_interrupt_) vector_given_ = false;
    if (error == EINTR || error == EAGAIN) {
        page_->exit_reason = KVM_EXIT_INTR;
        return {};
    }
    if (error != 0) {
        errno = error;
        return io_error("KVM_RUN");
    }
    ++returns_;
    return debugger_.empty() ? Result<void>() : watch_debug_registers();
}

// Neither an event, nor a window that was asked for.
bool KvmVcpu::nothing_waits() const {
    return (signals().peek() & SignalWord::Nmi) == 0 && untaken_vector_ < 0 && page_->request_interrupt_window == 0 &&
           !controller_.interrupt_pending();
}

// NMI and external interrupt, as far as the vCPU takes them now; else asks for the window.
Result<void> KvmVcpu::inject() {
    if ((signals().take(SignalWord::Nmi) & SignalWord::Nmi) != 0) {
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(fd_, KVM_NMI));
    }
    if (shared_.irqchip == KvmOptions::Irqchip::Kernel) return {};
    const bool waits = untaken_vector_ >= 0 || controller_.interrupt_pending();
    // The access may end in an exception, for which KVM would forget the vector.
    if (waits && access_open_) TANDEM_TRY(complete_access());
    if (ready_for_interrupt_ && untaken_vector_ >= 0) {
        TANDEM_TRY(inject_vector(std::exchange(untaken_vector_, -1)));
    } else if (ready_for_interrupt_ && waits) {
        if (const int vector = controller_.acknowledge(); vector >= 0) {
            TANDEM_TRY(inject_vector(vector));
            eoi_offered_ = controller_.offer_eoi();
        }
    }
    page_->request_interrupt_window = untaken_vector_ >= 0 || controller_.interrupt_pending();
    return {};
}

// Since inject(): nobody is kicked for it who is not inside KVM_RUN.
bool KvmVcpu::event_came() const {
    const u32 now = signals().peek();
    if ((now & SignalWord::Nmi) != 0) return true;
    if (shared_.irqchip == KvmOptions::Irqchip::Kernel || page_->request_interrupt_window != 0) return false;
    return (now & SignalWord::Interrupt) != 0 && controller_.interrupt_pending();
}

// KVM's own APIC holds one vector of the 8259 until its processor takes it.
Result<void> KvmVcpu::inject_vector(int vector) {
    kvm_interrupt interrupt{static_cast<u32>(vector)};
    ready_for_interrupt_ = false;
    if (auto done = TANDEM_KVM(fd_, KVM_INTERRUPT, &interrupt); !done) {
        if (errno != EEXIST) return std::move(done).error();
        untaken_vector_ = vector;
        return {};
    }
    vector_given_ = shared_.apic_in_kernel();
    trace_injection(index_, static_cast<unsigned>(vector));
    return {};
}

void KvmVcpu::sync_cr8() {
    const u8 cr8 = static_cast<u8>(page_->cr8 & 15);
    if (cr8 != controller_.cr8()) controller_.set_cr8(cr8);
}

bool KvmVcpu::interrupts_enabled() const {
    if (shared_.system.sync_regs) return (page_->s.regs.regs.rflags & kInterruptFlag) != 0;
    return page_->if_flag != 0;
}

// A halt with an APIC in the kernel is slept through there.
Rest KvmVcpu::rest() const {
    if (shared_.apic_in_kernel() && activity_ != Activity::Shutdown) return {};
    return x86_rest(activity_, interrupts_enabled(), signals(), controller_);
}

// --- Signals between threads

void KvmVcpu::prod() {
    if (gate_.knock()) shared_.kicks.fetch_add(1, std::memory_order_relaxed);
}

Result<void> KvmVcpu::take_events() {
    TANDEM_TRY(take_unhalt());
    if ((signals().peek() & (SignalWord::Init | SignalWord::Sipi)) == 0) return {};
    const auto change = [this](const std::function<void(State&)>& f) -> Result<Activity> {
        TANDEM_TRY(complete());
        TANDEM_TRY_ASSIGN(State s, fetch());
        f(s);
        TANDEM_TRY(store(s));
        return activity_;
    };
    return x86_take_init_and_sipi(signals(), activity_, index_ == 0, model_.signature(), change);
}

}  // namespace tandem::accel::kvm
