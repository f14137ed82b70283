// What an AArch64 host's KVM is and can do.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

#include "accel/kvm/device.h"
#include "accel/kvm/gate.h"
#include "accel/kvm/slots.h"

namespace tandem::accel::kvm {

struct Arm64System {
    Fd fd;
    int vcpu_map_size = 0;
    unsigned physical_bits = 40;  // of guest addresses
    bool pointer_authentication = false;
    bool exits_without_syndrome = false;  // KVM_CAP_ARM_NISV_TO_USER
    bool injects_serror = false;
};
Result<Arm64System> open_arm64_system();

class Vgic;

// The virtual count that guests read: the machine's counter in ticks of the host's, less the guest's own offset
// (CNTVOFF_EL2). KVM has one for all vCPUs.
struct GuestCounter {
    std::mutex lock;  // the rest; a leaf
    u64 offset = 0;
    std::optional<u64> gap;  // host's counter less the machine's, when KVM was told
};

// What the vCPUs of a machine share.
struct Arm64Shared {
    Arm64System system;
    Fd vm;
    std::unique_ptr<Vgic> gic;  // null: the machine's model drives the lines
    std::atomic<u64> exits{0}, kicks{0};
    KickHandler kick_handler;
    GuestCounter counter;
    Slots slots;  // while no vCPU runs, or by the only one
};

}  // namespace tandem::accel::kvm
