// The system side of the processor: what IR calls for instructions that are too complicated for it, and what guest.cpp
// forwards to.
//
// Conventions of the helpers (all on the vCPU's own thread, TranslateState is the frame pointer):
//  - On entry s.pc is the address of the current instruction and NZCV may be lazy. On return it may be lazy too.
//  - None: the instruction is complete except for the register results named below; the caller stores them and goes on.
//  - Lookup: complete, s.pc is where execution goes on. Halt: as Lookup, waits for an interrupt.
//  - Exception (or whatever jit::leave_status said): nothing has changed but the pending exception.
//  - "-> scratch[i]": results are left in TranslateState::scratch.
// All of them check exception level and traps themselves.
#pragma once

#include "cpu/arm64/translate_state.h"
#include "jit/guest/guest.h"
#include "jit/guest/memory.h"
#include "jit/ir/ir.h"

namespace tandem::cpu::arm64 {

using jit::ir::LeaveReason;

// Exception classes (DDI 0487, D19.2.37 "ESR_EL1").
enum class Ec : u32 {
    Unknown = 0x00,
    WfxTrap = 0x01,
    FpTrap = 0x07,
    PauthTrap = 0x09,
    BranchTarget = 0x0d,
    IllegalState = 0x0e,
    Svc = 0x15,
    Hvc = 0x16,
    Smc = 0x17,
    SysregTrap = 0x18,
    EretTrap = 0x1a,
    InstructionAbortLower = 0x20,
    InstructionAbort = 0x21,
    PcAlignment = 0x22,
    DataAbortLower = 0x24,
    DataAbort = 0x25,
    SpAlignment = 0x26,
    FpException = 0x2c,
    SError = 0x2f,
    BreakpointLower = 0x30,
    Breakpoint = 0x31,
    StepLower = 0x32,
    Step = 0x33,
    WatchpointLower = 0x34,
    Watchpoint = 0x35,
    Brk = 0x3c,
};

// Bits of HCR_EL2, SCTLR_ELx and others that several files use.
namespace hcr {
constexpr u64 VM = 1, SWIO = 2, PTW = 4, FMO = 8, IMO = 16, AMO = 32, VF = 64, VI = 128, VSE = 256, FB = 512;
constexpr u64 DC = u64{1} << 12, TWI = u64{1} << 13, TWE = u64{1} << 14, TID0 = u64{1} << 15, TID1 = u64{1} << 16;
constexpr u64 TID2 = u64{1} << 17, TID3 = u64{1} << 18, TSC = u64{1} << 19, TIDCP = u64{1} << 20, TACR = u64{1} << 21;
constexpr u64 TSW = u64{1} << 22, TPC = u64{1} << 23, TPU = u64{1} << 24, TTLB = u64{1} << 25, TVM = u64{1} << 26;
constexpr u64 TGE = u64{1} << 27, TDZ = u64{1} << 28, HCD = u64{1} << 29, TRVM = u64{1} << 30, RW = u64{1} << 31;
constexpr u64 CD = u64{1} << 32, ID = u64{1} << 33, E2H = u64{1} << 34, TLOR = u64{1} << 35, TERR = u64{1} << 36;
constexpr u64 TEA = u64{1} << 37, APK = u64{1} << 40, API = u64{1} << 41;
// Traps that are off while the host's EL0 is the one below EL2 (E2H and TGE set).
constexpr u64 kGuestTraps =
    FB | DC | TWI | TWE | TID0 | TID1 | TID2 | TID3 | TIDCP | TACR | TSW | TPC | TPU | TTLB | TVM | TDZ | TRVM | TLOR;
}  // namespace hcr
namespace sctlr {
constexpr u64 M = 1, A = 2, C = 4, SA = 8, SA0 = 16, nAA = 64, UMA = 1u << 9, EnRCTX = 1u << 10, EnDB = 1u << 13,
              DZE = 1u << 14, UCT = 1u << 15;
constexpr u64 nTWI = 1u << 16, nTWE = 1u << 18, WXN = 1u << 19, IESB = 1u << 21, SPAN = 1u << 23, UCI = 1u << 26;
constexpr u64 EnDA = 1u << 27, EnIB = 1u << 30, EnIA = 1u << 31, BT0 = u64{1} << 35, BT1 = u64{1} << 36;
constexpr u64 DSSBS = u64{1} << 44;
}  // namespace sctlr

// CV = 1 and COND = 0b1110 of the ISS encodings that have them.
constexpr u32 kConditionAlways = 0x1e00000;

// --- State predicates
inline bool el2_enabled(const TranslateState& t) { return t.model->has_el2(); }
// HCR_EL2 as it is in effect: 0 without EL2.
inline u64 effective_hcr(const TranslateState& t) {
    constexpr u64 kHost = hcr::E2H | hcr::TGE;
    const u64 h = el2_enabled(t) ? t.s.sys.hcr_el2 : 0;
    return (h & kHost) == kHost ? (h & ~hcr::kGuestTraps) | hcr::API | hcr::APK : h;
}
inline bool host_mode(const TranslateState& t) {  // EL2&0 is the regime of the current level
    const u64 h = effective_hcr(t);
    return (h & hcr::E2H) != 0 && (t.s.el() == 2 || (t.s.el() == 0 && (h & hcr::TGE) != 0));
}
// SCTLR_ELx of the regime of the current level.
inline u64 current_sctlr(const TranslateState& t) {
    return t.s.el() == 2 || host_mode(t) ? t.s.sys.sctlr_el2 : t.s.sys.sctlr_el1;
}
// Data accesses are to Device memory for want of a stage 1: off, and not default cacheable.
inline bool stage1_flat(const TranslateState& t) {
    if ((current_sctlr(t) & sctlr::M) != 0) return false;
    return t.s.el() == 2 || (effective_hcr(t) & hcr::DC) == 0;
}

// --- Exceptions
// Records an exception at s.pc. `target`: the EL it is taken to; default_target() unless a rule says otherwise.
LeaveReason raise(TranslateState& t, Ec ec, u32 iss, unsigned target);
LeaveReason raise(TranslateState& t, Ec ec, u32 iss);
// The same with FAR_ELx.
LeaveReason raise_at(TranslateState& t, Ec ec, u32 iss, unsigned target, u64 far);
// EL1, or EL2 when the current level is EL2 or EL0 with HCR_EL2.TGE.
unsigned default_target(const TranslateState& t);
// Guest::deliver_exception and Guest::poll_interrupts.
LeaveReason deliver_exception(TranslateState& t);
bool poll_interrupts(TranslateState& t);
// Whether an interrupt that is not masked waits, and whether one waits at all (which ends a WFI).
bool interrupt_due(const TranslateState& t);
bool wakes_up(const TranslateState& t);

LeaveReason raise_exception(TranslateState* t, u32 ec, u32 iss);
LeaveReason raise_fp_trap(TranslateState* t);
LeaveReason raise_pauth_trap(TranslateState* t);
LeaveReason raise_sp_alignment(TranslateState* t);
LeaveReason raise_pc_alignment(TranslateState* t);
LeaveReason supervisor_call(TranslateState* t, u32 imm16);
LeaveReason hypervisor_call(TranslateState* t, u32 imm16);
LeaveReason secure_monitor_call(TranslateState* t, u32 imm16);
LeaveReason breakpoint_instruction(TranslateState* t, u32 imm16);
// ERET and ERETA*: `authenticated` 0, or 1 with the address in `address`. Lookup.
LeaveReason exception_return(TranslateState* t, u32 authenticated, u64 address);

// --- Hints and barriers
LeaveReason wait_for_interrupt(TranslateState* t, u64 next);
LeaveReason wait_for_event(TranslateState* t, u64 next);
void send_event(TranslateState* t, u32 local_only);
void synchronize(TranslateState* t);    // DSB
void error_barrier(TranslateState* t);  // ESB

// --- System registers and instructions; `word` is the instruction
LeaveReason read_sysreg(TranslateState* t, u32 word);  // -> scratch[0]
LeaveReason write_sysreg(TranslateState* t, u32 word, u64 value);
LeaveReason write_pstate_field(TranslateState* t, u32 word);             // MSR (immediate)
LeaveReason system_instruction(TranslateState* t, u32 word, u64 value);  // DC, IC, TLBI, AT and the like
LeaveReason zero_block(TranslateState* t, u32 word, u64 va);             // DC ZVA

// --- Translation
// Guest::translate. Records the abort.
bool translate(TranslateState& t, u64 va, jit::Access access, unsigned index, jit::Translation& out);
// `index` is the translator's MMU index of the access; `by_memory_type`: it would be allowed but for Device memory.
void alignment_fault(TranslateState& t, u64 va, jit::Access access, unsigned index, bool by_memory_type);
// Guest::bus_error: a synchronous external abort (DFSC 0x10).
void external_abort(TranslateState& t, u64 va, jit::Access access, unsigned index);

// Does what other PEs ask of this PE's TLB.
void apply_tlb_demand(TranslateState& t, TlbDemand demand);

// --- Self-hosted debug
LeaveReason software_step(TranslateState* t);
LeaveReason hardware_breakpoint(TranslateState* t);
// LDTR and its like are accesses of EL0 where they use its permissions: kWatchUnprivileged beside one of the others.
enum WatchedAccess : u32 { kWatchLoad, kWatchStore, kWatchUpdate, kWatchUnprivileged = 16 };
LeaveReason watch_access(TranslateState* t, u64 va, u32 size, u32 access);
// Checks PSTATE.BTYPE against the landing instruction `word` where the page is guarded.
LeaveReason branch_target(TranslateState* t, u32 word);
// PSTATE.BTYPE after BR through a register other than X16 and X17: 3 on a guarded page, else 1.
u32 jump_type(TranslateState* t);
// Whether software step is enabled at the current level (DDI 0487, D2.11), and breakpoints and watchpoints generate
// exceptions there.
bool step_enabled(const TranslateState& t);
bool debug_exceptions_enabled(const TranslateState& t);

}  // namespace tandem::cpu::arm64
