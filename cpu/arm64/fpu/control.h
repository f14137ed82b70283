// FPCR and FPSR (Arm ARM, C5.2 "Special-purpose registers"), as the exact floating-point functions see them.
#pragma once

#include "base/types.h"

namespace tandem::cpu::arm64::fpu {

namespace fpcr {
constexpr u32 FZ16 = 1u << 19, FZ = 1u << 24, DN = 1u << 25, AHP = 1u << 26;
constexpr u32 RModeShift = 22, RMode = 3u << RModeShift;
// The bits that exist without trapped exceptions, FEAT_AFP and FEAT_EBF16; the others are RES0.
constexpr u32 Defined = AHP | DN | FZ | RMode | FZ16;
}  // namespace fpcr

namespace fpsr {
constexpr u32 IOC = 1u << 0, DZC = 1u << 1, OFC = 1u << 2, UFC = 1u << 3, IXC = 1u << 4, IDC = 1u << 7, QC = 1u << 27;
constexpr u32 Defined = IOC | DZC | OFC | UFC | IXC | IDC | QC;
}  // namespace fpsr

// FPRounding of the pseudocode; the first four are FPCR.RMode's values.
enum class Rounding : u8 { TieEven, PosInf, NegInf, Zero, TieAway, Odd };

// What an operation reads and accumulates.
struct Env {
    u32 control = 0;  // FPCR
    u32 status = 0;   // FPSR bits are or-ed in

    [[nodiscard]] Rounding rounding() const { return static_cast<Rounding>(control >> fpcr::RModeShift & 3); }
    [[nodiscard]] bool default_nan() const { return (control & fpcr::DN) != 0; }
    [[nodiscard]] bool alternative_half() const { return (control & fpcr::AHP) != 0; }
    void raise(u32 flag) { status |= flag; }
};

}  // namespace tandem::cpu::arm64::fpu
