// What only a running guest shows of this host's KVM.
#include <x86intrin.h>

#include <cstring>

#include "accel/kvm/kvm_vcpu.h"

namespace tandem::accel::kvm {
namespace {

constexpr u64 kPage = 4096, kCode = kPage;
constexpr u64 kOffset = u64{1} << 50;  // days at any rate

// One page of guest memory, at kCode.
struct Page {
    alignas(kPage) u8 bytes[kPage] = {};
};

}  // namespace

// A guest of its own reads its counter: with the offset that was asked for, or as the host has it.
Result<bool> offsets_tsc(const System& system) {
    TANDEM_TRY_ASSIGN(const int vm_fd, TANDEM_KVM(system.fd, KVM_CREATE_VM, 0ul));
    const Fd vm(vm_fd);
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int area, TANDEM_KVM(vm, KVM_SET_TSS_ADDR, kTssArea));
    const auto page = std::make_unique<Page>();
    constexpr u8 kReadAndHalt[] = {0x0f, 0x31, 0xf4};  // rdtsc; hlt
    std::memcpy(page->bytes, kReadAndHalt, sizeof kReadAndHalt);
    kvm_userspace_memory_region region{0, 0, kCode, kPage, reinterpret_cast<u64>(page->bytes)};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int mapped, TANDEM_KVM(vm, KVM_SET_USER_MEMORY_REGION, &region));
    TANDEM_TRY_ASSIGN(const int vcpu_fd, TANDEM_KVM(vm, KVM_CREATE_VCPU, 0ul));
    const Fd vcpu(vcpu_fd);
    RunPage run;
    TANDEM_TRY(run.map(vcpu, system.vcpu_map_size));
    u64 offset = kOffset;
    kvm_device_attr attribute{0, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, reinterpret_cast<u64>(&offset)};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int moved, TANDEM_KVM(vcpu, KVM_SET_DEVICE_ATTR, &attribute));
    kvm_sregs special{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int got, TANDEM_KVM(vcpu, KVM_GET_SREGS, &special));
    special.cs.base = 0;
    special.cs.selector = 0;
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int set, TANDEM_KVM(vcpu, KVM_SET_SREGS, &special));
    kvm_regs regs{};
    regs.rip = kCode;
    regs.rflags = 2;
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int placed, TANDEM_KVM(vcpu, KVM_SET_REGS, &regs));
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int ran, TANDEM_KVM(vcpu, KVM_RUN));
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int read, TANDEM_KVM(vcpu, KVM_GET_REGS, &regs));
    if (run->exit_reason != KVM_EXIT_HLT) return true;  // no answer
    const u64 ahead = (regs.rdx << 32 | (regs.rax & 0xffffffff)) - __rdtsc();
    return ahead - kOffset / 2 < kOffset;
}

}  // namespace tandem::accel::kvm
