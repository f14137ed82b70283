// Arm system registers as the processor and the devices behind it name them, and how generic timers are programmed.
#pragma once

#include "base/types.h"

namespace tandem::devices {

// op0:op1:CRn:CRm:op2 as in MRS and MSR: bits 15:14, 13:11, 10:7, 6:3, 2:0.
constexpr u16 system_register(unsigned op0, unsigned op1, unsigned crn, unsigned crm, unsigned op2) {
    return static_cast<u16>((op0 & 3) << 14 | (op1 & 7) << 11 | (crn & 15) << 7 | (crm & 15) << 3 | (op2 & 7));
}

// The timers of one processor (Arm ARM, D11.2.4); the hypervisor's virtual one is FEAT_VHE's.
enum class ArmTimer : u8 { Physical, Virtual, Hypervisor, HypervisorVirtual };
constexpr unsigned kArmTimers = 4;

// The condition of a timer is met while counter - offset >= compare, unsigned, in ticks of the physical counter; its
// interrupt is up while it is also enabled and not masked.
struct TimerSetting {
    bool enabled = false;  // CTL.ENABLE and not CTL.IMASK
    u64 compare = 0;       // CVAL
    u64 offset = 0;        // CNTVOFF_EL2 for the virtual timer, otherwise 0
};

}  // namespace tandem::devices
