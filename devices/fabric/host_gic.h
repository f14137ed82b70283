// An Arm interrupt controller outside the models: an engine whose kernel has one (contract I6).
#pragma once

#include "base/result.h"
#include "base/types.h"

namespace tandem::devices {

// Where the machine has it (contract I1).
struct HostGicConfig {
    unsigned version = 2;  // or 3
    unsigned cpus = 1;     // vCPUs that there will be
    unsigned spis = 32;    // a multiple of 32, at most 960
    u64 distributor = 0;
    u64 cpu_interface = 0;   // GICv2
    u64 redistributors = 0;  // GICv3: consecutive, 128 KiB each
};

// A register of the controller, as its own frames and names have it.
struct HostGicRegister {
    enum class Part : u8 { Distributor, CpuInterface, Redistributor, System } part = Part::Distributor;
    unsigned cpu = 0;  // whose, for all that is not shared
    u32 at = 0;        // offset in the frame; System: devices/fabric/system_register.h
};

// The generic timers are on its side, too, and drive their private inputs.
class HostGic {
public:
    virtual ~HostGic() = default;
    [[nodiscard]] virtual const HostGicConfig& config() const = 0;
    // Inputs, with GIC interrupt numbers: 32 and more are shared, 16 to 31 of `cpu`. Any thread. NotFound: no such input.
    virtual Result<void> set_input(unsigned cpu, unsigned number, bool level) = 0;
    // While no vCPU runs. All but System are 32 bits. Writes replace: what is pending is set by ISPENDR and cleared by
    // ICPENDR. GICv2: a level-sensitive interrupt reads as pending while its input is up, and GICC_PMR is bits 7:3 of the
    // mask. NotFound: no such register.
    virtual Result<u64> read(const HostGicRegister& which) = 0;
    virtual Result<void> write(const HostGicRegister& which, u64 value) = 0;
};

}  // namespace tandem::devices
