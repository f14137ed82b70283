// A debugger's breakpoints beside the guest's own (contract D2). With KVM_GUESTDBG_USE_HW_BP the processor's debug registers
// are those of KVM_SET_GUEST_DEBUG, the guest reads and writes its own, and every hit leaves to user space (api.rst 4.87).
#include <fmt/format.h>

#include <algorithm>

#include "accel/kvm/kvm_vcpu.h"
#include "base/log.h"

namespace tandem::accel::kvm {
namespace {

constexpr unsigned kRegisters = 4;
constexpr u64 kReserved = 0x400;  // of DR7: reads as one
constexpr u64 kResumeFlag = 0x10000, kSingleStep = u64{1} << 14, kHits = 0xf;

constexpr u64 enables_of(u64 dr7, unsigned i) { return dr7 >> (2 * i) & 3; }
constexpr u64 control_of(u64 dr7, unsigned i) { return dr7 >> (16 + 4 * i) & 0xf; }
constexpr u64 control(unsigned i, u64 enables, u64 how) { return enables << (2 * i) | how << (16 + 4 * i); }
constexpr bool on_instruction(u64 dr7, unsigned i) { return (control_of(dr7, i) & 3) == 0; }

// Condition and length (SDM volume 3, 17.2.4).
u64 encode(const Breakpoint& b) {
    const u64 condition = b.kind == Breakpoint::Kind::Execute ? 0 : b.kind == Breakpoint::Kind::Write ? 1 : 3;
    const u64 length = b.size == 8 ? 2 : b.size - 1u;
    return condition | length << 2;
}

}  // namespace

Result<void> KvmVcpu::set_debugger(std::span<const Breakpoint> breakpoints) {
    TANDEM_TRY(check_breakpoints(breakpoints));
    debugger_.assign(breakpoints.begin(), breakpoints.end());
    owner_ = {};
    debug_known_ = false;
    overfull_said_ = false;
    return {};
}

// The guest's keep their places, so that its DR6 has their bits. Its instruction breakpoints have no place in a step past
// those: the processor then has the guest's own registers.
Result<void> KvmVcpu::share_debug_registers(kvm_guest_debug& debug) {
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int got, TANDEM_KVM(fd_, KVM_GET_DEBUGREGS, &guest_debug_));
    owner_ = {};
    if (stepping_ && past_breakpoints_) return {};
    debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
    auto& dr7 = debug.arch.debugreg[7];
    dr7 = kReserved;
    auto next = debugger_.begin();
    const auto wanted = [&](const Breakpoint& b) { return !stepping_ || b.kind != Breakpoint::Kind::Execute; };
    for (unsigned i = 0; i < kRegisters; ++i) {
        if (const u64 enables = enables_of(guest_debug_.dr7, i); enables != 0) {
            debug.arch.debugreg[i] = guest_debug_.db[i];
            dr7 |= control(i, enables, control_of(guest_debug_.dr7, i));
            continue;
        }
        next = std::find_if(next, debugger_.end(), wanted);
        if (next == debugger_.end()) continue;
        owner_[i] = &*next;
        debug.arch.debugreg[i] = next->address;
        dr7 |= control(i, 2, encode(*next));
        ++next;
    }
    next = std::find_if(next, debugger_.end(), wanted);
    if (next != debugger_.end() && !std::exchange(overfull_said_, true)) {
        log::warn("vCPU {}: the guest uses its debug registers: the debugger's breakpoint at {:#x} has none", index_,
                  next->address);
    }
    return {};
}

// What the guest has set since counts from here on.
Result<void> KvmVcpu::watch_debug_registers() {
    if (debugger_.empty() || !breakpoints_.empty()) return {};
    kvm_debugregs now{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int got, TANDEM_KVM(fd_, KVM_GET_DEBUGREGS, &now));
    if (now.dr7 != guest_debug_.dr7 || !std::ranges::equal(now.db, guest_debug_.db)) debug_known_ = false;
    return {};
}

// A fault's image of the flags has RF set (SDM volume 3, 17.3.1.1), as KVM does not set it for #DB.
Result<void> KvmVcpu::give_debug_exception(u64 hits, bool fault) {
    TANDEM_TRY_ASSIGN(cpu::x86::State s, fetch());
    s.debug_trap |= hits;
    if (!shared_.system.exception_payload) s.dr6 = (s.dr6 & ~kHits) | hits;
    if (fault) s.rflags |= kResumeFlag;
    return store(s);
}

// Hits of data breakpoints belong to the instruction that is complete, one of an instruction breakpoint to the next.
// Nothing: the guest goes on.
std::optional<Exit> KvmVcpu::take_hits(u64 hits, bool stepped) {
    u64 guest_data = 0, guest_fault = 0;
    const Breakpoint* debugger = nullptr;
    for (unsigned i = 0; i < kRegisters; ++i) {
        if ((hits >> i & 1) == 0) continue;
        if (owner_[i] != nullptr) {
            debugger = owner_[i];
        } else if (enables_of(guest_debug_.dr7, i) != 0) {
            (on_instruction(guest_debug_.dr7, i) ? guest_fault : guest_data) |= u64{1} << i;
        }
    }
    const u64 pc = exit_pc();
    if (guest_data != 0) {
        if (auto given = give_debug_exception(guest_data, false); !given) return failed(given.error());
    }
    if (debugger != nullptr && debugger->kind != Breakpoint::Kind::Execute) {
        return debug_exit({DebugExit::Reason::Watchpoint, pc, debugger->address});
    }
    if (debugger != nullptr) {
        told_ = pc;
        return debug_exit({DebugExit::Reason::Breakpoint, pc, 0});
    }
    if (guest_data == 0 && guest_fault != 0) {
        kvm_regs regs{};
        if (auto got = TANDEM_KVM(fd_, KVM_GET_REGS, &regs); !got) return failed(got.error());
        // Where KVM interprets it looks at no RF: the guest's own registers do.
        if ((regs.rflags & kResumeFlag) != 0 && !stepping_) {
            pass_ = true;
            return debug_exit({DebugExit::Reason::Breakpoint, pc, 0});
        }
        if (auto given = give_debug_exception(guest_fault, true); !given) return failed(given.error());
    }
    if (stepped || stepping_) return debug_exit({DebugExit::Reason::SingleStep, pc, 0});
    return {};
}

std::optional<Exit> KvmVcpu::take_debug() {
    constexpr u32 kBreakpointVector = 3;
    const auto& arch = page_->debug.arch;
    const u64 pc = exit_pc();
    const u64 dr6 = arch.dr6;
    const bool stepped = (dr6 & kSingleStep) != 0;
    if (arch.exception == kBreakpointVector) return debug_exit({DebugExit::Reason::Breakpoint, pc, 0});
    if (!breakpoints_.empty() && !stepping_) return debug_exit({DebugExit::Reason::Breakpoint, pc, 0});
    if ((dr6 & kHits) == 0) return debug_exit({DebugExit::Reason::SingleStep, pc, 0});
    if (debugger_.empty()) {  // a step: the registers are the guest's
        if (auto got = TANDEM_KVM(fd_, KVM_GET_DEBUGREGS, &guest_debug_); !got) return failed(got.error());
    }
    return take_hits(dr6 & kHits, stepped);
}

}  // namespace tandem::accel::kvm
