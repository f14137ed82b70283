// The numbered registers of AArch64: State's fields, and the rows of registers.inc once more. The functions that those rows
// name are here what a register shows and holds outside guest code, so that they need nothing of the translator's.
#include "cpu/arm64/system/numbered.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "cpu/arm64/fpu/control.h"
#include "cpu/arm64/system/limits.h"
#include "cpu/arm64/system/pmu.h"
#include "cpu/register_table.h"

namespace tandem::cpu::arm64 {
namespace {

struct Row;

struct Look {
    const CpuModel& model;
    const State& s;
    RegisterSurroundings& around;
};
struct Change {
    const CpuModel& model;
    State& s;
    RegisterSurroundings& around;
    [[nodiscard]] Look look() const { return {model, s, around}; }
};
using Read = u64 (*)(const Look&, const Row&);
// False: the register cannot hold the value, and nothing has changed.
using Write = bool (*)(const Change&, const Row&, u64);

enum class RegisterAccess : u8 { RW, RO, WO };

struct Row {
    RegisterRow shown;
    Feature needs = Feature::Base;
    bool el2 = false;  // exists where EL2 does
    u32 offset = 0;    // of State
    u64 writable = 0, res1 = 0;
    Read read = nullptr;  // null: the field itself, in the register's size
    Write write = nullptr;
    [[nodiscard]] SysregName name() const { return {static_cast<u16>(shown.id)}; }
};

u64 field_of(const State& s, const Row& r) {
    u64 value = 0;
    std::memcpy(&value, reinterpret_cast<const std::byte*>(&s) + r.offset, sizeof value);
    return value;
}
void set_field(State& s, const Row& r, u64 v) { std::memcpy(reinterpret_cast<std::byte*>(&s) + r.offset, &v, sizeof v); }
bool store_within(const Change& c, const Row& r, u64 v, u64 allowed) {
    if ((v & ~allowed) != 0) return false;
    set_field(c.s, r, v);
    return true;
}

u64 read_plain(const Look& l, const Row& r) { return field_of(l.s, r) | r.res1; }
// Bits that always read as 1 are not stored.
bool write_plain(const Change& c, const Row& r, u64 v) {
    if ((v & r.res1) != r.res1) return false;
    return store_within(c, r, (v & ~r.res1) | (field_of(c.s, r) & r.res1), r.writable | r.res1);
}
u64 read_zero(const Look&, const Row&) { return 0; }
bool write_ignored(const Change&, const Row&, u64) { return false; }

// --- Identification

u64 read_midr(const Look& l, const Row&) { return l.model.id().midr_el1; }
u64 read_mpidr(const Look& l, const Row&) {
    constexpr unsigned kClusterSize = 16;
    const u64 index = l.around.index();
    return u64{1} << 31 | (index / kClusterSize) << 8 | index % kClusterSize;
}
u64 read_revidr(const Look& l, const Row&) { return l.model.id().revidr_el1; }
u64 read_aidr(const Look& l, const Row&) { return l.model.id().aidr_el1; }
u64 read_ctr(const Look& l, const Row&) { return l.model.id().ctr_el0; }
u64 read_dczid(const Look& l, const Row&) { return l.model.id().dczid_el0; }
u64 read_ccsidr(const Look& l, const Row&) {
    const u64 n = l.s.sys.csselr_el1 & 15;
    return n < l.model.id().ccsidr_el1.size() ? l.model.id().ccsidr_el1[n] : 0;
}
u64 read_clidr(const Look& l, const Row&) { return l.model.id().clidr_el1; }
u64 read_pfr0(const Look& l, const Row&) { return l.model.id().id_aa64pfr0_el1; }
u64 read_pfr1(const Look& l, const Row&) { return l.model.id().id_aa64pfr1_el1; }
u64 read_dfr0(const Look& l, const Row&) { return l.model.id().id_aa64dfr0_el1; }
u64 read_dfr1(const Look& l, const Row&) { return l.model.id().id_aa64dfr1_el1; }
u64 read_isar0(const Look& l, const Row&) { return l.model.id().id_aa64isar0_el1; }
u64 read_isar1(const Look& l, const Row&) { return l.model.id().id_aa64isar1_el1; }
u64 read_isar2(const Look& l, const Row&) { return l.model.id().id_aa64isar2_el1; }
u64 read_mmfr0(const Look& l, const Row&) { return l.model.id().id_aa64mmfr0_el1; }
u64 read_mmfr1(const Look& l, const Row&) { return l.model.id().id_aa64mmfr1_el1; }
u64 read_mmfr2(const Look& l, const Row&) { return l.model.id().id_aa64mmfr2_el1; }
u64 read_authstatus(const Look&, const Row&) { return 0xee; }
u64 read_pmceid(const Look&, const Row& r) { return pmu_common_events(r.name().op2() - 6); }

// --- Control. Bits that always read as 1 may be stored as 0, which is how they come out of reset.

bool write_sctlr_el1(const Change& c, const Row& r, u64 v) {
    return store_within(c, r, v, sctlr_writable(c.model) | kSctlrRes1 | sctlr::SPAN);
}
bool write_sctlr_el2(const Change& c, const Row& r, u64 v) {
    return store_within(c, r, v, sctlr_writable(c.model) | kSctlrRes1 | kSctlrEl2Res1);
}
bool write_translation(const Change& c, const Row& r, u64 v) { return write_plain(c, r, v); }
bool write_table_base(const Change& c, const Row& r, u64 v) { return write_plain(c, r, v); }
bool write_stage2(const Change& c, const Row& r, u64 v) { return write_plain(c, r, v); }
bool write_hcr(const Change& c, const Row& r, u64 v) { return store_within(c, r, v, hcr_writable(c.model) | hcr::RW); }
bool write_cptr_el2(const Change& c, const Row& r, u64 v) {
    return store_within(c, r, v, kCptrHostBits | kCptrBits | kCptrRes1);
}
bool write_mdcr(const Change& c, const Row& r, u64 v) { return write_plain(c, r, v); }
bool write_context_id(const Change& c, const Row& r, u64 v) { return write_plain(c, r, v); }
u64 read_disr(const Look& l, const Row& r) { return read_plain(l, r); }
bool write_disr(const Change& c, const Row& r, u64 v) { return write_plain(c, r, v); }

// --- PSTATE and special registers

constexpr u64 kPstateBits = pstate::kNzcv | pstate::kTco | pstate::kDit | pstate::kUao | pstate::kPan | pstate::kSs |
                            pstate::kIl | pstate::kSsbs | pstate::kBtype | pstate::kDaif | pstate::kEl | pstate::kSp;

// The bits exist, and the mode does (DDI 0487, D1.3.5 "Illegal exception return").
bool set_pstate(const Change& c, u64 v) {
    const u64 el = (v & pstate::kEl) >> pstate::kElShift;
    if ((v & ~kPstateBits) != 0 || el > (c.model.has_el2() ? 2u : 1u) || (el == 0 && (v & pstate::kSp) != 0)) return false;
    c.s.pstate = v;
    return true;
}
bool write_pstate(const Change& c, const Row&, u64 v) { return set_pstate(c, v); }
u64 read_pstate(const Look& l, const Row&) { return l.s.pstate; }
template <u64 kBits>
bool write_part(const Change& c, u64 v) {
    return (v & ~kBits) == 0 && set_pstate(c, (c.s.pstate & ~kBits) | v);
}
u64 read_spsel(const Look& l, const Row&) { return l.s.pstate & pstate::kSp; }
bool write_spsel(const Change& c, const Row&, u64 v) { return write_part<pstate::kSp>(c, v); }
u64 read_current_el(const Look& l, const Row&) { return l.s.pstate & pstate::kEl; }
u64 read_pan(const Look& l, const Row&) { return l.s.pstate & pstate::kPan; }
bool write_pan(const Change& c, const Row&, u64 v) { return write_part<pstate::kPan>(c, v); }
u64 read_uao(const Look& l, const Row&) { return l.s.pstate & pstate::kUao; }
bool write_uao(const Change& c, const Row&, u64 v) { return write_part<pstate::kUao>(c, v); }
u64 read_nzcv(const Look& l, const Row&) { return l.s.pstate & pstate::kNzcv; }
bool write_nzcv(const Change& c, const Row&, u64 v) { return write_part<pstate::kNzcv>(c, v); }
u64 read_daif(const Look& l, const Row&) { return l.s.pstate & pstate::kDaif; }
bool write_daif(const Change& c, const Row&, u64 v) { return write_part<pstate::kDaif>(c, v); }
u64 read_dit(const Look& l, const Row&) { return l.s.pstate & pstate::kDit; }
bool write_dit(const Change& c, const Row&, u64 v) { return write_part<pstate::kDit>(c, v); }
u64 read_ssbs(const Look& l, const Row&) { return l.s.pstate & pstate::kSsbs; }
bool write_ssbs(const Change& c, const Row&, u64 v) { return write_part<pstate::kSsbs>(c, v); }

u64 read_sp_el0(const Look& l, const Row&) { return l.s.sp[0]; }
bool write_sp_el0(const Change& c, const Row&, u64 v) {
    c.s.sp[0] = v;
    return true;
}
u64 read_sp_el1(const Look& l, const Row&) { return l.s.sp[1]; }
bool write_sp_el1(const Change& c, const Row&, u64 v) {
    c.s.sp[1] = v;
    return true;
}
u64 read_fpcr_register(const Look& l, const Row&) { return l.s.fpcr; }
bool write_fpcr_register(const Change& c, const Row&, u64 v) {
    if ((v & ~u64{fpu::fpcr::Defined}) != 0) return false;
    c.s.fpcr = static_cast<u32>(v);
    return true;
}
u64 read_fpsr_register(const Look& l, const Row&) { return l.s.fpsr; }
bool write_fpsr_register(const Change& c, const Row&, u64 v) {
    if ((v & ~u64{fpu::fpsr::Defined}) != 0) return false;
    c.s.fpsr = static_cast<u32>(v);
    return true;
}

// --- Generic timers

struct TimerRegisters {
    u64 Sysregs::* control;
    u64 Sysregs::* compare;
    bool offset;
};
// CRm 2 and 3 with op1 3 (EL0) or 4 (EL2).
const TimerRegisters& timer_of(const Row& r) {
    static constexpr TimerRegisters kTimers[] = {{&Sysregs::cntp_ctl_el0, &Sysregs::cntp_cval_el0, false},
                                                 {&Sysregs::cntv_ctl_el0, &Sysregs::cntv_cval_el0, true},
                                                 {&Sysregs::cnthp_ctl_el2, &Sysregs::cnthp_cval_el2, false},
                                                 {&Sysregs::cnthv_ctl_el2, &Sysregs::cnthv_cval_el2, false}};
    return kTimers[(r.name().op1() == 4 ? 2 : 0) + (r.name().crm() == 3 ? 1 : 0)];
}
u64 count(const Look& l, bool offset) { return l.around.count() - (offset && l.model.has_el2() ? l.s.sys.cntvoff_el2 : 0); }

u64 read_cntfrq(const Look& l, const Row& r) {
    const u64 stored = field_of(l.s, r);
    return stored != 0 ? stored : l.around.count_hz();
}
u64 read_cntpct(const Look& l, const Row&) { return count(l, false); }
u64 read_cntvct(const Look& l, const Row&) { return count(l, true); }
u64 read_tval(const Look& l, const Row& r) {
    const TimerRegisters& timer = timer_of(r);
    return (l.s.sys.*timer.compare - count(l, timer.offset)) & mask(32);
}
bool write_tval(const Change& c, const Row& r, u64 v) {
    if ((v >> 32) != 0) return false;
    const TimerRegisters& timer = timer_of(r);
    c.s.sys.*timer.compare = count(c.look(), timer.offset) + static_cast<u64>(sign_extend(v, 32));
    return true;
}
constexpr u64 kTimerControl = 3, kTimerStatus = 4;
u64 read_timer_control(const Look& l, const Row& r) {
    const TimerRegisters& timer = timer_of(r);
    const u64 control = l.s.sys.*timer.control & kTimerControl;
    const bool met = count(l, timer.offset) >= l.s.sys.*timer.compare;
    return control | ((control & 1) != 0 && met ? kTimerStatus : 0);
}
// The status follows from the rest.
bool write_timer(const Change& c, const Row& r, u64 v) {
    return write_plain(c, r, r.read == read_timer_control ? v & ~kTimerStatus : v);
}

// --- Debug

bool write_oslar(const Change&, const Row&, u64) { return false; }
u64 read_claim_set(const Look&, const Row&) { return 0xff; }
bool write_claim_set(const Change&, const Row&, u64) { return false; }
bool write_claim_clear(const Change& c, const Row& r, u64 v) { return store_within(c, r, v, 0xff); }

// --- Performance monitors

constexpr u64 kPmuBits = mask(kEventCounters) | u64{1} << kCycleCounter;
u64 read_pmcr(const Look& l, const Row&) {
    return kPmcrArm | u64{kEventCounters} << 11 | kPmcrLc | (l.s.sys.pmcr_el0 & kPmcrWritable);
}
bool write_pmcr(const Change& c, const Row& r, u64 v) {
    if (((v ^ read_pmcr(c.look(), r)) & ~kPmcrWritable) != 0) return false;
    c.s.sys.pmcr_el0 = v & kPmcrWritable;
    return true;
}
u64 read_pmu_bits(const Look& l, const Row& r) { return field_of(l.s, r) & kPmuBits; }
u64 read_overflow(const Look& l, const Row& r) { return read_pmu_bits(l, r); }
bool write_pmu_set(const Change& c, const Row& r, u64 v) { return store_within(c, r, v, kPmuBits); }
bool write_pmu_clear(const Change& c, const Row& r, u64 v) { return store_within(c, r, v, kPmuBits); }
bool write_pmswinc(const Change&, const Row&, u64) { return false; }
u64 read_pmccntr(const Look& l, const Row& r) { return field_of(l.s, r); }
bool write_pmu(const Change& c, const Row& r, u64 v) { return write_plain(c, r, v); }

// The event counter of a PMEVCNTR or PMEVTYPER register, or the one that PMSELR_EL0 selects for PMXEV*.
unsigned event_counter(const State& s, const Row& r) {
    if (r.name().crn() == 9) return static_cast<unsigned>(s.sys.pmselr_el0 & 31);
    return (r.name().crm() & 3) << 3 | r.name().op2();
}
u64 read_pmevcntr(const Look& l, const Row& r) {
    const unsigned n = event_counter(l.s, r);
    return n < kEventCounters ? l.s.sys.pmevcntr_el0[n] : 0;
}
bool write_pmevcntr(const Change& c, const Row& r, u64 v) {
    const unsigned n = event_counter(c.s, r);
    if (n >= kEventCounters || (v >> 32) != 0) return false;
    c.s.sys.pmevcntr_el0[n] = v;
    return true;
}
u64 read_pmevtyper(const Look& l, const Row& r) {
    const unsigned n = event_counter(l.s, r);
    if (n == kCycleCounter) return l.s.sys.pmccfiltr_el0;
    return n < kEventCounters ? l.s.sys.pmevtyper_el0[n] : 0;
}
bool write_pmevtyper(const Change& c, const Row& r, u64 v) {
    const unsigned n = event_counter(c.s, r);
    const bool cycles = n == kCycleCounter;
    if ((!cycles && n >= kEventCounters) || (v & ~(cycles ? kCycleTypeWritable : kTypeWritable)) != 0) return false;
    (cycles ? c.s.sys.pmccfiltr_el0 : c.s.sys.pmevtyper_el0[n]) = v;
    return true;
}

// --- The table

// Not a register: the lines as they are.
u64 read_isr(const Look&, const Row&) { return 0; }

bool counts(Read read) {
    return read == read_cntpct || read == read_cntvct || read == read_tval || read == read_timer_control ||
           read == read_pmccntr || read == read_pmevcntr || read == read_overflow;
}

class Table : public RegisterTable<Row, State, RegisterArchitecture::Arm64> {
public:
    Table() {
        general();
        vectors();
        system();
        sort();
    }

private:
    void general() {
        constexpr RegisterClass kind = RegisterClass::General;
        for (u32 i = 0; i < s_.x.size(); ++i) field(kind, i, fmt::format("X{}", i), s_.x[i]);
        for (u32 i = 0; i < s_.sp.size(); ++i) field(kind, 0x20 + i, fmt::format("SP_EL{}", i), s_.sp[i]).el2 = i == 2;
        field(kind, 0x30, "PC", s_.pc);
        Row& pstate = field(kind, 0x31, "PSTATE", s_.pstate);
        pstate.read = read_pstate;
        pstate.write = write_pstate;
    }

    void vectors() {
        constexpr RegisterClass kind = RegisterClass::Vector;
        for (u32 i = 0; i < s_.v.size(); ++i) field(kind, i, fmt::format("V{}", i), s_.v[i].lane);
        Row& fpcr = field(kind, 0x40, "FPCR", s_.fpcr);
        fpcr.read = read_fpcr_register;
        fpcr.write = write_fpcr_register;
        Row& fpsr = field(kind, 0x41, "FPSR", s_.fpsr);
        fpsr.read = read_fpsr_register;
        fpsr.write = write_fpsr_register;
    }

    struct System {
        SysregName encoding;
        const char* name;
        Feature needs;
        RegisterAccess access;
        std::size_t offset;
        u64 writable, res1;
        Read read;
        Write write;
    };
    static const System kSystem[];

    void system();
};

constexpr Table::System Table::kSystem[] = {
#define TANDEM_SYSREG(op0, op1, crn, crm, op2, name, feature, access, trap, storage, writable, res1, read, write) \
    {SysregName::of(op0, op1, crn, crm, op2),                                                                     \
     #name,                                                                                                       \
     Feature::feature,                                                                                            \
     RegisterAccess::access,                                                                                      \
     offsetof(Sysregs, storage),                                                                                  \
     writable,                                                                                                    \
     res1,                                                                                                        \
     read,                                                                                                        \
     write},
#define TANDEM_SYSREG_ELEMENT(op0, op1, crn, crm, op2, name, feature, access, trap, storage, index, writable, res1, read, \
                              write)                                                                                      \
    {SysregName::of(op0, op1, crn, crm, op2),                                                                             \
     #name,                                                                                                               \
     Feature::feature,                                                                                                    \
     RegisterAccess::access,                                                                                              \
     offsetof(Sysregs, storage) + sizeof(u64) * (index),                                                                  \
     writable,                                                                                                            \
     res1,                                                                                                                \
     read,                                                                                                                \
     write},
#define TANDEM_SYSREG_COMPUTED(op0, op1, crn, crm, op2, name, feature, access, trap, read, write) \
    {SysregName::of(op0, op1, crn, crm, op2), #name, Feature::feature, RegisterAccess::access, 0, 0, 0, read, write},
#include "cpu/arm64/system/registers.inc"
#undef TANDEM_SYSREG
#undef TANDEM_SYSREG_ELEMENT
#undef TANDEM_SYSREG_COMPUTED
};

void Table::system() {
    for (const System& from : kSystem) {
        if (from.access == RegisterAccess::WO || from.read == read_isr) continue;
        Row& row = add(RegisterClass::System, from.encoding.value, sizeof(u64), from.name);
        row.needs = from.needs;
        row.el2 = from.encoding.op1() == 4;
        row.offset = static_cast<u32>(offsetof(State, sys) + from.offset);
        row.writable = from.writable;
        row.res1 = from.res1;
        row.read = from.read;
        row.write = from.write;
        row.shown.counts = counts(from.read);
        const bool moves = row.shown.counts || from.read == read_current_el || from.write == write_plain;
        row.shown.invariant = from.access == RegisterAccess::RO && !moves;
    }
}

const Table& table() {
    static const Table all;
    return all;
}

}  // namespace

std::span<const RegisterRow> numbered_rows() { return table().shown(); }

bool has_numbered(const CpuModel& model, std::size_t row) {
    const Row& r = table().rows()[row];
    return model.has(r.needs) && (!r.el2 || model.has_el2());
}

Result<void> read_numbered(const CpuModel& model, const State& state, RegisterSurroundings& around, std::size_t index,
                           std::span<u8> value) {
    const Row& row = table().rows()[index];
    if (row.read == nullptr) {
        std::memcpy(value.data(), reinterpret_cast<const std::byte*>(&state) + row.offset, value.size());
        return {};
    }
    const u64 number = row.read({model, state, around}, row);
    std::memcpy(value.data(), &number, value.size());
    return {};
}

Result<void> write_numbered(const CpuModel& model, State& state, RegisterSurroundings& around, std::size_t index,
                            std::span<const u8> value) {
    const Row& row = table().rows()[index];
    if (row.write == nullptr) {
        std::memcpy(reinterpret_cast<std::byte*>(&state) + row.offset, value.data(), value.size());
        return {};
    }
    u64 number = 0;
    std::memcpy(&number, value.data(), value.size());
    if (row.write({model, state, around}, row, number)) return {};
    return invalid(fmt::format("{} cannot be {}", row.shown.name, register_value_text(value)));
}

std::string_view system_register_name(u16 encoding) {
    const auto rows = numbered_rows();
    const u64 wanted = register_id(RegisterArchitecture::Arm64, RegisterClass::System, sizeof(u64), encoding);
    const auto found = std::ranges::lower_bound(rows, wanted & mask(40), {}, [](const auto& r) { return r.id & mask(40); });
    return found != rows.end() && found->id == wanted ? found->name : std::string_view{};
}

}  // namespace tandem::cpu::arm64
