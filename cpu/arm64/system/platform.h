// What a processing element needs from the machine around it, apart from memory. The engine's vCPU implements it; cpu/arm64
// calls it. All functions: the vCPU's own thread, no locks held by the caller, unless noted.
#pragma once

#include <array>

#include "base/types.h"

namespace tandem::cpu::arm64 {

// A system register's name in MSR, MRS and SYS: op0 (2 bits), op1 (3), CRn (4), CRm (4), op2 (3), packed in that order as in
// the instruction's bits 20:5.
struct SysregName {
    u16 value = 0;
    static constexpr SysregName of(unsigned op0, unsigned op1, unsigned crn, unsigned crm, unsigned op2) {
        return {static_cast<u16>(op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2)};
    }
    [[nodiscard]] constexpr unsigned op0() const { return value >> 14; }
    [[nodiscard]] constexpr unsigned op1() const { return value >> 11 & 7; }
    [[nodiscard]] constexpr unsigned crn() const { return value >> 7 & 15; }
    [[nodiscard]] constexpr unsigned crm() const { return value >> 3 & 15; }
    [[nodiscard]] constexpr unsigned op2() const { return value & 7; }
    bool operator==(const SysregName&) const = default;
};

// The generic timers of one PE, by the interrupt they raise.
enum class Timer : u8 { Physical, Virtual, Hypervisor, HypervisorVirtual, Count_ };

// Interrupt inputs of a PE, as bits.
enum InterruptLine : u32 { kIrq = 1, kFiq = 2, kVirtualIrq = 4, kVirtualFiq = 8, kSError = 16 };

// Who asks for a GIC register, and where its answer goes.
struct SysregAccess {
    SysregName name;
    unsigned el = 1;
    bool write = false;
    // ICC_* at EL1 address the virtual interface (ICV_*): HCR_EL2.IMO for group 1 and FMO for group 0 registers.
    bool imo = false;
    bool fmo = false;
};

enum class SysregResult : u8 {
    Ok,
    Undefined,  // no such register here
    TrapToEl2,  // ICH_HCR_EL2 traps it
};

enum class Conduit : u8 { Hvc, Smc };

// TLB maintenance for the Inner Shareable domain, for the other PEs.
struct TlbInvalidate {
    enum class Scope : u8 { All, NonGlobal, Pages, Asid };
    Scope scope = Scope::All;
    u64 argument = 0;  // Pages: an address in the first; Asid: the ASID
    u64 pages = 1;     // of 4 KiB
};

// What other PEs' maintenance wants of this PE's TLB.
struct TlbDemand {
    static constexpr u32 kNonGlobal = 1, kAll = 2;
    u32 flush = 0;
};

class Platform {
public:
    virtual ~Platform() = default;

    // ICC_*, ICV_* and ICH_* registers (GICv3). Data goes in or out through `value`.
    virtual SysregResult gic_register(const SysregAccess& access, u64& value) = 0;

    // The level of the interrupt inputs (InterruptLine bits). Any thread.
    [[nodiscard]] virtual u32 interrupt_lines() = 0;

    // The system counter (CNTPCT_EL0) and its frequency in Hz.
    virtual u64 counter() = 0;
    [[nodiscard]] virtual u64 counter_hz() = 0;
    // CNTx_CTL, CNTx_CVAL or CNTVOFF_EL2 changed: the timer's condition is met while counter() - offset >= compare,
    // unsigned. Its interrupt is up while it is also enabled (ENABLE and not IMASK).
    virtual void timer_changed(Timer timer, bool enabled, u64 compare, u64 offset) = 0;

    // The level of the performance monitors' interrupt.
    virtual void performance_interrupt(bool /*level*/) {}

    // HVC or SMC that the machine answers itself (PSCI, SMCCC). `registers` are x0..x17 in and x0..x3 out; State::activity
    // is what the machine makes of it (PoweredOff, Halted). False: the machine has nothing on that conduit, the instruction
    // does what the manual says without it.
    virtual bool hypercall(Conduit conduit, u16 immediate, std::array<u64, 18>& registers) = 0;

    // TLB maintenance by this PE for all others. Returns when it is on its way; complete_tlb_invalidates() (a DSB) waits
    // until no other PE uses what was invalidated.
    virtual void broadcast_tlb_invalidate(const TlbInvalidate& what) = 0;
    virtual void complete_tlb_invalidates() = 0;
    // What the others' maintenance wants of this PE; taken before guest code runs and whenever attention was requested.
    virtual TlbDemand take_tlb_invalidates() { return {}; }
    // SEV: sets the event register of every other PE.
    virtual void send_event() = 0;
    // Whether another PE's SEV has come since this was last asked.
    virtual bool take_event() { return false; }
    // Sleeps until another PE's SEV comes, this PE's attention is wanted, or `nanoseconds` have passed.
    virtual void sleep_until_event(u64 /*nanoseconds*/) {}

    // MPIDR_EL1's affinity fields (Aff3 in bits 39:32).
    [[nodiscard]] virtual u64 affinity() const = 0;
    [[nodiscard]] virtual unsigned cpu_count() const = 0;
};

}  // namespace tandem::cpu::arm64
