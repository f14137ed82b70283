// Model-specific registers. Rows for those that are plain data; functions for the rest; everything unknown is the
// platform's.
#include <algorithm>
#include <optional>

#include "base/log.h"
#include "cpu/x86/system/limits.h"
#include "cpu/x86/system/svm.h"

namespace tandem::cpu::x86 {

namespace {

enum class Rule : u8 { Plain, Canonical, Low32, ReadOnly, WriteOnly, Ignored };
using Member = u64 Msrs::*;
constexpr Member kNoMember = nullptr;

struct MsrRow {
    u32 index;
    const char* name;
    Member member;
    u64 writable;
    Rule rule;
    Feature feature;
};
constexpr MsrRow kRows[] = {
#define TANDEM_X86_MSR(index, name, member, writable, rule, feature) \
    {index, name, member, writable, Rule::rule, Feature::feature},
#include "cpu/x86/system/msrs.inc"
#undef TANDEM_X86_MSR
};

struct MsrRange {
    u32 first;
    u32 count;
    const char* name;
    u64 value;
    bool amd;
};
constexpr MsrRange kRanges[] = {
#define TANDEM_X86_MSR_RANGE(first, count, name, value, amd) {first, count, name, value, amd},
#include "cpu/x86/system/msr_ranges.inc"
#undef TANDEM_X86_MSR_RANGE
};

const MsrRow* find_row(const CpuModel& model, u32 index) {
    const auto* row = std::find_if(std::begin(kRows), std::end(kRows), [=](const MsrRow& r) { return r.index == index; });
    return row != std::end(kRows) && model.has(row->feature) ? row : nullptr;
}

const MsrRange* find_range(const CpuModel& model, u32 index) {
    const auto* range =
        std::find_if(std::begin(kRanges), std::end(kRanges), [=](const MsrRange& r) { return index - r.first < r.count; });
    return range != std::end(kRanges) && (!range->amd || model.amd()) ? range : nullptr;
}

bool read_row(const State& s, const MsrRow& row, u64& value) {
    if (row.rule == Rule::WriteOnly) return false;
    value = row.member != kNoMember ? s.msr.*row.member : row.writable;
    return true;
}

bool write_row(TranslateState& t, const MsrRow& row, u64 value) {
    switch (row.rule) {
        case Rule::ReadOnly: return false;
        case Rule::Ignored: return true;
        case Rule::WriteOnly: return (value & ~row.writable) == 0;
        case Rule::Low32: value &= 0xffffffff; break;
        case Rule::Canonical:
            // By what the processor has, not by the paging mode.
            if (!canonical(value, t.model->linear_bits())) return false;
            break;
        case Rule::Plain:
            if ((value & ~row.writable) != 0) return false;
            break;
    }
    t.s.msr.*row.member = value;
    return true;
}

// --- Memory types (SDM volume 3, 11.11 and 11.12)
// ------------------------------------------------------------------------------

u64* fixed_mtrr(State& s, u32 index) {
    const auto* found = std::find(std::begin(kMtrrFixed), std::end(kMtrrFixed), index);
    return found == std::end(kMtrrFixed) ? nullptr : &s.msr.mtrr_fixed[static_cast<std::size_t>(found - kMtrrFixed)];
}

// nullopt: not a memory-type MSR; else whether the write was valid.
std::optional<bool> write_memory_type(TranslateState& t, u32 index, u64 value) {
    State& s = t.s;
    if (index == kPat) {
        if (!t.model->has(Feature::PAT) || !every_byte(value, pat_type)) return false;
        s.msr.pat = value;
        return true;
    }
    u64* slot = fixed_mtrr(s, index);
    bool valid = slot != nullptr && every_byte(value, mtrr_type);
    if (index - kMtrrVariable < kMtrrVariableCount) {
        slot = &s.msr.mtrr_variable[index - kMtrrVariable];
        valid = valid_variable_mtrr(*t.model, index, value);
    } else if (index == kMtrrDefType) {
        slot = &s.msr.mtrr_def_type;
        valid = valid_mtrr_default(value);
    }
    if (slot == nullptr) return std::nullopt;
    if (!valid || !t.model->has(Feature::MTRR)) return false;
    *slot = value;
    return true;
}

std::optional<bool> read_memory_type(TranslateState& t, u32 index, u64& value) {
    State& s = t.s;
    if (index == kPat) {
        value = s.msr.pat;
        return t.model->has(Feature::PAT);
    }
    if (const u64* slot = fixed_mtrr(s, index))
        value = *slot;
    else if (index - kMtrrVariable < kMtrrVariableCount)
        value = s.msr.mtrr_variable[index - kMtrrVariable];
    else if (index == kMtrrDefType)
        value = s.msr.mtrr_def_type;
    else
        return std::nullopt;
    return t.model->has(Feature::MTRR);
}

// --- Registers with behaviour
// --------------------------------------------------------------------------------------------------

struct SpecialMsr {
    u32 index;
    const char* name;
    u64 (*read)(TranslateState& t);
    bool (*write)(TranslateState& t, u64 value);
    Feature feature;
};

void set_tsc_offset(TranslateState& t, u64 offset) {
    t.s.msr.tsc_offset = offset;
    t.platform->tsc_offset_changed(offset);
}

u64 own_tsc(const TranslateState& t) { return t.platform->tsc() + t.s.msr.tsc_offset; }
u64 read_tsc(TranslateState& t) { return visible_tsc(t); }
// A write moves TSC_ADJUST by as much as the counter (SDM volume 3, 17.17.3).
bool write_tsc(TranslateState& t, u64 value) {
    Msrs& m = t.s.msr;
    const u64 delta = value - own_tsc(t);
    m.tsc_adjust += delta;
    set_tsc_offset(t, m.tsc_offset + delta);
    return true;
}

u64 read_tsc_adjust(TranslateState& t) { return t.s.msr.tsc_adjust; }
bool write_tsc_adjust(TranslateState& t, u64 value) {
    Msrs& m = t.s.msr;
    const u64 delta = value - m.tsc_adjust;
    m.tsc_adjust = value;
    set_tsc_offset(t, m.tsc_offset + delta);
    return true;
}

// Both count at the rate of the time-stamp counter; writes are dropped.
u64 read_frequency_clock(TranslateState& t) { return own_tsc(t); }
bool drop(TranslateState&, u64) { return true; }
bool refuse(TranslateState&, u64) { return false; }

// The maximum non-turbo ratio in units of 100 MHz.
u64 read_platform_info(TranslateState& t) { return u64{t.platform->tsc_khz() / 100'000 & 0xff} << 8; }
// Cores and threads of the package.
u64 read_core_thread_count(TranslateState& t) {
    const Topology topology = t.model->topology(t.platform->cpu_count());
    return u64{topology.cores} << 16 | topology.package_count();
}

u64 read_apic_base(TranslateState& t) { return t.s.msr.apic_base; }
// SDM volume 3, 10.12.5.1: the legal transitions between disabled, xAPIC and x2APIC.
bool write_apic_base(TranslateState& t, u64 value) {
    constexpr u64 kBsp = 1u << 8, kX2 = 1u << 10, kEnable = 1u << 11;
    u64& current = t.s.msr.apic_base;
    const u64 address = mask(t.model->physical_bits()) & ~mask(12);
    const u64 defined = address | kBsp | kEnable | (t.model->has(Feature::X2APIC) ? kX2 : 0);
    if ((value & ~defined) != 0) return false;
    const u64 from = current & (kX2 | kEnable), to = value & (kX2 | kEnable);
    const bool illegal = to == kX2 || (to == (kX2 | kEnable) && from == 0) || (from == (kX2 | kEnable) && to == kEnable);
    if (illegal || !t.platform->apic_base_write(value)) return false;
    current = value;
    return true;
}

u64 read_efer(TranslateState& t) { return t.s.msr.efer; }
// SDM volume 3, 2.2.1 and 4.1.1. LMA is read-only and ignored.
bool write_efer(TranslateState& t, u64 value) {
    constexpr u64 kSvmDisable = 1u << 4;
    State& s = t.s;
    u64 writable = writable_efer(*t.model);
    if ((s.svm.vm_cr & kSvmDisable) != 0) writable &= ~efer::SVME;
    if ((value & ~(writable | efer::LMA)) != 0) return false;
    const u64 changed = (s.msr.efer ^ value) & writable;
    if ((changed & efer::LME) != 0 && (s.cr0 & cr0::PG) != 0) return false;
    s.msr.efer = (s.msr.efer & efer::LMA) | (value & writable);
    if ((changed & efer::NXE) != 0) jit::tlb_flush(&t, false);
    return true;
}

u64 read_vm_cr(TranslateState& t) { return t.s.svm.vm_cr; }
u64 read_hsave_pa(TranslateState& t) { return t.s.svm.hsave_pa; }
u64 read_svm_key(TranslateState&) { return 0; }

template <SegReg kSeg>
u64 read_base(TranslateState& t) {
    return t.s.seg[kSeg].base;
}
template <SegReg kSeg>
bool write_base(TranslateState& t, u64 value) {
    if (!canonical(value, t.model->linear_bits())) return false;
    t.s.seg[kSeg].base = value;
    return true;
}

constexpr SpecialMsr kSpecial[] = {
    {0x010, "TSC", read_tsc, write_tsc, Feature::TSC},
    {0x01b, "APIC_BASE", read_apic_base, write_apic_base, Feature::APIC},
    {0x03b, "TSC_ADJUST", read_tsc_adjust, write_tsc_adjust, Feature::TSC_ADJUST},
    {0x035, "CORE_THREAD_COUNT", read_core_thread_count, refuse, Feature::FPU},
    {0x0ce, "PLATFORM_INFO", read_platform_info, refuse, Feature::FPU},
    {0x0e7, "MPERF", read_frequency_clock, drop, Feature::FPU},
    {0x0e8, "APERF", read_frequency_clock, drop, Feature::FPU},
    {0xc0000080, "EFER", read_efer, write_efer, Feature::LM},
    {0xc0010114, "VM_CR", read_vm_cr, write_vm_cr, Feature::SVM},
    {0xc0010117, "VM_HSAVE_PA", read_hsave_pa, write_hsave_pa, Feature::SVM},
    {0xc0010118, "SVM_KEY", read_svm_key, write_svm_key, Feature::SVM_LOCK},
    {0xc0000100, "FS_BASE", read_base<FS>, write_base<FS>, Feature::LM},
    {0xc0000101, "GS_BASE", read_base<GS>, write_base<GS>, Feature::LM},
};

const SpecialMsr* find_special(const CpuModel& model, u32 index) {
    const auto* found =
        std::find_if(std::begin(kSpecial), std::end(kSpecial), [=](const SpecialMsr& m) { return m.index == index; });
    return found != std::end(kSpecial) && model.has(found->feature) ? found : nullptr;
}

}  // namespace

u64 writable_efer(const CpuModel& model) {
    constexpr u64 kFfxsr = 1u << 14;
    u64 writable = 0;
    if (model.has(Feature::SYSCALL)) writable |= efer::SCE;
    if (model.has(Feature::LM)) writable |= efer::LME;
    if (model.has(Feature::NX)) writable |= efer::NXE;
    if (model.has(Feature::FFXSR)) writable |= kFfxsr;
    if (model.has(Feature::SVM)) writable |= efer::SVME;
    return writable;
}

bool msr_read(TranslateState& t, u32 index, u64& value) {
    value = 0;
    if (const SpecialMsr* special = find_special(*t.model, index)) {
        value = special->read(t);
        return true;
    }
    if (const MsrRow* row = find_row(*t.model, index)) return read_row(t.s, *row, value);
    if (const auto known = read_memory_type(t, index, value)) return *known;
    if (const MsrRange* range = find_range(*t.model, index)) {
        value = range->value;
        return true;
    }
    return t.platform->msr_read(index, value);
}

bool msr_write(TranslateState& t, u32 index, u64 value) {
    if (const SpecialMsr* special = find_special(*t.model, index)) return special->write(t, value);
    if (const MsrRow* row = find_row(*t.model, index)) return write_row(t, *row, value);
    if (const auto known = write_memory_type(t, index, value)) return *known;
    if (find_range(*t.model, index) != nullptr) return true;
    return t.platform->msr_write(index, value);
}

namespace {

// Who answers for a register, where that is not the processor alone.
Hold::Reason outside(TranslateState& t, u32 index, bool write) {
    const CpuModel& model = *t.model;
    constexpr u32 kApicBase = 0x1b;
    if (const SpecialMsr* special = find_special(model, index)) {
        if (index == kApicBase) return Hold::Reason::Access;
        const bool clock = special->read == read_tsc || special->read == read_frequency_clock;
        return clock && !write ? Hold::Reason::Value : Hold::Reason::None;
    }
    u64 value = 0;
    const bool own = find_row(model, index) != nullptr || find_range(model, index) != nullptr ||
                     read_memory_type(t, index, value).has_value();
    return own ? Hold::Reason::None : Hold::Reason::Access;
}

bool left_for_later(TranslateState* t, u32 index, bool write) {
    if (jit::hold_of(jit::header_of(t)) == nullptr) return false;
    const Hold::Reason reason = outside(*t, index, write);
    return reason != Hold::Reason::None && held_before(t, reason);
}

}  // namespace

LeaveReason rdmsr(TranslateState* t) {
    State& s = t->s;
    if (!require_cpl0(*t)) return failed(*t);
    if (left_for_later(t, static_cast<u32>(s.gpr[RCX]), false)) return LeaveReason::Interpret;
    u64 value = 0;
    if (!msr_read(*t, static_cast<u32>(s.gpr[RCX]), value)) {
        log::trace(log::GuestErrors, "rdmsr {:#x} at {:#x}: no such register", static_cast<u32>(s.gpr[RCX]), s.rip);
        return raise(*t, kGP);
    }
    s.gpr[RAX] = value & 0xffffffff;
    s.gpr[RDX] = value >> 32;
    return LeaveReason::None;
}

LeaveReason wrmsr(TranslateState* t) {
    State& s = t->s;
    if (!require_cpl0(*t)) return failed(*t);
    const auto index = static_cast<u32>(s.gpr[RCX]);
    if (left_for_later(t, index, true)) return LeaveReason::Interpret;
    const u64 value = (s.gpr[RDX] << 32) | (s.gpr[RAX] & 0xffffffff);
    if (!msr_write(*t, index, value)) {
        log::trace(log::GuestErrors, "wrmsr {:#x} = {:#x} at {:#x}: refused", index, value, s.rip);
        return raise(*t, kGP);
    }
    return LeaveReason::None;
}

}  // namespace tandem::cpu::x86
