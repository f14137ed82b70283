// A vCPU's registers by number, for whoever moves them without knowing what they are (contracts R1 and R2).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace tandem::accel {

enum class RegisterClass : u8 {
    Core,       // general and floating-point registers, PC, PSTATE
    System,     // system registers that software changes
    Timer,      // counters and timers
    Firmware,   // what the engine's firmware offers (PSCI's version)
    Invariant,  // identification: says what the processor is, and never changes
};

struct RegisterInfo {
    u64 id = 0;  // the engine's; Arm: as in KVM_GET_ONE_REG
    unsigned size = 8;
    RegisterClass kind = RegisterClass::Core;
    std::string name;
};

// vCPU thread, or while nobody runs it.
class RegisterFile {
public:
    virtual ~RegisterFile() = default;
    [[nodiscard]] virtual Result<std::vector<RegisterInfo>> registers() = 0;
    // `value` has the register's size. NotFound: nobody knows the id; InvalidArgument: `value` has another size;
    // Unsupported: this vCPU's features lack the register.
    virtual Result<void> read_register(u64 id, std::span<u8> value) = 0;
    // Also Invariant, naming register, wanted and actual value: another value for what cannot change. Its own succeeds.
    virtual Result<void> write_register(u64 id, std::span<const u8> value) = 0;
};

}  // namespace tandem::accel
