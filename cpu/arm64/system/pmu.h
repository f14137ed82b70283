// Performance monitors (DDI 0487, D12; PMUv3 with six event counters). Blocks that run while something is counted carry the
// counting (ModeBits::kCount): they add up what happened in TranslateState::counted, and pmu_sync() moves that into the
// counters, before anything that decides what is counted where changes. One instruction takes one cycle.
#pragma once

#include "cpu/arm64/translate_state.h"
#include "jit/ir/ir.h"

namespace tandem::cpu::arm64 {

constexpr unsigned kCycleCounter = 31;  // its bit in PMCNTENSET_EL0 and the like

// Events by their numbers (D12.11.3). Others are not counted.
enum class PmuEvent : u32 {
    SwIncr = 0x00,
    L1dCacheRefill = 0x03,
    L1dCache = 0x04,
    LdRetired = 0x06,
    StRetired = 0x07,
    InstRetired = 0x08,
    ExcTaken = 0x09,
    ExcReturn = 0x0a,
    CidWriteRetired = 0x0b,
    BrMisPred = 0x10,
    CpuCycles = 0x11,
    BrPred = 0x12,
    MemAccess = 0x13,
    InstSpec = 0x1b,
    Chain = 0x1e,
    BrRetired = 0x21,
};
constexpr PmuEvent kPmuEvents[] = {
    PmuEvent::SwIncr,    PmuEvent::L1dCacheRefill, PmuEvent::L1dCache,        PmuEvent::LdRetired,
    PmuEvent::StRetired, PmuEvent::InstRetired,    PmuEvent::ExcTaken,        PmuEvent::ExcReturn,
    PmuEvent::BrMisPred, PmuEvent::CpuCycles,      PmuEvent::CidWriteRetired, PmuEvent::BrPred,
    PmuEvent::MemAccess, PmuEvent::InstSpec,       PmuEvent::Chain,           PmuEvent::BrRetired,
};

// Whether anything is counted at the current level.
bool pmu_counts(const TranslateState& t);
void pmu_sync(TranslateState& t);
// One event of this kind happens now.
void pmu_event(TranslateState& t, PmuEvent event);
// A counter as it is read now; kCycleCounter or an event counter.
u64 pmu_value(const TranslateState& t, unsigned counter);
// Software increment of the event counters in `mask` (PMSWINC_EL0).
void pmu_software_increment(TranslateState& t, u64 mask);
// The registers changed: recomputes what the next overflow is and the interrupt.
void pmu_changed(TranslateState& t);
// PMCEID0_EL0 and PMCEID1_EL0.
constexpr u64 pmu_common_events(unsigned word) {
    u64 found = 0;
    for (const PmuEvent event : kPmuEvents) {
        const auto number = static_cast<u32>(event);
        if (number / 32 == word) found |= u64{1} << number % 32;
    }
    return found;
}
// Event counters that the current level sees: MDCR_EL2.HPMN below EL2.
unsigned pmu_visible_counters(const TranslateState& t);

// Called by blocks: an overflow is near. None.
jit::ir::LeaveReason pmu_poll(TranslateState* t);

}  // namespace tandem::cpu::arm64
