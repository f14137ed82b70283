// Guest memory as KVM has it: one slot for each range of the machine's (api.rst 4.35 KVM_SET_USER_MEMORY_REGION).
#pragma once

#include <vector>

#include "accel/kvm/device.h"
#include "devices/fabric/guest_memory.h"

namespace tandem::accel::kvm {

class Slots {
public:
    // Before the first vCPU. Errors name the range.
    Result<void> map(const Fd& vm, const devices::GuestMemory& memory);
    // The byte of guest memory at a physical address; null where there is none that a guest can write. Its record of
    // written pages does not see a write by the caller.
    [[nodiscard]] u8* at(u64 address) const;
    // NativeVcpu::take_written.
    Result<void> take_written(const Fd& vm, std::vector<u64>& pages);

private:
    std::vector<kvm_userspace_memory_region> slots_;
};

}  // namespace tandem::accel::kvm
