// What every device is: something with a name that resets, saves and restores.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace tandem::devices {

// One device's saved state: a version and a tree of values (written as CBOR). Restore refuses unknown versions and leftover
// or missing fields, naming them.
struct DeviceState {
    u32 version = 0;
    nlohmann::json fields;
};

class Device {
public:
    virtual ~Device() = default;
    [[nodiscard]] virtual std::string_view name() const = 0;
    // Power-on or system reset. Machine stopped or on the resetting thread with all vCPUs out of guest code.
    virtual void reset() = 0;
    // Machine stopped. restore() sets line levels without making edges, and leaves the device unchanged on error.
    [[nodiscard]] virtual DeviceState save() const = 0;
    virtual Result<void> restore(const DeviceState& state) = 0;
    // The machine has been stopped (all vCPUs parked, clock frozen) or is about to go on. In between a device leaves guest
    // memory alone and raises nothing; machine_stopped() returns when what was under way has ended. Main thread.
    virtual void machine_stopped() {}
    virtual void machine_continues() {}
};

}  // namespace tandem::devices
