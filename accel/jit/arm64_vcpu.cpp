#include "accel/jit/arm64_vcpu.h"

#include <time.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "cpu/arm64/fpu/status.h"
#include "cpu/arm64/system/mmu.h"
#include "cpu/arm64/system/pmu.h"
#include "cpu/arm64/system/registers.h"
#include "cpu/arm64/system/system.h"
#include "jit/guest/spin.h"
#include "jit/runtime/fp_control.h"

namespace tandem::accel {
namespace {

using namespace cpu::arm64;

constexpr u32 kLines =
    SignalWord::Interrupt | SignalWord::FastInterrupt | SignalWord::VirtualInterrupt | SignalWord::VirtualFastInterrupt;
constexpr SysregName kPmovsset = SysregName::of(3, 3, 9, 14, 3);
constexpr unsigned kClusterSize = 16;  // Aff0 that a GICv3 SGI's target list can name

}  // namespace

Arm64JitVcpu::Arm64JitVcpu(unsigned index, ExitHandler& handler, const CpuModel& model, ShareableDomain& domain)
    : JitVcpu(index, handler), model_(model), domain_(domain) {}

// The first PE runs, the others wait for PSCI CPU_ON.
void Arm64JitVcpu::construct(void* state) {
    state_ = new (state) TranslateState();
    state_->model = &model_;
    state_->platform = this;
    reset(state_->s, model_.has_el2() ? 2 : 1);
    state_->s.activity = index_ == 0 ? Activity::Running : Activity::PoweredOff;
    import_flags(*state_);
    fpu::control_to_frame(*state_);
    domain_.join(*this);
}

Rest Arm64JitVcpu::rest() const {
    switch (state_->s.activity) {
        case Activity::Running: return {};
        case Activity::PoweredOff: return {Rest::Kind::Asleep, SignalWord::PowerOn};
        case Activity::Halted: break;
    }
    if (wakes_up(*state_)) return {};
    return {Rest::Kind::Asleep, kLines};
}

Result<void> Arm64JitVcpu::take_events() {
    if ((signals().take(SignalWord::PowerOn) & SignalWord::PowerOn) == 0) return {};
    if (state_->s.activity != Activity::PoweredOff) return {};
    std::lock_guard guard(power_lock_);
    reset(state_->s, model_.has_el2() ? 2 : 1);
    state_->s.pc = entry_;
    state_->s.x[0] = context_;
    import_flags(*state_);
    fpu::control_to_frame(*state_);
    translator().state_replaced();
    announce_timers(*state_);
    return {};
}

void Arm64JitVcpu::power_on(u64 entry, u64 context) {
    {
        std::lock_guard guard(power_lock_);
        entry_ = entry;
        context_ = context;
    }
    signal(SignalWord::PowerOn);
}

Result<void> Arm64JitVcpu::export_state(cpu::ArchState& out) {
    TANDEM_TRY(take_events());
    return fetch_state(out);
}

Result<void> Arm64JitVcpu::import_state(const cpu::ArchState& in) {
    TANDEM_TRY(store_state(in));
    (void)signals().take(SignalWord::PowerOn);
    return {};
}

Result<void> Arm64JitVcpu::fetch_state(cpu::ArchState& out) {
    pmu_sync(*state_);
    if (take_event()) state_->s.event_register = true;
    export_flags(*state_);
    fpu::status_from_frame(*state_);
    out = state_->s;
    return {};
}

Result<void> Arm64JitVcpu::store_state(const cpu::ArchState& in) {
    const auto* s = std::get_if<State>(&in);
    if (s == nullptr) return invalid("state of another architecture");
    state_->s = *s;
    import_flags(*state_);
    fpu::control_to_frame(*state_);
    translator().state_replaced();
    if (state_->s.exclusive.address != ~u64{0} && cpu_count() > 1) translator().drop_line_marks();
    announce_timers(*state_);
    return {};
}

SysregResult Arm64JitVcpu::gic_register(const SysregAccess& access, u64& value) {
    SystemRegisterExit request;
    request.encoding = access.name.value;
    request.level = static_cast<u8>(access.el);
    request.write = access.write;
    request.routes_irq = access.imo;
    request.routes_fiq = access.fmo;
    request.data = value;
    Exit exit = request;
    dispatch_now(exit);
    const auto& answer = std::get<SystemRegisterExit>(exit);
    value = answer.data;
    switch (answer.answer) {
        case SystemRegisterExit::Answer::Done: return SysregResult::Ok;
        case SystemRegisterExit::Answer::TrapToEl2: return SysregResult::TrapToEl2;
        default: return SysregResult::Undefined;
    }
}

u32 Arm64JitVcpu::interrupt_lines() {
    const u32 raised = signals().peek();
    return ((raised & SignalWord::Interrupt) != 0 ? u32{kIrq} : 0) |
           ((raised & SignalWord::FastInterrupt) != 0 ? u32{kFiq} : 0) |
           ((raised & SignalWord::VirtualInterrupt) != 0 ? u32{kVirtualIrq} : 0) |
           ((raised & SignalWord::VirtualFastInterrupt) != 0 ? u32{kVirtualFiq} : 0);
}

void Arm64JitVcpu::timer_changed(Timer timer, bool enabled, u64 compare, u64 offset) {
    const jit::HostFpScope host(jit::header_of(state_));
    handler_.timer_programmed(index_, static_cast<devices::ArmTimer>(timer), {enabled, compare, offset});
}

// To the machine, PMOVSSET_EL0 is the interrupt: what is written to it is its level.
void Arm64JitVcpu::performance_interrupt(bool level) {
    SystemRegisterExit request;
    request.encoding = kPmovsset.value;
    request.level = static_cast<u8>(state_->s.el());
    request.write = true;
    request.data = level ? 1 : 0;
    Exit exit = request;
    dispatch_now(exit);
}

bool Arm64JitVcpu::hypercall(Conduit conduit, u16 immediate, std::array<u64, 18>& registers) {
    HypercallExit call;
    call.number = registers[0] & 0xffffffff;
    std::copy_n(registers.begin() + 1, HypercallExit::kArguments, call.args);
    std::copy_n(registers.begin() + 1, HypercallExit::kMoreResults, call.more_results);
    call.long_mode = true;
    call.conduit = conduit == Conduit::Hvc ? HypercallExit::Conduit::Hvc : HypercallExit::Conduit::Smc;
    call.immediate = immediate;
    Exit exit = call;
    dispatch_now(exit);
    const auto& answer = std::get<HypercallExit>(exit);
    if (answer.then == HypercallExit::Then::Undefined) return false;
    registers[0] = answer.result;
    std::copy_n(answer.more_results, HypercallExit::kMoreResults, registers.begin() + 1);
    if (answer.then == HypercallExit::Then::PowerOff) state_->s.activity = Activity::PoweredOff;
    if (answer.then == HypercallExit::Then::WaitForInterrupt) state_->s.activity = Activity::Halted;
    return true;
}

u64 Arm64JitVcpu::affinity() const { return u64{index_ / kClusterSize} << 8 | index_ % kClusterSize; }

// --- Events

bool Sleeper::wait(u64 nanoseconds) {
    int result = 0;
    if (nanoseconds == kForever) {
        do result = sem_wait(&wakeups_);
        while (result != 0 && errno == EINTR);
        return true;
    }
    constexpr u64 kSecond = 1'000'000'000;
    timespec until{};
    clock_gettime(CLOCK_MONOTONIC, &until);
    const u64 end = static_cast<u64>(until.tv_nsec) + nanoseconds;
    until.tv_sec += static_cast<time_t>(end / kSecond);
    until.tv_nsec = static_cast<long>(end % kSecond);
    do result = sem_clockwait(&wakeups_, CLOCK_MONOTONIC, &until);
    while (result != 0 && errno == EINTR);
    return result == 0;
}

void Arm64JitVcpu::prod() {
    JitVcpu::prod();
    sleeper_.wake();
}

void Arm64JitVcpu::send_event() {
    for (Arm64JitVcpu* other : domain_.members()) {
        if (other == this) continue;
        other->event_.store(true, std::memory_order_seq_cst);
        other->sleeper_.wake();
    }
}

bool Arm64JitVcpu::take_event() {
    return event_.load(std::memory_order_relaxed) && event_.exchange(false, std::memory_order_seq_cst);
}

void Arm64JitVcpu::sleep_until_event(u64 nanoseconds) {
    const auto& attention = jit::header_of(state_).attention;
    sleeper_.sleep(nanoseconds,
                   [&] { return event_.load(std::memory_order_seq_cst) || attention.load(std::memory_order_seq_cst) != 0; });
}

// --- TLB maintenance. A demand is set before the other PE is looked at, and that PE looks for demands after it has entered
// guest code, so one of the two sees the other.

void Arm64JitVcpu::demand(u32 flush) {
    demanded_.fetch_or(flush, std::memory_order_seq_cst);
    prod();
}

void Arm64JitVcpu::demand_part(const TlbInvalidate& part) {
    {
        std::lock_guard guard(parts_lock_);
        if (part_count_ < kMostParts) parts_[part_count_] = part;
        part_count_ = std::min(part_count_ + 1, kMostParts + 1);
    }
    demand(kParts);
}

void Arm64JitVcpu::broadcast_tlb_invalidate(const TlbInvalidate& what) {
    using Scope = TlbInvalidate::Scope;
    for (Arm64JitVcpu* other : domain_.members()) {
        if (other == this) continue;
        switch (what.scope) {
            case Scope::All: other->demand(TlbDemand::kAll); break;
            case Scope::NonGlobal: other->demand(TlbDemand::kNonGlobal); break;
            default: other->demand_part(what); break;
        }
    }
}

void Arm64JitVcpu::answer_waiting() {
    if (waiting_.load(std::memory_order_seq_cst) == 0) return;
    for (Arm64JitVcpu* other : domain_.members()) {
        if (other != this) other->sleeper_.wake();
    }
}

// What is taken here counts as done at once: this PE executes nothing before it is.
TlbDemand Arm64JitVcpu::take_tlb_invalidates() {
    if (demanded_.load(std::memory_order_seq_cst) == 0) return {};
    const u32 taken = demanded_.exchange(0, std::memory_order_seq_cst);
    answer_waiting();
    if ((taken & kParts) == 0) return {taken};
    std::lock_guard guard(parts_lock_);
    const unsigned count = std::exchange(part_count_, 0);
    if (count > kMostParts) return {TlbDemand::kAll};
    for (unsigned i = 0; i < count; ++i) {
        if (parts_[i].scope == TlbInvalidate::Scope::Asid) {
            invalidate_asid(*state_, parts_[i].argument, false);
        } else {
            invalidate_pages(*state_, parts_[i].argument, parts_[i].pages, false);
        }
    }
    return {taken & ~kParts};
}

// Two PEs may wait for each other here, so each keeps answering. A PE whose thread the host does not run answers late:
// whoever waits for long sleeps, and leaves the host's processor to it.
void Arm64JitVcpu::complete_tlb_invalidates() {
    constexpr unsigned kSpins = 200;
    constexpr u64 kLeftGuestCode = 100'000;  // nanoseconds; nobody tells that the other PE has done that
    for (Arm64JitVcpu* other : domain_.members()) {
        if (other == this) continue;
        const auto open = [&] {
            return other->demanded_.load(std::memory_order_seq_cst) != 0 && other->translator().running();
        };
        for (unsigned spins = 0; open(); ++spins) {
            apply_tlb_demand(*state_, take_tlb_invalidates());
            if (spins < kSpins) {
                jit::spin_wait(cpu_count());
                continue;
            }
            other->waiting_.fetch_add(1, std::memory_order_seq_cst);
            sleeper_.sleep(kLeftGuestCode, [&] { return !open() || demanded_.load(std::memory_order_seq_cst) != 0; });
            other->waiting_.fetch_sub(1, std::memory_order_seq_cst);
        }
    }
}

}  // namespace tandem::accel
