// Doorbells: addresses whose writes mean "look at your queue" and nothing else, so that an engine may signal an event
// descriptor in place of going to the device (contract T4).
#pragma once

#include <optional>

#include "base/result.h"
#include "base/types.h"

namespace tandem::devices {

struct Doorbell {
    u64 address = 0;           // relative to its region, or in the address space, by who tells it
    unsigned size = 0;         // of the access, in bytes
    std::optional<u64> value;  // rings for this one only; none: for any, whatever the access' size
    int event = -1;            // event descriptor of the device's, which outlives the registration
};

// An engine that rings by itself. While it does, the accesses do not reach the machine.
class DoorbellHost {
public:
    enum class Space : u8 { Memory, Ports };
    virtual ~DoorbellHost() = default;
    // Also while vCPUs run. Errors as the engine's: the accesses go on reaching the machine.
    virtual Result<void> add_doorbell(Space space, const Doorbell& bell) = 0;
    // One that was added, by the same description. When it returns nobody signals the event any more.
    virtual void remove_doorbell(Space space, const Doorbell& bell) = 0;
};

}  // namespace tandem::devices
