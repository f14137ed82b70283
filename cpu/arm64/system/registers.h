// The rows of registers.inc as a table.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "cpu/arm64/system/system.h"

namespace tandem::cpu::arm64 {

enum class RegisterAccess : u8 { RW, RO, WO };

// What an access from EL0 or EL1 is checked against besides the register's lowest exception level.
enum class Trap : u8 {
    None,
    Tvm,   // HCR_EL2.TVM (writes) and TRVM (reads)
    Tid1,  // HCR_EL2.TID1 ...
    Tid2,
    Tid3,
    Tacr,       // HCR_EL2.TACR
    Tlor,       // HCR_EL2.TLOR
    Terr,       // HCR_EL2.TERR
    Apk,        // HCR_EL2.APK (traps when 0)
    Cpacr,      // CPTR_EL2.TCPAC
    Ctr,        // SCTLR_ELx.UCT at EL0, HCR_EL2.TID2
    Uma,        // SCTLR_ELx.UMA at EL0
    Fp,         // floating point is trapped
    HighestEl,  // UNDEFINED with EL2
    SpEl0,      // UNDEFINED while SP_EL0 is the stack pointer
    ReadOnlyAtEl0,
    Tda,     // MDCR_EL2.TDA
    TdaEl0,  // the same and MDSCR_EL1.TDCC at EL0
    Tdra,
    Tdosa,
    Cntfrq,      // CNTKCTL_EL1 at EL0: either counter
    Cntpct,      // CNTKCTL_EL1.EL0PCTEN, CNTHCTL_EL2.EL1PCTEN
    Cntvct,      // CNTKCTL_EL1.EL0VCTEN
    Cntp,        // CNTKCTL_EL1.EL0PTEN, CNTHCTL_EL2.EL1PCEN or EL1PTEN
    PmEl0,       // PMUSERENR_EL0.EN at EL0, MDCR_EL2.TPM
    PmControl,   // the same and MDCR_EL2.TPMCR
    PmSoftware,  // PMUSERENR_EL0.SW too
    PmCycles,    // PMUSERENR_EL0.CR too, for reads
    PmEvents,    // PMUSERENR_EL0.ER too, for reads
    PmSelect,    // PMUSERENR_EL0.ER too
    Pm,          // MDCR_EL2.TPM
    PmUser,      // the same; EL0 may only read
    Cntv,        // CNTKCTL_EL1.EL0VTEN
};

struct RegisterRow {
    SysregName name;
    std::string_view text;
    Feature feature = Feature::Base;
    RegisterAccess access = RegisterAccess::RW;
    Trap trap = Trap::None;
    u32 offset = 0;  // of the storage in Sysregs; meaningless where read and write do not use it
    u64 writable = 0;
    u64 res1 = 0;
    u64 (*read)(const TranslateState&, const RegisterRow&) = nullptr;
    void (*write)(TranslateState&, const RegisterRow&, u64) = nullptr;

    [[nodiscard]] u64& value(Sysregs& sys) const {
        return *reinterpret_cast<u64*>(reinterpret_cast<std::byte*>(&sys) + offset);
    }
    [[nodiscard]] const u64& value(const Sysregs& sys) const { return value(const_cast<Sysregs&>(sys)); }
    // Lowest exception level that may name it.
    [[nodiscard]] unsigned lowest_el() const {
        const unsigned op1 = name.op1();
        return op1 < 3 ? 1 : op1 == 3 ? 0 : 2;
    }
};

std::span<const RegisterRow> register_rows();
// Null: no such register.
const RegisterRow* find_register(SysregName name);

// Tells the machine what all timers are set to, after a state was imported.
void announce_timers(TranslateState& t);

}  // namespace tandem::cpu::arm64
