// The registers that KVM names by id (api.rst 4.68 KVM_SET_ONE_REG), as fields of the architectural state.
#pragma once

#include <span>
#include <vector>

#include "accel/kvm/device.h"
#include "accel/registers.h"
#include "cpu/arm64/state.h"

namespace tandem::accel::kvm {

// One that is both in State and in KVM. `size` bytes lie at `offset` of State.
struct StateRegister {
    u64 id;
    u32 offset;
    u32 size;
};
std::span<const StateRegister> state_registers();

// The ids that this vCPU has, in ascending order (KVM_GET_REG_LIST).
Result<std::vector<u64>> list_registers(const Fd& vcpu);
// `size` bytes of register `id`. Errors name it.
Result<void> get_register(const Fd& vcpu, u64 id, void* out);
Result<void> set_register(const Fd& vcpu, u64 id, const void* in);

// Contract R2: set-up decides these, and nobody changes them afterwards.
RegisterClass class_of(u64 id);
std::string name_of(u64 id);
inline unsigned size_of(u64 id) { return 1u << ((id & KVM_REG_SIZE_MASK) >> KVM_REG_SIZE_SHIFT); }

}  // namespace tandem::accel::kvm
