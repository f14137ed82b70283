// The processor models and their identification registers, which say what this implementation does (DDI 0487, D19.2).
#include "cpu/arm64/model.h"
#include "cpu/arm64/models/id_fields.h"
#include "cpu/arm64/models/list.h"

#include <fmt/format.h>

#include <array>
#include <span>

#include "base/bits.h"

namespace tandem::cpu::arm64 {
namespace {

using F = Feature;

constexpr auto kA57 = std::to_array<F>({F::Base, F::AdvSimd, F::CRC32, F::AES, F::PMULL, F::SHA1, F::SHA256});
constexpr auto kNeoverseN1 =
    std::to_array<F>({F::Base, F::AdvSimd, F::CRC32, F::AES,   F::PMULL,   F::SHA1,  F::SHA256, F::LSE, F::RDM,
                      F::PAN,  F::PAN2,    F::LOR,   F::VHE,   F::VMID16,  F::HPDS,  F::HAFDBS, F::UAO, F::DPB,
                      F::FP16, F::RAS,     F::XNX,   F::TTCNP, F::DotProd, F::LRCPC, F::SSBS2,  F::CSV3});

struct ModelRow {
    std::string_view name;
    u64 midr;
    unsigned physical_bits;
    std::span<const Feature> features;  // empty: everything
};
constexpr ModelRow kModels[] = {
    {"cortex-a57", 0x411fd070, 44, kA57},
    {"cortex-a72", 0x410fd083, 44, kA57},
    {"neoverse-n1", 0x414fd0c1, 48, kNeoverseN1},
    {"max", 0x000f0510, 48, {}},
};

// What every model has: AArch64 only at EL0 to EL2, all three granules, six breakpoints and four watchpoints.
IdRegisters common(const ModelRow& m) {
    constexpr u64 kLargestZeroBlock = 9;  // DCZID_EL0.BS: 2 KiB, so that DC ZVA clears a page in two steps
    IdRegisters id;
    if (m.features.empty()) id.dczid_el0 = kLargestZeroBlock;
    id.midr_el1 = m.midr;
    id.ctr_el0 = 0x8444c004 | 3u << 28;  // 64-byte lines; IDC, DIC: no cache maintenance needed for code that is written
    id.clidr_el1 = 0x0a200023;
    id.ccsidr_el1 = {0x701fe00a, 0x201fe012, 0x70ffe07a, 0, 0, 0};
    id.id_aa64pfr0_el1 = 0x11;
    id.id_aa64dfr0_el1 = 0x10305006 | u64{1} << 28;
    id.id_aa64mmfr0_el1 = parange(m.physical_bits) | 2u << 4 | 1u << 20;  // ASIDBits 16; TGran16 yes; TGran64, TGran4: 0
    for (const unsigned stage2 : {32u, 36u, 40u}) id.id_aa64mmfr0_el1 |= u64{2} << stage2;
    return id;
}

constexpr u8 kEl2Shift = 8, kGicShift = 24;

#if defined(__aarch64__)
// A register that Linux lets programs read (Documentation/arm64/cpu-feature-registers.rst).
#define TANDEM_READ_ID(name)                     \
    [] {                                         \
        u64 value = 0;                           \
        __asm__("mrs %0, " #name : "=r"(value)); \
        return value;                            \
    }()

IdRegisters host_registers() {
    IdRegisters id;
    id.midr_el1 = TANDEM_READ_ID(midr_el1);
    id.revidr_el1 = TANDEM_READ_ID(revidr_el1);
    id.ctr_el0 = TANDEM_READ_ID(ctr_el0);
    id.dczid_el0 = TANDEM_READ_ID(dczid_el0);
    id.id_aa64pfr0_el1 = TANDEM_READ_ID(id_aa64pfr0_el1);
    id.id_aa64pfr1_el1 = TANDEM_READ_ID(id_aa64pfr1_el1);
    id.id_aa64dfr0_el1 = TANDEM_READ_ID(id_aa64dfr0_el1);
    id.id_aa64isar0_el1 = TANDEM_READ_ID(id_aa64isar0_el1);
    id.id_aa64isar1_el1 = TANDEM_READ_ID(id_aa64isar1_el1);
    id.id_aa64mmfr0_el1 = TANDEM_READ_ID(id_aa64mmfr0_el1);
    id.id_aa64mmfr1_el1 = TANDEM_READ_ID(id_aa64mmfr1_el1);
    id.id_aa64mmfr2_el1 = TANDEM_READ_ID(id_aa64mmfr2_el1);
    return id;
}
#undef TANDEM_READ_ID
constexpr std::string_view kHost = "host";
#endif

}  // namespace

std::string_view to_string(Feature feature) {
    static constexpr std::string_view kNames[] = {
#define TANDEM_ARM64_FEATURE(name, text) text,
#include "cpu/arm64/features.inc"
#undef TANDEM_ARM64_FEATURE
    };
    return kNames[static_cast<std::size_t>(feature)];
}

Result<CpuModel> CpuModel::named(std::string_view name) {
    std::string known;
#if defined(__aarch64__)
    known = kHost;
    if (name == kHost) {
        CpuModel model;
        model.name_ = kHost;
        model.id_ = host_registers();
        model.features_.set(static_cast<std::size_t>(F::Base));
        model.features_.set(static_cast<std::size_t>(F::AdvSimd));
        for (const IdField& f : id_fields()) {
            if (bits(model.id_.*f.reg, f.shift + 3u, f.shift) >= f.value)
                model.features_.set(static_cast<std::size_t>(f.feature));
        }
        return model;
    }
#endif
    for (const ModelRow& row : kModels) {
        known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
        if (row.name != name) continue;
        CpuModel model;
        model.name_ = row.name;
        model.physical_bits_ = row.physical_bits;
        if (row.features.empty()) model.features_.set();
        for (const Feature f : row.features) model.features_.set(static_cast<std::size_t>(f));
        model.features_.set(static_cast<std::size_t>(F::PMUv3));
        model.id_ = common(row);
        for (const IdField& f : id_fields()) {
            if (!model.has(f.feature)) continue;
            u64& reg = model.id_.*f.reg;
            reg = with_bits(reg, f.shift + 3u, f.shift, f.value);
        }
        return model;
    }
    return Error{Errc::NotFound, fmt::format("unknown processor model '{}' (known: {})", name, known)};
}

std::string model_list() {
    std::string text;
#if defined(__aarch64__)
    text = fmt::format("{:<12} this host's, with -accel kvm\n", kHost);
#endif
    for (const ModelRow& row : kModels) {
        text += fmt::format("{:<12} {}, {} bits of physical address\n", row.name,
                            row.features.empty() ? "everything that is implemented" : "as Arm's", row.physical_bits);
    }
    return text + property_help();
}

void CpuModel::set_el2(bool present) {
    el2_ = present;
    id_.id_aa64pfr0_el1 = with_bits(id_.id_aa64pfr0_el1, kEl2Shift + 3u, kEl2Shift, present ? 1 : 0);
}

void CpuModel::set_gic_registers(bool present) {
    id_.id_aa64pfr0_el1 = with_bits(id_.id_aa64pfr0_el1, kGicShift + 3u, kGicShift, present ? 1 : 0);
}

}  // namespace tandem::cpu::arm64
