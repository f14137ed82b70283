// Lines of interrupt controllers in `-trace exits`, in the form of KVM's tracepoints (contract T1).
#pragma once

#include <string_view>

#include "base/log.h"
#include "devices/irq/apic_bus.h"

namespace tandem::devices {

// As KVM prints a delivery mode.
inline std::string_view mode_name(DeliveryMode mode) {
    constexpr std::string_view kNames[] = {"Fixed", "LowPrio", "SMI", "Res3", "NMI", "INIT", "SIPI", "ExtINT"};
    return kNames[static_cast<unsigned>(mode) & 7];
}

inline std::string_view trigger_name(bool level) { return level ? "level" : "edge"; }
inline std::string_view destination_name(bool logical) { return logical ? "logical" : "physical"; }
inline std::string_view coalesced_note(Delivery result) { return result == Delivery::Coalesced ? " (coalesced)" : ""; }

}  // namespace tandem::devices
