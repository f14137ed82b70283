// Doorbells that KVM rings (api.rst 4.59 KVM_IOEVENTFD).
#pragma once

#include <memory>

#include "accel/kvm/device.h"
#include "devices/fabric/doorbells.h"

namespace tandem::accel::kvm {

// Any thread. `vm` outlives it.
class Doorbells final : public devices::DoorbellHost {
public:
    // Null where this host's KVM has no KVM_CAP_IOEVENTFD.
    static std::unique_ptr<Doorbells> create(const Fd& vm);

    // devices::DoorbellHost
    Result<void> add_doorbell(Space space, const devices::Doorbell& bell) override;
    void remove_doorbell(Space space, const devices::Doorbell& bell) override;

private:
    Doorbells(const Fd& vm, bool any_length) : vm_(vm), any_length_(any_length) {}
    Result<void> change(Space space, const devices::Doorbell& bell, u32 flags);

    const Fd& vm_;
    const bool any_length_;  // KVM_CAP_IOEVENTFD_ANY_LENGTH
};

}  // namespace tandem::accel::kvm
