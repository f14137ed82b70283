// What control, debug and model-specific registers can hold, by the processor's model (Intel SDM volume 3, 2.5, 11.11, 11.12
// and 17.2; volume 4, table 2-2).
#pragma once

#include "base/bits.h"
#include "cpu/x86/model.h"
#include "cpu/x86/system/registers.h"

namespace tandem::cpu::x86 {

constexpr u64 kCr0Defined =
    cr0::PE | cr0::MP | cr0::EM | cr0::TS | cr0::ET | cr0::NE | cr0::WP | cr0::AM | cr0::NW | cr0::CD | cr0::PG;

// CR4 bits that exist when any one of the features beside them does.
struct Cr4Row {
    u64 bit;
    Feature feature;
};
constexpr Cr4Row kCr4Bits[] = {
    {cr4::VME, Feature::VME},           {cr4::PVI, Feature::VME},
    {cr4::TSD, Feature::TSC},           {cr4::DE, Feature::DE},
    {cr4::PSE, Feature::PSE},           {cr4::PAE, Feature::PAE},
    {cr4::MCE, Feature::MCE},           {cr4::PGE, Feature::PGE},
    {cr4::PCE, Feature::FPU},           {cr4::OSFXSR, Feature::FXSR},
    {cr4::OSXMMEXCPT, Feature::SSE},    {cr4::UMIP, Feature::UMIP},
    {cr4::FSGSBASE, Feature::FSGSBASE}, {cr4::PCIDE, Feature::PCID},
    {cr4::OSXSAVE, Feature::XSAVE},     {cr4::SMEP, Feature::SMEP},
    {cr4::SMAP, Feature::SMAP},         {cr4::PKE, Feature::PKU},
    {cr4::LA57, Feature::LA57},
};
inline u64 cr4_allowed(const CpuModel& model) {
    u64 allowed = 0;
    for (const Cr4Row& row : kCr4Bits) {
        if (model.has(row.feature)) allowed |= row.bit;
    }
    return allowed;
}

constexpr u64 kDr6Writable = 0xf | dr6::BD | dr6::BS | dr6::BT;
constexpr u64 kDr6Ones = 0xffff0ff0;
constexpr u64 kDr7Writable = 0xffff23ff;
constexpr u64 kDr7Ones = 0x400;

// RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO,
// PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO: a translator does not execute speculatively.
constexpr u64 kArchCapabilities = 0x400000000d10e17b;

// Memory types.
constexpr bool mtrr_type(u64 type) { return type == 0 || type == 1 || (type >= 4 && type <= 6); }
constexpr bool pat_type(u64 type) { return mtrr_type(type) || type == 7; }
template <class F>
constexpr bool every_byte(u64 value, F valid) {
    for (unsigned i = 0; i < 8; ++i) {
        if (!valid(bits(value, i * 8 + 7, i * 8))) return false;
    }
    return true;
}

constexpr u32 kMtrrVariable = 0x200, kMtrrVariableCount = 16, kMtrrDefType = 0x2ff, kPat = 0x277;
constexpr u32 kMtrrFixed[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

inline bool valid_variable_mtrr(const CpuModel& model, u32 index, u64 value) {
    if ((value >> model.physical_bits()) != 0) return false;
    const bool is_mask = (index & 1) != 0;
    return is_mask ? (value & 0x7ff) == 0 : (value & 0xf00) == 0 && mtrr_type(value & 0xff);
}
constexpr bool valid_mtrr_default(u64 value) { return (value & ~u64{0xcff}) == 0 && mtrr_type(value & 0xff); }

}  // namespace tandem::cpu::x86
