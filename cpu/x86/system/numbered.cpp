// The numbered registers of x86 as rows over State.
#include "cpu/x86/system/numbered.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "cpu/register_table.h"
#include "cpu/x86/fpu/xsave.h"
#include "cpu/x86/models/feature_table.h"
#include "cpu/x86/system/limits.h"

namespace tandem::cpu::x86 {
namespace {

// Where a register's value is.
enum class Source : u8 {
    Field,     // `offset` of State, in the register's size
    X87,       // the same, in the layout of X87Reg
    Constant,  // `bits`
    Tsc,
    TscAdjust,
    ApicBase,  // in State and in the local APIC
    Device,    // an MSR of a device's
    Cr8,
};

struct Row;
using Holds = bool (*)(const CpuModel& model, const Row& row, u64 value);

struct Row {
    RegisterRow shown;
    Feature needs = Feature::FPU;
    Source source = Source::Field;
    u32 offset = 0;
    u64 bits = ~u64{0};     // Constant: the value; otherwise those that it may have
    Holds holds = nullptr;  // beyond `bits`
    [[nodiscard]] u32 number() const { return static_cast<u32>(shown.id); }
};

constexpr std::size_t kX87Bytes = 10;

bool is_canonical(const CpuModel& model, const Row&, u64 value) { return canonical(value, model.linear_bits()); }
bool is_physical(const CpuModel& model, const Row&, u64 value) { return value >> model.physical_bits() == 0; }

bool is_physical_page(const CpuModel& model, const Row& row, u64 value) {
    return (value & mask(12)) == 0 && is_physical(model, row, value);
}

constexpr u64 kVmCrBits = 0x1f;  // DPD, R_INIT, DIS_A20M, LOCK, SVMDIS (AMD APM volume 2, 15.30.1)

bool rflags_holds(const CpuModel&, const Row&, u64 value) { return (value & eflags::One) != 0; }
bool cr0_holds(const CpuModel&, const Row&, u64 value) {
    const bool paging = (value & cr0::PG) == 0 || (value & cr0::PE) != 0;
    const bool caches = (value & cr0::NW) == 0 || (value & cr0::CD) != 0;
    return (value & cr0::ET) != 0 && paging && caches;
}
bool cr4_holds(const CpuModel& model, const Row&, u64 value) { return (value & ~cr4_allowed(model)) == 0; }
bool xcr0_holds(const CpuModel& model, const Row&, u64 value) {
    constexpr u64 kX87 = 1, kSse = 2, kAvx = 4;
    return (value & ~xsave_components(model)) == 0 && (value & kX87) != 0 && ((value & kAvx) == 0 || (value & kSse) != 0);
}
bool dr6_holds(const CpuModel&, const Row&, u64 value) { return (value & ~kDr6Writable) == kDr6Ones; }
bool dr7_holds(const CpuModel&, const Row&, u64 value) { return (value & ~kDr7Writable) == kDr7Ones; }
bool efer_holds(const CpuModel& model, const Row&, u64 value) {
    constexpr u64 kSvme = 1u << 12, kFfxsr = 1u << 14;
    constexpr std::pair<Feature, u64> kBits[] = {{Feature::SYSCALL, efer::SCE},
                                                 {Feature::LM, efer::LME | efer::LMA},
                                                 {Feature::NX, efer::NXE},
                                                 {Feature::SVM, kSvme},
                                                 {Feature::FFXSR, kFfxsr}};
    for (const auto& [feature, bits] : kBits) {
        if (model.has(feature)) value &= ~bits;
    }
    return value == 0;
}
bool pat_holds(const CpuModel&, const Row&, u64 value) { return every_byte(value, pat_type); }
bool fixed_mtrr_holds(const CpuModel&, const Row&, u64 value) { return every_byte(value, mtrr_type); }
bool variable_mtrr_holds(const CpuModel& model, const Row& row, u64 value) {
    return valid_variable_mtrr(model, row.number(), value);
}
bool mtrr_default_holds(const CpuModel&, const Row&, u64 value) { return valid_mtrr_default(value); }

class Table : public RegisterTable<Row, State, RegisterArchitecture::X86> {
public:
    Table() {
        general();
        control();
        segments();
        vectors();
        x87();
        debug();
        plain_msrs();
        other_msrs();
        sort();
    }

private:
    Row& msr(u32 index, std::string name, Source source, Feature needs) {
        Row& row = add(RegisterClass::System, index, sizeof(u64), std::move(name));
        row.source = source;
        row.needs = needs;
        return row;
    }

    void general() {
        constexpr std::string_view kNames[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI"};
        for (u32 i = 0; i < s_.gpr.size(); ++i) {
            field(RegisterClass::General, i, i < std::size(kNames) ? std::string(kNames[i]) : fmt::format("R{}", i),
                  s_.gpr[i]);
        }
        field(RegisterClass::General, 16, "RIP", s_.rip).holds = is_canonical;
        Row& rflags = field(RegisterClass::General, 17, "RFLAGS", s_.rflags);
        rflags.bits = eflags::Defined | eflags::One;
        rflags.holds = rflags_holds;
    }

    void control() {
        constexpr RegisterClass kind = RegisterClass::Control;
        Row& cr0 = field(kind, 0, "CR0", s_.cr0);
        cr0.bits = kCr0Defined;
        cr0.holds = cr0_holds;
        field(kind, 2, "CR2", s_.cr2);
        field(kind, 3, "CR3", s_.cr3).holds = is_physical;
        field(kind, 4, "CR4", s_.cr4).holds = cr4_holds;
        Row& cr8 = add(kind, 8, sizeof(u64), "CR8");
        cr8.source = Source::Cr8;
        cr8.needs = Feature::APIC;
        cr8.bits = 0xf;
        Row& xcr0 = field(kind, 0x10, "XCR0", s_.xcr0);
        xcr0.needs = Feature::XSAVE;
        xcr0.holds = xcr0_holds;
        field(kind, 0x11, "PKRU", s_.pkru).needs = Feature::PKU;
        table(0x20, "GDTR", s_.gdtr);
        table(0x22, "IDTR", s_.idtr);
    }
    void table(u32 number, const std::string& name, const DescriptorTable& where) {
        field(RegisterClass::Control, number, name + "_BASE", where.base).holds = is_canonical;
        field(RegisterClass::Control, number + 1, name + "_LIMIT", where.limit);
    }

    void segments() {
        constexpr std::string_view kNames[] = {"ES", "CS", "SS", "DS", "FS", "GS"};
        for (u32 i = 0; i < s_.seg.size(); ++i) segment(i, std::string(kNames[i]), s_.seg[i]);
        segment(6, "LDTR", s_.ldtr);
        segment(7, "TR", s_.tr);
    }
    // FS_BASE and GS_BASE are names of MSRs, too: the parts of segments are written with a point.
    void segment(u32 number, const std::string& name, const Segment& where) {
        constexpr RegisterClass kind = RegisterClass::Segment;
        constexpr u64 kAccessBits = 0xf0ff;
        field(kind, 16 * number, name, where.selector);
        field(kind, 16 * number + 1, name + ".BASE", where.base).holds = is_canonical;
        field(kind, 16 * number + 2, name + ".LIMIT", where.limit);
        field(kind, 16 * number + 3, name + ".ACCESS", where.access).bits = kAccessBits;
    }

    void vectors() {
        constexpr RegisterClass kind = RegisterClass::Vector;
        constexpr u32 kMxcsrDefined = 0xffff, kWithoutAvx512 = 16;
        constexpr unsigned kXmm = 16, kYmm = 32, kZmm = 64;
        for (u32 i = 0; i < s_.vec.size(); ++i) {
            const Feature more = i < kWithoutAvx512 ? Feature::FPU : Feature::AVX512F;
            field(kind, i, fmt::format("XMM{}", i), s_.vec[i], kXmm).needs = more == Feature::FPU ? Feature::SSE : more;
            field(kind, 0x100 + i, fmt::format("YMM{}", i), s_.vec[i], kYmm).needs =
                more == Feature::FPU ? Feature::AVX : more;
            field(kind, 0x200 + i, fmt::format("ZMM{}", i), s_.vec[i], kZmm).needs = Feature::AVX512F;
        }
        for (u32 i = 0; i < s_.opmask.size(); ++i) {
            field(kind, 0x300 + i, fmt::format("K{}", i), s_.opmask[i]).needs = Feature::AVX512F;
        }
        Row& mxcsr = field(kind, 0x400, "MXCSR", s_.mxcsr);
        mxcsr.needs = Feature::SSE;
        mxcsr.bits = kMxcsrDefined;
    }

    void x87() {
        constexpr RegisterClass kind = RegisterClass::Vector;
        constexpr u64 kOpcodeBits = 0x7ff;
        const X87& x = s_.x87;
        for (u32 i = 0; i < x.reg.size(); ++i) {
            field(kind, 0x500 + i, fmt::format("FPR{}", i), x.reg[i], sizeof(X87Reg)).source = Source::X87;
        }
        field(kind, 0x510, "FCW", x.fcw);
        field(kind, 0x511, "FSW", x.fsw);
        field(kind, 0x512, "FTW", x.valid);
        field(kind, 0x513, "FOP", x.fop).bits = kOpcodeBits;
        field(kind, 0x514, "FIP", x.fip);
        field(kind, 0x515, "FDP", x.fdp);
        field(kind, 0x516, "FCS", x.fcs);
        field(kind, 0x517, "FDS", x.fds);
    }

    void debug() {
        for (u32 i = 0; i < s_.dr.size(); ++i) field(RegisterClass::Debug, i, fmt::format("DR{}", i), s_.dr[i]);
        field(RegisterClass::Debug, 6, "DR6", s_.dr6).holds = dr6_holds;
        field(RegisterClass::Debug, 7, "DR7", s_.dr7).holds = dr7_holds;
    }

    enum class Rule : u8 { Plain, Canonical, Low32, ReadOnly, WriteOnly, Ignored };
    // Those of msrs.inc that hold something, or say what the processor is.
    void plain_msr(u32 index, const char* name, u64 Msrs::* member, u64 writable, Rule rule, Feature needs) {
        if (rule == Rule::ReadOnly) {
            Row& row = msr(index, name, Source::Constant, needs);
            row.bits = writable;
            row.shown.invariant = true;
        } else if (member != nullptr) {
            Row& row = field(RegisterClass::System, index, name, s_.msr.*member);
            row.needs = needs;
            row.bits = rule == Rule::Low32 ? mask(32) : writable;
            if (rule == Rule::Canonical) row.holds = is_canonical;
        }
    }
    void plain_msrs() {
        constexpr u64 Msrs::* kNoMember = nullptr;
#define TANDEM_X86_MSR(index, name, member, writable, rule, feature) \
    plain_msr(index, name, member, writable, Rule::rule, Feature::feature);
#include "cpu/x86/system/msrs.inc"
#undef TANDEM_X86_MSR
    }

    void other_msrs() {
        msr(0x10, "TSC", Source::Tsc, Feature::TSC).shown.counts = true;
        msr(0x3b, "TSC_ADJUST", Source::TscAdjust, Feature::TSC_ADJUST);
        msr(0x1b, "APIC_BASE", Source::ApicBase, Feature::APIC).holds = is_physical;
        field(RegisterClass::System, 0xc0000080, "EFER", s_.msr.efer).holds = efer_holds;
        last().needs = Feature::LM;
        field(RegisterClass::System, 0xc0000100, "FS_BASE", s_.seg[FS].base).holds = is_canonical;
        last().needs = Feature::LM;
        field(RegisterClass::System, 0xc0000101, "GS_BASE", s_.seg[GS].base).holds = is_canonical;
        last().needs = Feature::LM;
        memory_types();
        Row& vm_cr = field(RegisterClass::System, 0xc0010114, "VM_CR", s_.svm.vm_cr);
        vm_cr.needs = Feature::SVM;
        vm_cr.bits = kVmCrBits;
        Row& save_area = field(RegisterClass::System, 0xc0010117, "VM_HSAVE_PA", s_.svm.hsave_pa);
        save_area.needs = Feature::SVM;
        save_area.holds = is_physical_page;
        field(RegisterClass::System, 0xc0010118, "SVM_KEY", s_.svm.key).needs = Feature::SVM_LOCK;
        // Those of devices. The old numbers of KVM's clock (Documentation/virt/kvm/x86/msr.rst) name the same registers.
        msr(0x6e0, "TSC_DEADLINE", Source::Device, Feature::TSC_DEADLINE);
        msr(0x11, "KVM_WALL_CLOCK", Source::Device, Feature::KVM_CLOCK_OLD);
        msr(0x12, "KVM_SYSTEM_TIME", Source::Device, Feature::KVM_CLOCK_OLD);
        msr(0x4b564d00, "KVM_WALL_CLOCK_NEW", Source::Device, Feature::KVM_CLOCK);
        msr(0x4b564d01, "KVM_SYSTEM_TIME_NEW", Source::Device, Feature::KVM_CLOCK);
        msr(0x4b564d04, "KVM_EOI_EN", Source::Device, Feature::KVM_PV_EOI);
    }
    void memory_types() {
        constexpr RegisterClass kind = RegisterClass::System;
        Row& pat = field(kind, kPat, "PAT", s_.msr.pat);
        pat.needs = Feature::PAT;
        pat.holds = pat_holds;
        constexpr std::string_view kFixed[] = {"64K_00000", "16K_80000", "16K_A0000", "4K_C0000", "4K_C8000", "4K_D0000",
                                               "4K_D8000",  "4K_E0000",  "4K_E8000",  "4K_F0000", "4K_F8000"};
        static_assert(std::size(kFixed) == std::size(kMtrrFixed));
        for (std::size_t i = 0; i < std::size(kMtrrFixed); ++i) {
            mtrr(field(kind, kMtrrFixed[i], fmt::format("MTRR_FIX{}", kFixed[i]), s_.msr.mtrr_fixed[i]), fixed_mtrr_holds);
        }
        for (u32 i = 0; i < kMtrrVariableCount; ++i) {
            mtrr(field(kind, kMtrrVariable + i, fmt::format("MTRR_PHYS{}{}", i % 2 == 0 ? "BASE" : "MASK", i / 2),
                       s_.msr.mtrr_variable[i]),
                 variable_mtrr_holds);
        }
        mtrr(field(kind, kMtrrDefType, "MTRR_DEF_TYPE", s_.msr.mtrr_def_type), mtrr_default_holds);
    }
    static void mtrr(Row& row, Holds holds) {
        row.needs = Feature::MTRR;
        row.holds = holds;
    }
};

const Table& table() {
    static const Table all;
    return all;
}

Error nobody_answers(const Row& row) {
    return {Errc::Unsupported, fmt::format("{}: nobody on this machine answers for it now", row.shown.name)};
}

Result<u64> read_computed(const State& s, RegisterSurroundings& around, const Row& row) {
    switch (row.source) {
        case Source::Constant: return row.bits;
        case Source::Tsc: return around.count() + s.msr.tsc_offset;
        case Source::TscAdjust: return s.msr.tsc_adjust;
        case Source::ApicBase: return s.msr.apic_base;
        case Source::Cr8: return u64{around.cr8()};
        default: break;
    }
    u64 value = 0;
    if (!around.msr_read(row.number(), value)) return nobody_answers(row);
    return value;
}

// As the instruction's: the counter moves with its adjustment, and the other way round (SDM volume 3, 17.17.3).
void move_tsc(State& s, u64 by) {
    s.msr.tsc_offset += by;
    s.msr.tsc_adjust += by;
}

Result<void> write_computed(State& s, RegisterSurroundings& around, const Row& row, u64 value) {
    switch (row.source) {
        case Source::Tsc: move_tsc(s, value - (around.count() + s.msr.tsc_offset)); return {};
        case Source::TscAdjust: move_tsc(s, value - s.msr.tsc_adjust); return {};
        case Source::Cr8: around.set_cr8(static_cast<u8>(value)); return {};
        default: break;
    }
    if (!around.msr_write(row.number(), value)) {
        return invalid(fmt::format("{} cannot be {:#x} now", row.shown.name, value));
    }
    if (row.source == Source::ApicBase) s.msr.apic_base = value;
    return {};
}

// Vectors hold everything.
Result<void> check(const CpuModel& model, const Row& row, std::span<const u8> value) {
    if (row.source == Source::X87) {
        if (std::ranges::all_of(value.subspan(kX87Bytes), [](u8 byte) { return byte == 0; })) return {};
    } else if (value.size() > sizeof(u64)) {
        return {};
    } else {
        u64 number = 0;
        std::memcpy(&number, value.data(), value.size());
        if ((number & ~row.bits) == 0 && (row.holds == nullptr || row.holds(model, row, number))) return {};
    }
    return invalid(fmt::format("{} cannot be {}", row.shown.name, register_value_text(value)));
}

}  // namespace

std::span<const RegisterRow> numbered_rows() { return table().shown(); }

bool has_numbered(const CpuModel& model, std::size_t row) { return model.has(table().rows()[row].needs); }

Result<void> read_numbered(const CpuModel&, const State& state, RegisterSurroundings& around, std::size_t index,
                           std::span<u8> value) {
    const Row& row = table().rows()[index];
    if (row.source == Source::Field || row.source == Source::X87) {
        std::ranges::fill(value, u8{0});
        const auto* field = reinterpret_cast<const u8*>(&state) + row.offset;
        std::memcpy(value.data(), field, row.source == Source::X87 ? kX87Bytes : value.size());
        return {};
    }
    TANDEM_TRY_ASSIGN(const u64 number, read_computed(state, around, row));
    std::memcpy(value.data(), &number, value.size());
    return {};
}

Result<void> write_numbered(const CpuModel& model, State& state, RegisterSurroundings& around, std::size_t index,
                            std::span<const u8> value) {
    const Row& row = table().rows()[index];
    TANDEM_TRY(check(model, row, value));
    if (row.source == Source::Field || row.source == Source::X87) {
        auto* field = reinterpret_cast<u8*>(&state) + row.offset;
        std::memcpy(field, value.data(), row.source == Source::X87 ? kX87Bytes : value.size());
        return {};
    }
    u64 number = 0;
    std::memcpy(&number, value.data(), value.size());
    return write_computed(state, around, row, number);
}

std::vector<u32> saved_msrs() {
    std::vector<u32> indexes;
    for (const Row& row : table().rows()) {
        if (row.shown.kind == RegisterClass::System && row.source != Source::Constant) indexes.push_back(row.number());
    }
    return indexes;
}

}  // namespace tandem::cpu::x86
