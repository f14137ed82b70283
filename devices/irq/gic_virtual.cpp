#include "devices/irq/gic_virtual.h"

#include "base/bits.h"

namespace tandem::devices::gic {
namespace {

enum Hcr : u32 {
    kUnderflow = 1u << 1,
    kEntryNotPresent = 1u << 2,
    kNoPending = 1u << 3,
    kGroup0Enabled = 1u << 4,
    kGroup0Disabled = 1u << 5,
    kGroup1Enabled = 1u << 6,
    kGroup1Disabled = 1u << 7,
};
constexpr u32 kMisrEoi = 1;
constexpr u32 kEoiCountOne = 1u << VirtualInterface::kEoiCountShift;

}  // namespace

bool VirtualState::valid() const {
    for (const ListRegister& r : list) {
        if (r.state > (ListRegister::kPending | ListRegister::kActive)) return false;
    }
    return priorities.valid();
}

// The enable bits of HCR lie where MISR reports what they enable.
u32 VirtualInterface::misr() const {
    unsigned valid = 0, pending = 0;
    for (const ListRegister& r : s.list) {
        valid += r.state != 0 ? 1 : 0;
        pending += r.state == ListRegister::kPending ? 1 : 0;
    }
    u32 conditions = 0;
    if (valid <= 1) conditions |= kUnderflow;
    if (s.hcr >> kEoiCountShift != 0) conditions |= kEntryNotPresent;
    if (pending == 0) conditions |= kNoPending;
    conditions |= s.priorities.enabled[0] ? kGroup0Enabled : kGroup0Disabled;
    conditions |= s.priorities.enabled[1] ? kGroup1Enabled : kGroup1Disabled;
    return (conditions & s.hcr) | (eisr() != 0 ? kMisrEoi : 0);
}

u32 VirtualInterface::eisr() const {
    u32 value = 0;
    for (unsigned i = 0; i < kListRegisters; ++i) {
        const ListRegister& r = s.list[i];
        if (r.state == 0 && !r.hardware && r.eoi) value |= 1u << i;
    }
    return value;
}

u32 VirtualInterface::elrsr() const {
    u32 value = 0;
    for (unsigned i = 0; i < kListRegisters; ++i) {
        const ListRegister& r = s.list[i];
        if (r.state == 0 && (r.hardware || !r.eoi)) value |= 1u << i;
    }
    return value;
}

u32 VirtualInterface::vmcr() const {
    const Priorities& p = s.priorities;
    return (p.enabled[0] ? 1u : 0) | (p.enabled[1] ? 2u : 0) | (s.ack_control ? 4u : 0) | (s.fiq_enabled ? 8u : 0) |
           (p.common_binary_point ? 0x10u : 0) | (p.split_eoi ? 0x200u : 0) | u32{p.binary_point[1]} << 18 |
           u32{p.binary_point[0]} << 21;
}

void VirtualInterface::set_vmcr(u32 value) {
    Priorities& p = s.priorities;
    p.enabled = {bit(value, 0), bit(value, 1)};
    s.ack_control = bit(value, 2);
    s.fiq_enabled = bit(value, 3);
    p.common_binary_point = bit(value, 4);
    p.split_eoi = bit(value, 9);
    p.set_binary_point(1, static_cast<u8>(bits(value, 20, 18)));
    p.set_binary_point(0, static_cast<u8>(bits(value, 23, 21)));
}

int VirtualInterface::highest_register() const {
    int best = -1;
    for (unsigned i = 0; i < kListRegisters; ++i) {
        const ListRegister& r = s.list[i];
        if (r.state != ListRegister::kPending || !s.priorities.enabled[r.group1 ? 1 : 0]) continue;
        if (best < 0 || r.priority < s.list[static_cast<unsigned>(best)].priority) best = static_cast<int>(i);
    }
    return best;
}

Candidate VirtualInterface::highest() const {
    const int at = highest_register();
    return at < 0 || (s.hcr & kEnable) == 0 ? Candidate{} : candidate(s.list[static_cast<unsigned>(at)]);
}

bool VirtualInterface::irq() const {
    const Candidate c = highest();
    return s.priorities.signals(c) && (c.group == 1 || !s.fiq_enabled);
}

bool VirtualInterface::fiq() const {
    const Candidate c = highest();
    return s.priorities.signals(c) && c.group == 0 && s.fiq_enabled;
}

const ListRegister* VirtualInterface::acknowledge() {
    const Candidate c = highest();
    if (!s.priorities.signals(c)) return nullptr;
    ListRegister& r = s.list[static_cast<unsigned>(highest_register())];
    s.priorities.activate(c);
    r.state = r.id < kFirstLpi ? ListRegister::kActive : 0;  // LPIs have no active state
    return &r;
}

std::optional<u16> VirtualInterface::end(u32 id, u8 source) {
    if (id >= kFirstSpecial && id <= kSpurious) return {};
    if (!s.priorities.drop() || s.priorities.split_eoi) return {};
    return deactivate(id, source);
}

std::optional<u16> VirtualInterface::deactivate(u32 id, u8 source) {
    for (ListRegister& r : s.list) {
        if (r.id != id || (r.state & ListRegister::kActive) == 0 || (id < kSgis && !r.hardware && r.source != source))
            continue;
        r.state &= static_cast<u8>(~ListRegister::kActive);
        if (r.hardware) return r.physical;
        return {};
    }
    // Not in a list register: counted, so that the hypervisor ends it.
    if (id < kFirstLpi) s.hcr += kEoiCountOne;
    return {};
}

}  // namespace tandem::devices::gic
