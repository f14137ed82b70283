#include "cpu/arm64/system/pmu.h"

#include <algorithm>
#include <array>

#include "base/bits.h"
#include "cpu/arm64/system/system.h"

namespace tandem::cpu::arm64 {
namespace {

constexpr u64 kEnable = 1;          // PMCR_EL0.E
constexpr u64 kHpme = u64{1} << 7;  // MDCR_EL2
constexpr u64 kNever = ~u64{0};

bool enabled(const Sysregs& sys) { return ((sys.pmcr_el0 & kEnable) | (sys.mdcr_el2 & kHpme)) != 0; }

// What an event is made of; those that blocks do not count happen by pmu_event().
struct EventRow {
    PmuEvent event;
    u8 sources;  // bits of Counted
};
constexpr u8 source(Counted which) { return static_cast<u8>(1u << static_cast<unsigned>(which)); }
constexpr u8 kAccesses = source(Counted::Load) | source(Counted::Store);
constexpr EventRow kEvents[] = {
    {PmuEvent::SwIncr, 0},
    {PmuEvent::L1dCacheRefill, 0},
    {PmuEvent::L1dCache, kAccesses},
    {PmuEvent::LdRetired, source(Counted::Load)},
    {PmuEvent::StRetired, source(Counted::Store)},
    {PmuEvent::InstRetired, source(Counted::Instruction)},
    {PmuEvent::ExcTaken, 0},
    {PmuEvent::ExcReturn, 0},
    {PmuEvent::CidWriteRetired, 0},
    {PmuEvent::BrMisPred, 0},
    {PmuEvent::CpuCycles, source(Counted::Instruction)},
    {PmuEvent::BrPred, source(Counted::Branch)},
    {PmuEvent::MemAccess, kAccesses},
    {PmuEvent::InstSpec, source(Counted::Instruction)},
    {PmuEvent::Chain, 0},
    {PmuEvent::BrRetired, source(Counted::Branch)},
};
static_assert(std::size(kEvents) == std::size(kPmuEvents));

u8 sources_of(u64 type) {
    for (const EventRow& row : kEvents) {
        if (static_cast<u32>(row.event) == bits(type, 9, 0)) return row.sources;
    }
    return 0;
}

u64 type_of(const Sysregs& sys, unsigned n) { return n == kCycleCounter ? sys.pmccfiltr_el0 : sys.pmevtyper_el0[n]; }

u8 sources_of(const Sysregs& sys, unsigned n) {
    return n == kCycleCounter ? source(Counted::Instruction) : sources_of(sys.pmevtyper_el0[n]);
}

u64 counted(const TranslateState& t, u8 sources) {
    u64 sum = 0;
    for (unsigned i = 0; i < t.counted.size(); ++i) sum += bit(sources, i) ? t.counted[i] : 0;
    return sum;
}

unsigned reserved_from(const TranslateState& t) {
    return el2_enabled(t) ? static_cast<unsigned>(std::min<u64>(t.s.sys.mdcr_el2 & 31, kEventCounters)) : kEventCounters;
}

// PMCR_EL0.E, for counters that EL2 keeps to itself MDCR_EL2.HPME.
bool group_enabled(const TranslateState& t, unsigned n) {
    const Sysregs& sys = t.s.sys;
    const bool hypervisors = n != kCycleCounter && n >= reserved_from(t);
    return ((hypervisors ? sys.mdcr_el2 & kHpme : sys.pmcr_el0 & kEnable)) != 0;
}

// AArch64.CountEvents, without EL3.
bool counts(const TranslateState& t, unsigned n) {
    const Sysregs& sys = t.s.sys;
    if (!bit(sys.pmcntenset_el0, n) || !group_enabled(t, n)) return false;
    const u64 type = type_of(sys, n);
    switch (t.s.el()) {
        case 0: return !bit(type, 30);
        case 1: return !bit(type, 31);
        default: return bit(type, 27);
    }
}

template <class F>
void for_each_counter(F f) {
    for (unsigned n = 0; n < kEventCounters; ++n) f(n);
    f(kCycleCounter);
}

// Event counters are 32 bits wide; an overflow of an even one is what CHAIN counts.
void add(TranslateState& t, unsigned n, u64 events) {
    Sysregs& sys = t.s.sys;
    if (events == 0) return;
    if (n == kCycleCounter) {
        sys.pmccntr_el0 += events;
        if (sys.pmccntr_el0 < events) sys.pmovsset_el0 |= u64{1} << n;
        return;
    }
    const u64 sum = sys.pmevcntr_el0[n] + events;
    sys.pmevcntr_el0[n] = sum & mask(32);
    if (sum >> 32 == 0) return;
    sys.pmovsset_el0 |= u64{1} << n;
    const bool chained = n % 2 == 0 && n + 1 < kEventCounters && counts(t, n + 1) &&
                         bits(sys.pmevtyper_el0[n + 1], 9, 0) == static_cast<u32>(PmuEvent::Chain);
    if (chained) add(t, n + 1, sum >> 32);
}

// Instructions until a counter overflows at the earliest; one of them makes fewer than kMost other events.
u64 distance(const TranslateState& t, unsigned n) {
    constexpr u64 kMost = 16;
    const u8 sources = sources_of(t.s.sys, n);
    if (sources == 0 || !counts(t, n)) return kNever;
    if (n == kCycleCounter) return std::max<u64>(u64{0} - t.s.sys.pmccntr_el0, 1);
    const u64 left = (u64{1} << 32) - t.s.sys.pmevcntr_el0[n];
    return sources == source(Counted::Instruction) ? left : left / kMost + 1;
}

}  // namespace

bool pmu_counts(const TranslateState& t) {
    if (!enabled(t.s.sys) || t.s.sys.pmcntenset_el0 == 0) return false;
    bool any = false;
    for_each_counter([&](unsigned n) { any = any || counts(t, n); });
    return any;
}

void pmu_sync(TranslateState& t) {
    const auto happened = t.counted;
    if (std::all_of(happened.begin(), happened.end(), [](u64 n) { return n == 0; })) return;
    for_each_counter([&](unsigned n) {
        if (counts(t, n)) add(t, n, counted(t, sources_of(t.s.sys, n)));
    });
    t.counted = {};
    pmu_changed(t);
}

void pmu_event(TranslateState& t, PmuEvent event) {
    if (!pmu_counts(t)) return;
    for (unsigned n = 0; n < kEventCounters; ++n) {
        if (bits(t.s.sys.pmevtyper_el0[n], 9, 0) == static_cast<u32>(event) && counts(t, n)) add(t, n, 1);
    }
    pmu_changed(t);
}

u64 pmu_value(const TranslateState& t, unsigned n) {
    const Sysregs& sys = t.s.sys;
    const u64 since = counts(t, n) ? counted(t, sources_of(sys, n)) : 0;
    return n == kCycleCounter ? sys.pmccntr_el0 + since : (sys.pmevcntr_el0[n] + since) & mask(32);
}

void pmu_software_increment(TranslateState& t, u64 which) {
    for (unsigned n = 0; n < kEventCounters; ++n) {
        const bool software = bits(t.s.sys.pmevtyper_el0[n], 9, 0) == static_cast<u32>(PmuEvent::SwIncr);
        if (bit(which, n) && software && counts(t, n)) add(t, n, 1);
    }
    pmu_changed(t);
}

void pmu_changed(TranslateState& t) {
    const Sysregs& sys = t.s.sys;
    u64 limit = kNever;
    t.count_limit = limit;
    if (!enabled(sys) && !t.pmu_interrupt) return;
    bool interrupt = false;
    const u64 overflows = sys.pmovsset_el0 & sys.pmintenset_el1;
    for_each_counter([&](unsigned n) {
        limit = std::min(limit, distance(t, n));
        interrupt = interrupt || (bit(overflows, n) && group_enabled(t, n));
    });
    t.count_limit = limit;
    if (interrupt != t.pmu_interrupt) {
        t.pmu_interrupt = interrupt;
        t.platform->performance_interrupt(interrupt);
    }
}

unsigned pmu_visible_counters(const TranslateState& t) { return t.s.el() == 2 ? kEventCounters : reserved_from(t); }

jit::ir::LeaveReason pmu_poll(TranslateState* t) {
    pmu_sync(*t);
    return jit::ir::LeaveReason::None;
}

}  // namespace tandem::cpu::arm64
