// Hypercalls of the KVM interface (Linux Documentation/virt/kvm/x86/hypercalls.rst), as far as this machine offers them.
#pragma once

#include "accel/exit.h"

namespace tandem::machines::pc {

// Error numbers that a guest sees (contract H3): never errno, never the host API's.
enum class GuestError : i64 {
    Perm = -1,       // -KVM_EPERM
    Einval = -22,    // -KVM_EINVAL
    Efault = -14,    // -KVM_EFAULT
    E2big = -7,      // -KVM_E2BIG
    Enosys = -1000,  // -KVM_ENOSYS
    Eopnotsupp = -95,
};

// Fills in the result; the engine has already refused callers outside CPL 0 (contract H2). An unknown number, or one whose
// feature is not offered in CPUID 40000001H, answers -KVM_ENOSYS (H1).
void handle_hypercall(accel::HypercallExit& call);

}  // namespace tandem::machines::pc
