// What system registers can hold where that is more than a constant of their row (DDI 0487, D19).
#pragma once

#include "base/bits.h"
#include "cpu/arm64/system/system.h"

namespace tandem::cpu::arm64 {

inline u64 sctlr_writable(const CpuModel& m) {
    u64 w = sctlr::M | sctlr::A | sctlr::C | sctlr::SA | sctlr::SA0 | sctlr::UMA | 1u << 12 | sctlr::DZE | sctlr::UCT |
            sctlr::nTWI | sctlr::nTWE | sctlr::WXN | sctlr::UCI;
    if (m.has(Feature::PAN)) w |= sctlr::SPAN;
    if (m.has(Feature::LSE2)) w |= sctlr::nAA;
    if (m.has(Feature::RAS)) w |= sctlr::IESB;
    if (m.has(Feature::PAuth)) w |= sctlr::EnIA | sctlr::EnIB | sctlr::EnDA | sctlr::EnDB;
    if (m.has(Feature::BTI)) w |= sctlr::BT0 | sctlr::BT1;
    if (m.has(Feature::SSBS2)) w |= sctlr::DSSBS;
    if (m.has(Feature::SPECRES)) w |= sctlr::EnRCTX;
    return w;
}
constexpr u64 kSctlrRes1 = 0x30500980;     // of EL1, and of EL2 with HCR_EL2.E2H; SPAN as well without FEAT_PAN
constexpr u64 kSctlrEl2Res1 = 0x30c50830;  // of EL2 otherwise

inline u64 hcr_writable(const CpuModel& m) {
    u64 writable = mask(34) & ~(u64{1} << 31);
    if (m.has(Feature::VHE)) writable |= hcr::E2H;
    if (m.has(Feature::LOR)) writable |= hcr::TLOR;
    if (m.has(Feature::RAS)) writable |= hcr::TERR | hcr::TEA;
    if (m.has(Feature::PAuth)) writable |= hcr::API | hcr::APK;
    return writable;
}

constexpr u64 kCptrHostBits = 0x80300000, kCptrBits = 0x80000400, kCptrRes1 = 0x33ff;  // the first with HCR_EL2.E2H

constexpr u64 kPmcrArm = u64{0x41} << 24, kPmcrLc = 64, kPmcrWritable = 0x39;
constexpr u64 kTypeWritable = 0xc80003ff, kCycleTypeWritable = 0xc8000000;  // PMEVTYPER<n>_EL0, PMCCFILTR_EL0

}  // namespace tandem::cpu::arm64
