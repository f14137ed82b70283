#include "accel/kvm/arm64/arm64_vcpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace tandem::accel::kvm {
namespace {

constexpr u32 kLines = SignalWord::Interrupt | SignalWord::FastInterrupt;

struct TimerOutput {
    u64 bit;  // of kvm_sync_regs::device_irq_level
    devices::ArmTimer timer;
};
constexpr TimerOutput kTimerOutputs[] = {{KVM_ARM_DEV_EL1_VTIMER, devices::ArmTimer::Virtual},
                                         {KVM_ARM_DEV_EL1_PTIMER, devices::ArmTimer::Physical}};

}  // namespace

Arm64KvmVcpu::Arm64KvmVcpu(unsigned index, ExitHandler& handler, Arm64Shared& shared)
    : VcpuBase(index, handler), shared_(shared) {}

Result<void> Arm64KvmVcpu::open() {
    TANDEM_TRY_ASSIGN(const int fd, TANDEM_KVM(shared_.vm, KVM_CREATE_VCPU, static_cast<unsigned long>(index_)));
    fd_ = Fd(fd);
    TANDEM_TRY(page_.map(fd_, shared_.system.vcpu_map_size));
    TANDEM_TRY(initialise(index_ != 0));
    TANDEM_TRY_ASSIGN(ids_, list_registers(fd_));
    for (const StateRegister& r : state_registers()) {
        if (std::ranges::binary_search(ids_, r.id)) own_.push_back(r);
    }
    return {};
}

// A processor of the host's kind, reset (api.rst 4.82 KVM_ARM_VCPU_INIT). The first runs, the others wait for CPU_ON.
Result<void> Arm64KvmVcpu::initialise(bool powered_off) {
    kvm_vcpu_init init{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int a, TANDEM_KVM(shared_.vm, KVM_ARM_PREFERRED_TARGET, &init));
    init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2;
    if (powered_off) init.features[0] |= 1u << KVM_ARM_VCPU_POWER_OFF;
    if (shared_.system.pointer_authentication) {
        init.features[0] |= 1u << KVM_ARM_VCPU_PTRAUTH_ADDRESS | 1u << KVM_ARM_VCPU_PTRAUTH_GENERIC;
    }
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int b, TANDEM_KVM(fd_, KVM_ARM_VCPU_INIT, &init));
    return {};
}

// --- Running

Exit Arm64KvmVcpu::run_guest(bool stepping) {
    const KickOpen open;
    gate_.begin(page_);
    if (auto set = set_debug(stepping); !set) return failed(set.error());
    if (auto set = sync_counter(); !set) return failed(set.error());
    return loop(stepping);
}

Result<std::optional<Exit>> Arm64KvmVcpu::enter(bool stepping) {
    TANDEM_TRY(sync_lines(stepping));
    const int error = gate_.enter(fd_, [&] {
        const bool asked = !stepping && (signals().peek() & (SignalWord::ExitRequest | SignalWord::PowerOn)) != 0;
        const bool leave = asked || wanted_lines(stepping) != lines_;
        if (!leave) ++entries_;
        return leave;
    });
    access_open_ = false;
    report_timers();
    if (error == EINTR || error == EAGAIN) return std::optional<Exit>{};
    if (error != 0) {
        errno = error;
        return io_error("KVM_RUN");
    }
    shared_.exits.fetch_add(1, std::memory_order_relaxed);
    return take_exit();
}

void Arm64KvmVcpu::prod() {
    if (gate_.knock()) shared_.kicks.fetch_add(1, std::memory_order_relaxed);
}

// A step delivers no interrupts (contract D1).
u32 Arm64KvmVcpu::wanted_lines(bool stepping) const { return shared_.gic || stepping ? 0 : signals().peek() & kLines; }

Result<void> Arm64KvmVcpu::sync_lines(bool stepping) {
    const u32 wanted = wanted_lines(stepping);
    for (const u32 line : {u32{SignalWord::Interrupt}, u32{SignalWord::FastInterrupt}}) {
        if (((wanted ^ lines_) & line) == 0) continue;
        kvm_irq_level request{};
        const u32 input = line == SignalWord::Interrupt ? KVM_ARM_IRQ_CPU_IRQ : KVM_ARM_IRQ_CPU_FIQ;
        request.irq = index_ / 256 << KVM_ARM_IRQ_VCPU2_SHIFT | u32{KVM_ARM_IRQ_TYPE_CPU} << KVM_ARM_IRQ_TYPE_SHIFT |
                      index_ % 256 << KVM_ARM_IRQ_VCPU_SHIFT | input;
        request.level = (wanted & line) != 0;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(shared_.vm, KVM_IRQ_LINE, &request));
        lines_ ^= line;
    }
    return {};
}

// Without a controller of its own KVM tells where its timers' interrupts stand (api.rst 8.4 KVM_CAP_ARM_USER_IRQ).
void Arm64KvmVcpu::report_timers() {
    if (shared_.gic) return;
    const u64 now = page_->s.regs.device_irq_level;
    const u64 changed = now ^ timer_levels_;
    timer_levels_ = now;
    for (const TimerOutput& t : kTimerOutputs) {
        if ((changed & t.bit) != 0) handler_.timer_output(index_, t.timer, (now & t.bit) != 0);
    }
}

void Arm64KvmVcpu::power_on(u64 entry, u64 context) {
    {
        std::lock_guard guard(power_lock_);
        entry_ = entry;
        context_ = context;
    }
    signal(SignalWord::PowerOn);
}

Result<void> Arm64KvmVcpu::take_events() {
    if ((signals().take(SignalWord::PowerOn) & SignalWord::PowerOn) == 0) return {};
    cpu::arm64::State s;
    cpu::arm64::reset(s, 1);
    {
        std::lock_guard guard(power_lock_);
        s.pc = entry_;
        s.x[0] = context_;
    }
    TANDEM_TRY(initialise(index_ != 0));  // with the features that it had
    return store_state(s);
}

// --- Debugging (api.rst 4.87 KVM_SET_GUEST_DEBUG)

Result<void> Arm64KvmVcpu::set_breakpoints(std::span<const u64> addresses) {
    if (addresses.size() > kBreakpoints) return invalid("more breakpoints than the processor has");
    breakpoints_.assign(addresses.begin(), addresses.end());
    debug_known_ = false;
    return {};
}

Result<void> Arm64KvmVcpu::set_debug(bool stepping) {
    if (debug_known_ && stepping == stepping_) return {};
    kvm_guest_debug debug{};
    if (stepping) {
        debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
    } else if (!breakpoints_.empty()) {
        constexpr u64 kEnabledAtEl0AndEl1 = 1 | 3u << 1 | 15u << 5;  // DBGBCR_EL1: E, PMC, BAS
        debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW;
        for (std::size_t i = 0; i < breakpoints_.size(); ++i) {
            debug.arch.dbg_bvr[i] = breakpoints_[i];
            debug.arch.dbg_bcr[i] = kEnabledAtEl0AndEl1;
        }
    }
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(fd_, KVM_SET_GUEST_DEBUG, &debug));
    stepping_ = stepping;
    debug_known_ = true;
    return {};
}

}  // namespace tandem::accel::kvm
