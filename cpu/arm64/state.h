// Architectural state of one AArch64 processing element: plain, engine-neutral, complete. Engines import and export it
// whole. Names are the manual's (Arm Architecture Reference Manual, DDI 0487, parts B and D).
#pragma once

#include <array>

#include "base/types.h"

namespace tandem::cpu::arm64 {

struct alignas(16) Vector128 {
    std::array<u64, 2> lane{};  // low half first
    void visit(auto& v) { v("lane", lane); }
    bool operator==(const Vector128&) const = default;
};

constexpr unsigned kMaxBreakpoints = 16;
constexpr unsigned kMaxWatchpoints = 16;
constexpr unsigned kEventCounters = 6;

struct Sysregs {
#define TANDEM_ARM64_STORAGE(field, reset) u64 field = reset;
#include "cpu/arm64/storage.inc"
#undef TANDEM_ARM64_STORAGE
    std::array<u64, kMaxBreakpoints> dbgbvr_el1{}, dbgbcr_el1{};
    std::array<u64, kMaxWatchpoints> dbgwvr_el1{}, dbgwcr_el1{};
    std::array<u64, kEventCounters> pmevcntr_el0{}, pmevtyper_el0{};
    void visit(auto& v) {
#define TANDEM_ARM64_STORAGE(field, reset) v(#field, field);
#include "cpu/arm64/storage.inc"
#undef TANDEM_ARM64_STORAGE
        v("dbgbvr_el1", dbgbvr_el1);
        v("dbgbcr_el1", dbgbcr_el1);
        v("dbgwvr_el1", dbgwvr_el1);
        v("dbgwcr_el1", dbgwcr_el1);
        v("pmevcntr_el0", pmevcntr_el0);
        v("pmevtyper_el0", pmevtyper_el0);
    }
    bool operator==(const Sysregs&) const = default;
};

// The local exclusive monitor (DDI 0487, B2.12 "Synchronization and semaphores"). The value that was loaded stands for the
// global monitor: a Store-Exclusive succeeds when memory still holds it, and among several PEs the mark of the line is still
// there (jit::ir::MemFlags::kExclusive).
struct ExclusiveMonitor {
    u64 address = ~u64{0};  // virtual; all ones: open access state
    u64 value = 0;
    u64 high = 0;  // of a pair of doublewords the second
    u32 size = 0;  // bytes marked
    void visit(auto& v) {
        v("address", address);
        v("value", value);
        v("high", high);
        v("size", size);
    }
    bool operator==(const ExclusiveMonitor&) const = default;
};

enum class Activity : u8 {
    Running,
    Halted,      // WFI, until an interrupt is pending
    PoweredOff,  // until PSCI CPU_ON
};

// Bits of PSTATE in their positions of SPSR_ELx (DDI 0487, C5.2.19 "SPSR_EL1").
namespace pstate {
constexpr u64 kN = u64{1} << 31, kZ = u64{1} << 30, kC = u64{1} << 29, kV = u64{1} << 28;
constexpr u64 kNzcv = kN | kZ | kC | kV;
constexpr u64 kTco = 1u << 25;
constexpr u64 kDit = 1u << 24;
constexpr u64 kUao = 1u << 23;
constexpr u64 kPan = 1u << 22;
constexpr u64 kSs = 1u << 21;
constexpr u64 kIl = 1u << 20;
constexpr u64 kSsbs = 1u << 12;
constexpr u64 kBtype = 3u << 10;
constexpr unsigned kBtypeShift = 10;
constexpr u64 kD = 1u << 9, kA = 1u << 8, kI = 1u << 7, kF = 1u << 6;
constexpr u64 kDaif = kD | kA | kI | kF;
constexpr u64 kNrw = 1u << 4;
constexpr u64 kEl = 3u << 2;
constexpr unsigned kElShift = 2;
constexpr u64 kSp = 1;
}  // namespace pstate

// An exception that is recorded but not yet taken.
struct PendingException {
    bool valid = false;
    u8 target = 0;  // EL it is taken to
    bool has_far = false;
    bool has_hpfar = false;
    u64 esr = 0;  // ESR_ELx as it will be read
    u64 far = 0;
    u64 hpfar = 0;
    u64 return_address = 0;  // ELR_ELx
    void visit(auto& v) {
        v("valid", valid);
        v("target", target);
        v("has_far", has_far);
        v("has_hpfar", has_hpfar);
        v("esr", esr);
        v("far", far);
        v("hpfar", hpfar);
        v("return_address", return_address);
    }
    bool operator==(const PendingException&) const = default;
};

struct State {
    static constexpr u32 kVersion = 1;  // of the saved form; one more with every change to what visit() names
    std::array<u64, 31> x{};            // first: their offsets from the frame pointer are short
    std::array<u64, 3> sp{};            // SP_EL0, SP_EL1, SP_EL2
    u64 pc = 0;
    // All of PSTATE as SPSR_ELx would hold it (namespace pstate). NZCV is canonical after an export; see translate_state.h
    // for the translator's lazy form. Reset: EL1h, all masked.
    u64 pstate = pstate::kDaif | u64{1} << pstate::kElShift | pstate::kSp;
    u32 fpcr = 0;
    u32 fpsr = 0;
    std::array<Vector128, 32> v{};
    Sysregs sys;
    ExclusiveMonitor exclusive;
    Activity activity = Activity::Running;
    bool event_register = false;
    bool serror_pending = false;
    PendingException pending;
    void visit(auto& visitor) {
        visitor("x", x);
        visitor("sp", sp);
        visitor("pc", pc);
        visitor("pstate", pstate);
        visitor("fpcr", fpcr);
        visitor("fpsr", fpsr);
        visitor("v", v);
        visitor("sys", sys);
        visitor("exclusive", exclusive);
        visitor("activity", activity);
        visitor("event_register", event_register);
        visitor("serror_pending", serror_pending);
        visitor("pending", pending);
    }
    [[nodiscard]] unsigned el() const { return static_cast<unsigned>((pstate & pstate::kEl) >> pstate::kElShift); }
    // Index of the current stack pointer in sp.
    [[nodiscard]] unsigned sp_index() const { return (pstate & pstate::kSp) != 0 ? el() : 0; }
    bool operator==(const State&) const = default;
};

// Cold reset (DDI 0487, D1.8.3 "Reset to AArch64 state") into `el` (1 or 2) with the stack pointer of that level, everything
// masked, MMU off. PC is 0: whoever boots the machine sets it.
void reset(State& state, unsigned el);

}  // namespace tandem::cpu::arm64
