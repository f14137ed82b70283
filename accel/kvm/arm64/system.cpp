#include "accel/kvm/arm64/system.h"

namespace tandem::accel::kvm {
namespace {

constexpr Needed kNeeded[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_ONE_REG, "KVM_CAP_ONE_REG"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
    {KVM_CAP_ARM_PSCI_0_2, "KVM_CAP_ARM_PSCI_0_2"},
    {KVM_CAP_ARM_USER_IRQ, "KVM_CAP_ARM_USER_IRQ"},
    {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
    {KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"},
};

}  // namespace

Result<Arm64System> open_arm64_system() {
    Arm64System s;
    TANDEM_TRY_ASSIGN(s.fd, open_device(kNeeded));
    const auto has = [&](int capability) { return extension(s.fd, capability) > 0; };
    if (const int bits = extension(s.fd, KVM_CAP_ARM_VM_IPA_SIZE); bits > 0) s.physical_bits = static_cast<unsigned>(bits);
    s.pointer_authentication = has(KVM_CAP_ARM_PTRAUTH_ADDRESS) && has(KVM_CAP_ARM_PTRAUTH_GENERIC);
    s.exits_without_syndrome = has(KVM_CAP_ARM_NISV_TO_USER);
    s.injects_serror = has(KVM_CAP_ARM_INJECT_SERROR_ESR);
    TANDEM_TRY_ASSIGN(s.vcpu_map_size, TANDEM_KVM(s.fd, KVM_GET_VCPU_MMAP_SIZE));
    return s;
}

}  // namespace tandem::accel::kvm
