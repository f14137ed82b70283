// What only a running guest shows of this host's KVM.
#include <x86intrin.h>

#include <cstring>
#include <memory>

#include "accel/kvm/kvm_vcpu.h"

namespace tandem::accel::kvm {
namespace {

constexpr u64 kPage = 4096, kCode = kPage;
constexpr u64 kOffset = u64{1} << 50;  // days at any rate

// One page of guest memory, at kCode.
struct Page {
    alignas(kPage) u8 bytes[kPage] = {};
};

// Features that are switched on by a bit of CR4.
struct SwitchedFeature {
    u64 cr4;
    u32 leaf;
    __u32 kvm_cpuid_entry2::* word;
    u32 bit;
};
constexpr SwitchedFeature kSwitched[] = {
    {u64{1} << 11, 7, &kvm_cpuid_entry2::ecx, 1u << 2},   // UMIP
    {u64{1} << 12, 7, &kvm_cpuid_entry2::ecx, 1u << 16},  // LA57
    {u64{1} << 16, 7, &kvm_cpuid_entry2::ebx, 1u << 0},   // FSGSBASE
    {u64{1} << 18, 1, &kvm_cpuid_entry2::ecx, 1u << 26},  // XSAVE
    {u64{1} << 20, 7, &kvm_cpuid_entry2::ebx, 1u << 7},   // SMEP
    {u64{1} << 21, 7, &kvm_cpuid_entry2::ebx, 1u << 20},  // SMAP
    {u64{1} << 22, 7, &kvm_cpuid_entry2::ecx, 1u << 3},   // PKU
};

// A machine with one page of memory and one vCPU in real mode.
class Probe {
public:
    Result<void> create(const System& system) {
        TANDEM_TRY_ASSIGN(const int vm, TANDEM_KVM(system.fd, KVM_CREATE_VM, 0ul));
        vm_ = Fd(vm);
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int area, TANDEM_KVM(vm_, KVM_SET_TSS_ADDR, kTssArea));
        kvm_userspace_memory_region region{0, 0, kCode, kPage, reinterpret_cast<u64>(page_->bytes)};
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int mapped, TANDEM_KVM(vm_, KVM_SET_USER_MEMORY_REGION, &region));
        TANDEM_TRY_ASSIGN(const int vcpu, TANDEM_KVM(vm_, KVM_CREATE_VCPU, 0ul));
        vcpu_ = Fd(vcpu);
        TANDEM_TRY(set_cpuid(vcpu_, system.cpuid));
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int got, TANDEM_KVM(vcpu_, KVM_GET_SREGS, &special_));
        special_.cs.base = 0;
        special_.cs.selector = 0;
        return run_.map(vcpu_, system.vcpu_map_size);
    }

    // Takes out of `system` what KVM lists and then refuses to have switched on.
    void check_switches(System& system) const {
        for (const SwitchedFeature& feature : kSwitched) {
            kvm_sregs with = special_;
            with.cr4 |= feature.cr4;
            if (TANDEM_KVM(vcpu_, KVM_SET_SREGS, &with)) continue;
            for (kvm_cpuid_entry2& entry : system.cpuid) {
                if (entry.function == feature.leaf && entry.index == 0) entry.*feature.word &= ~feature.bit;
            }
        }
    }

    // Whether the guest's CPUID has features that `system` does not list.
    Result<bool> finds_more(const System& system) {
        constexpr u8 kAsk[] = {0x66, 0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0xf4};  // mov eax, 1; cpuid; hlt
        // Not by the processor alone: OSXSAVE, x2APIC, TSC deadline, hypervisor.
        constexpr u32 kOthers = 1u << 27 | 1u << 21 | 1u << 24 | 1u << 31;
        u32 given = kOthers;
        for (const kvm_cpuid_entry2& entry : system.cpuid) {
            if (entry.function == 1) given |= entry.ecx;
        }
        TANDEM_TRY_ASSIGN(const bool halted, run(kAsk));
        if (!halted) return false;
        kvm_regs regs{};
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int read, TANDEM_KVM(vcpu_, KVM_GET_REGS, &regs));
        return (static_cast<u32>(regs.rcx) & ~given) != 0;
    }

    // Whether the guest reads its counter with the offset that was asked for; false: as the host has it.
    Result<bool> offsets_tsc() {
        constexpr u8 kReadAndHalt[] = {0x0f, 0x31, 0xf4};  // rdtsc; hlt
        u64 offset = kOffset;
        kvm_device_attr attribute{0, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, reinterpret_cast<u64>(&offset)};
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int moved, TANDEM_KVM(vcpu_, KVM_SET_DEVICE_ATTR, &attribute));
        TANDEM_TRY_ASSIGN(const bool halted, run(kReadAndHalt));
        if (!halted) return true;  // no answer
        kvm_regs regs{};
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int read, TANDEM_KVM(vcpu_, KVM_GET_REGS, &regs));
        const u64 ahead = (regs.rdx << 32 | (regs.rax & 0xffffffff)) - __rdtsc();
        return ahead - kOffset / 2 < kOffset;
    }

    // Whether a breakpoint that KVM is asked for stops the guest.
    Result<bool> stops_at_breakpoints() {
        constexpr u8 kNopAndHalt[] = {0x90, 0xf4};  // nop; hlt
        constexpr u64 kReserved = 0x400, kGlobal = 2;
        kvm_guest_debug debug{};
        debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
        debug.arch.debugreg[0] = kCode + 1;
        debug.arch.debugreg[7] = kReserved | kGlobal;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int set, TANDEM_KVM(vcpu_, KVM_SET_GUEST_DEBUG, &debug));
        TANDEM_TRY_ASSIGN([[maybe_unused]] const bool halted, run(kNopAndHalt));
        const bool stopped = run_->exit_reason == KVM_EXIT_DEBUG;
        debug = {};
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int unset, TANDEM_KVM(vcpu_, KVM_SET_GUEST_DEBUG, &debug));
        return stopped;
    }

private:
    // Runs real-mode code; false: it did not come to its HLT.
    Result<bool> run(std::span<const u8> code) {
        std::memcpy(page_->bytes, code.data(), code.size());
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int set, TANDEM_KVM(vcpu_, KVM_SET_SREGS, &special_));
        kvm_regs regs{};
        regs.rip = kCode;
        regs.rflags = 2;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int placed, TANDEM_KVM(vcpu_, KVM_SET_REGS, &regs));
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int ran, TANDEM_KVM(vcpu_, KVM_RUN));
        return run_->exit_reason == KVM_EXIT_HLT;
    }

    const std::unique_ptr<Page> page_ = std::make_unique<Page>();
    Fd vm_, vcpu_;
    RunPage run_;
    kvm_sregs special_{};
};

}  // namespace

Result<void> probe(System& system) {
    Probe guest;
    TANDEM_TRY(guest.create(system));
    guest.check_switches(system);
    TANDEM_TRY_ASSIGN(system.shows_host_cpuid, guest.finds_more(system));
    TANDEM_TRY_ASSIGN(system.breakpoints, guest.stops_at_breakpoints());
    if (!system.tsc_offset) return {};
    TANDEM_TRY_ASSIGN(const bool offsets, guest.offsets_tsc());
    system.tsc_fixed = !offsets;
    return {};
}

}  // namespace tandem::accel::kvm
