// Conversion between the state of a PC's interrupt controllers and KVM's structures (api.rst 4.25 KVM_GET_IRQCHIP, 4.57
// KVM_GET_LAPIC, 4.71 KVM_GET_PIT2). Pure functions: no ioctls. What a structure does not have stays as it is: KVM keeps no
// levels of lines, the models no latches that only KVM has.
#pragma once

#include <array>

#include "accel/kvm/kvm_types.h"
#include "devices/fabric/pc_controllers.h"

namespace tandem::accel::kvm {

// The APIC base and the TSC deadline are registers of the vCPU, and not in the page.
void to_kvm(const devices::LapicState& s, kvm_lapic_state& page);
void from_kvm(const kvm_lapic_state& page, devices::LapicState& s);

void to_kvm(const devices::IoapicState& s, kvm_ioapic_state& k);
void from_kvm(const kvm_ioapic_state& k, devices::IoapicState& s);

void to_kvm(const devices::PicChipState& s, kvm_pic_state& k);
void from_kvm(const kvm_pic_state& k, devices::PicChipState& s);

// Counts go on from where they are as far as KVM lets them: it starts every channel anew.
void to_kvm(const devices::PitState& s, kvm_pit_state2& k);
// `now_ns`: the host's CLOCK_MONOTONIC, in which KVM keeps when a channel was loaded.
void from_kvm(const kvm_pit_state2& k, u64 now_ns, devices::PitState& s);

}  // namespace tandem::accel::kvm
