// The local APIC in the kernel, and what the processor does there between instructions (api.rst 4.38 KVM_GET_MP_STATE).
#include "accel/kvm/irqchip_state.h"
#include "accel/kvm/kvm_vcpu.h"
#include "accel/x86_events.h"

namespace tandem::accel::kvm {

using cpu::x86::Activity;

Result<void> KvmVcpu::store_apic(const devices::LapicState& apic) {
    TANDEM_TRY(complete());
    TANDEM_TRY_ASSIGN([[maybe_unused]] const u64 base, access_kernel_msr(KVM_SET_MSRS, kMsrApicBase, apic.base));
    kvm_lapic_state page{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int got, TANDEM_KVM(fd_, KVM_GET_LAPIC, &page));
    to_kvm(apic, page);
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int set, TANDEM_KVM(fd_, KVM_SET_LAPIC, &page));
    if (has_eoi()) {
        TANDEM_TRY_ASSIGN([[maybe_unused]] const u64 eoi, access_kernel_msr(KVM_SET_MSRS, kMsrEoi, apic.eoi_msr));
    }
    known_.reset();
    untaken_vector_ = -1;
    TANDEM_TRY(sync_tsc());
    TANDEM_TRY_ASSIGN([[maybe_unused]] const u64 deadline,
                      access_kernel_msr(KVM_SET_MSRS, kMsrTscDeadline, apic.tsc_deadline));
    return {};
}

Result<void> KvmVcpu::fetch_apic(devices::LapicState& apic) {
    TANDEM_TRY(complete());
    TANDEM_TRY_ASSIGN(apic.base, access_kernel_msr(KVM_GET_MSRS, kMsrApicBase, 0));
    kvm_lapic_state page{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int got, TANDEM_KVM(fd_, KVM_GET_LAPIC, &page));
    from_kvm(page, apic);
    if (has_eoi()) {
        TANDEM_TRY_ASSIGN(apic.eoi_msr, access_kernel_msr(KVM_GET_MSRS, kMsrEoi, 0));
    }
    TANDEM_TRY_ASSIGN(apic.tsc_deadline, access_kernel_msr(KVM_GET_MSRS, kMsrTscDeadline, 0));
    apic.tsc_offset = tsc_offset_;
    return {};
}

// Where KVM knows whether the processor halts, it is told as KVM_HC_KICK_CPU tells it: by a remote read to its APIC (api.rst
// 4.71 KVM_SIGNAL_MSI, with delivery mode 3).
Result<void> KvmVcpu::take_unhalt() {
    if (!shared_.apic_in_kernel()) {
        if (x86_take_unhalt(signals(), activity_)) activity_ = Activity::Running;
        return {};
    }
    if ((signals().take(kUnhaltSignal) & kUnhaltSignal) == 0) return {};
    constexpr u32 kMessages = 0xfee00000, kRemoteRead = 3u << 8;
    kvm_msi message{};
    message.address_lo = kMessages | (model_.topology(handler_.cpu_count()).apic_id(index_) & 0xff) << 12;
    message.data = kRemoteRead;
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(shared_.vm, KVM_SIGNAL_MSI, &message));
    return {};
}

Result<void> KvmVcpu::store_activity(Activity activity) {
    activity_ = activity;
    if (!shared_.apic_in_kernel()) return {};
    kvm_mp_state state{KVM_MP_STATE_RUNNABLE};
    if (activity == Activity::Halted) state.mp_state = KVM_MP_STATE_HALTED;
    if (activity == Activity::WaitForSipi) state.mp_state = KVM_MP_STATE_INIT_RECEIVED;
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(fd_, KVM_SET_MP_STATE, &state));
    return {};
}

Result<void> KvmVcpu::fetch_activity() {
    if (!shared_.apic_in_kernel() || activity_ == Activity::Shutdown) return {};
    kvm_mp_state state{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(fd_, KVM_GET_MP_STATE, &state));
    switch (state.mp_state) {
        case KVM_MP_STATE_HALTED: activity_ = Activity::Halted; break;
        case KVM_MP_STATE_UNINITIALIZED:
        case KVM_MP_STATE_INIT_RECEIVED: activity_ = Activity::WaitForSipi; break;
        default: activity_ = Activity::Running; break;
    }
    return {};
}

}  // namespace tandem::accel::kvm
