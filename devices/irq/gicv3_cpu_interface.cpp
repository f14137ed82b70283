// The system registers of GICv3 (IHI 0069H, 12.1 to 12.4): the physical and the virtual CPU interface and the hypervisor's
// control of the latter.
#include "base/bits.h"
#include "devices/fabric/system_register.h"
#include "devices/irq/gicv3.h"

namespace tandem::devices {

using namespace gic;

namespace {

// ICH_HCR_EL2
constexpr u32 kTrapCommon = 1u << 10, kTrapGroup0 = 1u << 11, kTrapGroup1 = 1u << 12, kTrapDir = 1u << 14;
constexpr u32 kHcrWritable = VirtualInterface::kHcrWritable | kTrapCommon | kTrapGroup0 | kTrapGroup1 | kTrapDir;

// ICC_CTLR_EL1 and ICV_CTLR_EL1: priority bits, 16 bits of numbers, affinity 3.
constexpr u64 kControlFixed = (kPriorityBits - 1) << 8 | 1u << 15;
constexpr u64 kIdMask = 0xffffff;

u64 control_of(const Priorities& p) { return kControlFixed | (p.common_binary_point ? 1u : 0) | (p.split_eoi ? 2u : 0); }
void set_control(Priorities& p, u64 value) {
    p.common_binary_point = bit(value, 0);
    p.split_eoi = bit(value, 1);
}

}  // namespace

// What a register is about decides who may use it and what a hypervisor traps.
struct Gicv3::SystemRow {
    enum class Kind : u8 { Group0, Group1, Common, Deactivate, Sgi, Any, Hypervisor };
    const char* name;
    u16 encoding;
    Kind kind;
    u64 (Gicv3::*read)(unsigned cpu);
    void (Gicv3::*write)(unsigned cpu, u64 value);
    u64 (Gicv3::*virtual_read)(unsigned cpu) = nullptr;
    void (Gicv3::*virtual_write)(unsigned cpu, u64 value) = nullptr;
};

std::span<const Gicv3::SystemRow> Gicv3::system_rows() {
    using G = Gicv3;
    using enum SystemRow::Kind;
    constexpr auto icc = [](unsigned crn, unsigned crm, unsigned op2) {
        return devices::system_register(3, 0, crn, crm, op2);
    };
    constexpr auto ich = [](unsigned crm, unsigned op2) { return devices::system_register(3, 4, 12, crm, op2); };
    // The most used ones first. Five priority bits need one active-priorities register for each group.
    static constexpr std::array<SystemRow, 33> kRows{{
        {"ICC_IAR1_EL1", icc(12, 12, 0), Group1, &G::read_iar<1>, nullptr, &G::read_v_iar<1>, nullptr},
        {"ICC_EOIR1_EL1", icc(12, 12, 1), Group1, nullptr, &G::write_eoir, nullptr, &G::write_v_eoir},
        {"ICC_DIR_EL1", icc(12, 11, 1), Deactivate, nullptr, &G::write_dir, nullptr, &G::write_v_dir},
        {"ICC_SGI1R_EL1", icc(12, 11, 5), Sgi, nullptr, &G::write_sgi1r},
        {"ICC_PMR_EL1", icc(4, 6, 0), Common, &G::read_pmr, &G::write_pmr, &G::read_v_pmr, &G::write_v_pmr},
        {"ICC_RPR_EL1", icc(12, 11, 3), Common, &G::read_rpr, nullptr, &G::read_v_rpr, nullptr},
        {"ICC_HPPIR1_EL1", icc(12, 12, 2), Group1, &G::read_hppir<1>, nullptr, &G::read_v_hppir<1>, nullptr},
        {"ICC_BPR1_EL1", icc(12, 12, 3), Group1, &G::read_bpr<1>, &G::write_bpr<1>, &G::read_v_bpr<1>, &G::write_v_bpr<1>},
        {"ICC_AP1R0_EL1", icc(12, 9, 0), Group1, &G::read_apr<1>, &G::write_apr<1>, &G::read_v_apr<1>, &G::write_v_apr<1>},
        {"ICC_IGRPEN1_EL1", icc(12, 12, 7), Group1, &G::read_enable<1>, &G::write_enable<1>, &G::read_v_enable<1>,
         &G::write_v_enable<1>},
        {"ICC_IAR0_EL1", icc(12, 8, 0), Group0, &G::read_iar<0>, nullptr, &G::read_v_iar<0>, nullptr},
        {"ICC_EOIR0_EL1", icc(12, 8, 1), Group0, nullptr, &G::write_eoir, nullptr, &G::write_v_eoir},
        {"ICC_HPPIR0_EL1", icc(12, 8, 2), Group0, &G::read_hppir<0>, nullptr, &G::read_v_hppir<0>, nullptr},
        {"ICC_BPR0_EL1", icc(12, 8, 3), Group0, &G::read_bpr<0>, &G::write_bpr<0>, &G::read_v_bpr<0>, &G::write_v_bpr<0>},
        {"ICC_AP0R0_EL1", icc(12, 8, 4), Group0, &G::read_apr<0>, &G::write_apr<0>, &G::read_v_apr<0>, &G::write_v_apr<0>},
        {"ICC_IGRPEN0_EL1", icc(12, 12, 6), Group0, &G::read_enable<0>, &G::write_enable<0>, &G::read_v_enable<0>,
         &G::write_v_enable<0>},
        {"ICC_CTLR_EL1", icc(12, 12, 4), Common, &G::read_ctlr, &G::write_ctlr, &G::read_v_ctlr, &G::write_v_ctlr},
        {"ICC_SRE_EL1", icc(12, 12, 5), Any, &G::read_sre, &G::ignore},
        {"ICC_SGI0R_EL1", icc(12, 11, 7), Sgi, nullptr, &G::write_sgi0r},
        {"ICC_ASGI1R_EL1", icc(12, 11, 6), Sgi, nullptr, &G::write_sgi0r},
        {"ICC_SRE_EL2", ich(9, 5), Hypervisor, &G::read_sre_el2, &G::ignore},
        {"ICH_HCR_EL2", ich(11, 0), Hypervisor, &G::read_hcr, &G::write_hcr},
        {"ICH_VTR_EL2", ich(11, 1), Hypervisor, &G::read_vtr, nullptr},
        {"ICH_MISR_EL2", ich(11, 2), Hypervisor, &G::read_misr, nullptr},
        {"ICH_EISR_EL2", ich(11, 3), Hypervisor, &G::read_eisr, nullptr},
        {"ICH_ELRSR_EL2", ich(11, 5), Hypervisor, &G::read_elrsr, nullptr},
        {"ICH_VMCR_EL2", ich(11, 7), Hypervisor, &G::read_vmcr, &G::write_vmcr},
        {"ICH_AP0R0_EL2", ich(8, 0), Hypervisor, &G::read_v_apr<0>, &G::write_v_apr<0>},
        {"ICH_AP1R0_EL2", ich(9, 0), Hypervisor, &G::read_v_apr<1>, &G::write_v_apr<1>},
        {"ICH_LR0_EL2", ich(12, 0), Hypervisor, &G::read_lr<0>, &G::write_lr<0>},
        {"ICH_LR1_EL2", ich(12, 1), Hypervisor, &G::read_lr<1>, &G::write_lr<1>},
        {"ICH_LR2_EL2", ich(12, 2), Hypervisor, &G::read_lr<2>, &G::write_lr<2>},
        {"ICH_LR3_EL2", ich(12, 3), Hypervisor, &G::read_lr<3>, &G::write_lr<3>},
    }};
    static_assert(kListRegisters == 4);
    return kRows;
}

GicRegisterAnswer Gicv3::system_register(unsigned cpu, GicRegisterAccess& a) {
    for (const SystemRow& row : system_rows()) {
        if (row.encoding != a.encoding) continue;
        std::lock_guard guard(lock_);
        if (const auto answer = check_access(cpu, row, a); answer != GicRegisterAnswer::Done) return answer;
        using Kind = SystemRow::Kind;
        const bool group0 = row.kind == Kind::Group0, group1 = row.kind == Kind::Group1;
        const bool both = row.kind == Kind::Common || row.kind == Kind::Deactivate;
        const bool is_virtual = a.level == 1 && ((a.routes_irq && (group1 || both)) || (a.routes_fiq && (group0 || both)));
        if (a.write) {
            (this->*(is_virtual ? row.virtual_write : row.write))(cpu, a.data);
        } else {
            a.data = (this->*(is_virtual ? row.virtual_read : row.read))(cpu);
        }
        update(cpu);
        return GicRegisterAnswer::Done;
    }
    return GicRegisterAnswer::Undefined;
}

GicRegisterAnswer Gicv3::check_access(unsigned cpu, const SystemRow& row, const GicRegisterAccess& a) const {
    using Kind = SystemRow::Kind;
    if ((a.write ? row.write == nullptr : row.read == nullptr)) return GicRegisterAnswer::Undefined;
    if (row.kind == Kind::Hypervisor) {
        return a.level == 2 && config_.virtualization ? GicRegisterAnswer::Done : GicRegisterAnswer::Undefined;
    }
    if (a.level == 0) return GicRegisterAnswer::Undefined;
    if (a.level != 1 || !config_.virtualization) return GicRegisterAnswer::Done;
    u32 traps = 0;
    switch (row.kind) {
        case Kind::Group0: traps = kTrapGroup0; break;
        case Kind::Group1: traps = kTrapGroup1; break;
        case Kind::Common: traps = kTrapCommon; break;
        case Kind::Deactivate: traps = kTrapCommon | kTrapDir; break;
        case Kind::Sgi:
            if (a.routes_irq || a.routes_fiq) return GicRegisterAnswer::TrapToEl2;
            traps = kTrapCommon;
            break;
        default: break;
    }
    return (cpu_[cpu].virt.s.hcr & traps) != 0 ? GicRegisterAnswer::TrapToEl2 : GicRegisterAnswer::Done;
}

// --- Physical interface ---------------------------------------------------------------------------------------------

template <unsigned group>
u64 Gicv3::read_iar(unsigned cpu) {
    Cpu& c = cpu_[cpu];
    const Candidate best = highest(cpu);
    if (best.group != group || !c.priorities.signals(best)) return kSpurious;
    c.priorities.activate(best);
    if (Bank* b = bank_of(cpu, best.id)) {
        b->acknowledge(best.id % 32);
    } else {  // an LPI, which has no active state
        c.pending_lpis.erase(best.id);
        choose_lpi(c);
    }
    return best.id;
}

template <unsigned group>
u64 Gicv3::read_hppir(unsigned cpu) {
    const Candidate best = highest(cpu);
    return best.any() && best.group == group && cpu_[cpu].priorities.enabled[group] ? best.id : kSpurious;
}

template <unsigned group>
u64 Gicv3::read_bpr(unsigned cpu) {
    return cpu_[cpu].priorities.effective_binary_point(group);
}
// With CBPR ICC_BPR1_EL1 ignores writes.
template <unsigned group>
void Gicv3::write_bpr(unsigned cpu, u64 value) {
    Priorities& p = cpu_[cpu].priorities;
    if (group == 0 || !p.common_binary_point) p.set_binary_point(group, static_cast<u8>(value & 7));
}

template <unsigned group>
u64 Gicv3::read_apr(unsigned cpu) {
    return cpu_[cpu].priorities.active[group];
}
template <unsigned group>
void Gicv3::write_apr(unsigned cpu, u64 value) {
    cpu_[cpu].priorities.active[group] = static_cast<u32>(value);
}

template <unsigned group>
u64 Gicv3::read_enable(unsigned cpu) {
    return cpu_[cpu].priorities.enabled[group] ? 1 : 0;
}
template <unsigned group>
void Gicv3::write_enable(unsigned cpu, u64 value) {
    cpu_[cpu].priorities.enabled[group] = bit(value, 0);
}

void Gicv3::write_eoir(unsigned cpu, u64 value) {
    const auto id = static_cast<u32>(value & kIdMask);
    if ((id >= kFirstSpecial && id <= kSpurious) || !cpu_[cpu].priorities.drop()) return;
    if (cpu_[cpu].priorities.split_eoi) return;
    deactivate(cpu, id);
    if (id >= kPrivate) update_all();
}

void Gicv3::write_dir(unsigned cpu, u64 value) {
    if (!cpu_[cpu].priorities.split_eoi) return;
    deactivate(cpu, static_cast<u32>(value & kIdMask));
    update_all();
}

u64 Gicv3::read_pmr(unsigned cpu) { return cpu_[cpu].priorities.mask; }
void Gicv3::write_pmr(unsigned cpu, u64 value) { cpu_[cpu].priorities.mask = static_cast<u8>(value) & kPriorityMask; }
u64 Gicv3::read_rpr(unsigned cpu) { return cpu_[cpu].priorities.running(); }
u64 Gicv3::read_ctlr(unsigned cpu) { return control_of(cpu_[cpu].priorities); }
void Gicv3::write_ctlr(unsigned cpu, u64 value) { set_control(cpu_[cpu].priorities, value); }

// System registers are the only interface: SRE, DFB, DIB, and Enable at EL2 are RAO/WI.
u64 Gicv3::read_sre(unsigned) { return 7; }
u64 Gicv3::read_sre_el2(unsigned) { return 15; }

// 12.2.36. Who asks for a group 0 SGI gets no other; with one security state ICC_SGI1R_EL1 reaches both groups.
void Gicv3::send_sgi(unsigned cpu, u64 value, unsigned group) {
    const auto id = static_cast<unsigned>(bits(value, 27, 24));
    const bool others = bit(value, 40);
    const u64 cluster = bits(value, 55, 48) << 32 | bits(value, 39, 32) << 16 | bits(value, 23, 16) << 8;
    const u64 first = bits(value, 47, 44) * 16;
    for (unsigned i = 0; i < cpus_; ++i) {
        const u64 affinity = config_.affinities[i], number = affinity & 0xff;
        const bool listed = (affinity & ~u64{0xff}) == cluster && number >= first && number < first + 16 &&
                            bit(value, static_cast<unsigned>(number - first));
        if (!(others ? i != cpu : listed) || (group == 0 && (cpu_[i].local.group1 >> id & 1) != 0)) continue;
        cpu_[i].local.latched |= 1u << id;
        update(i);
    }
}

// --- Virtual interface ----------------------------------------------------------------------------------------------

template <unsigned group>
u64 Gicv3::read_v_iar(unsigned cpu) {
    VirtualInterface& v = cpu_[cpu].virt;
    if (v.highest().group != group) return kSpurious;
    const ListRegister* r = v.acknowledge();
    return r == nullptr ? kSpurious : r->id;
}

template <unsigned group>
u64 Gicv3::read_v_hppir(unsigned cpu) {
    const Candidate best = cpu_[cpu].virt.highest();
    return best.group == group ? best.id : kSpurious;
}

template <unsigned group>
u64 Gicv3::read_v_bpr(unsigned cpu) {
    return cpu_[cpu].virt.s.priorities.effective_binary_point(group);
}
template <unsigned group>
void Gicv3::write_v_bpr(unsigned cpu, u64 value) {
    Priorities& p = cpu_[cpu].virt.s.priorities;
    if (group == 0 || !p.common_binary_point) p.set_binary_point(group, static_cast<u8>(value & 7));
}

template <unsigned group>
u64 Gicv3::read_v_apr(unsigned cpu) {
    return cpu_[cpu].virt.s.priorities.active[group];
}
template <unsigned group>
void Gicv3::write_v_apr(unsigned cpu, u64 value) {
    cpu_[cpu].virt.s.priorities.active[group] = static_cast<u32>(value);
}

template <unsigned group>
u64 Gicv3::read_v_enable(unsigned cpu) {
    return cpu_[cpu].virt.s.priorities.enabled[group] ? 1 : 0;
}
template <unsigned group>
void Gicv3::write_v_enable(unsigned cpu, u64 value) {
    cpu_[cpu].virt.s.priorities.enabled[group] = bit(value, 0);
}

void Gicv3::write_v_eoir(unsigned cpu, u64 value) {
    if (const auto physical = cpu_[cpu].virt.end(static_cast<u32>(value & kIdMask), 0)) {
        deactivate(cpu, *physical);
        update_all();
    }
}

void Gicv3::write_v_dir(unsigned cpu, u64 value) {
    VirtualInterface& v = cpu_[cpu].virt;
    const auto id = static_cast<u32>(value & kIdMask);
    if (!v.s.priorities.split_eoi || (id >= kFirstSpecial && id <= kSpurious)) return;
    if (const auto physical = v.deactivate(id, 0)) {
        deactivate(cpu, *physical);
        update_all();
    }
}

u64 Gicv3::read_v_pmr(unsigned cpu) { return cpu_[cpu].virt.s.priorities.mask; }
void Gicv3::write_v_pmr(unsigned cpu, u64 value) {
    cpu_[cpu].virt.s.priorities.mask = static_cast<u8>(value) & kPriorityMask;
}
u64 Gicv3::read_v_rpr(unsigned cpu) { return cpu_[cpu].virt.s.priorities.running(); }
u64 Gicv3::read_v_ctlr(unsigned cpu) { return control_of(cpu_[cpu].virt.s.priorities); }
void Gicv3::write_v_ctlr(unsigned cpu, u64 value) { set_control(cpu_[cpu].virt.s.priorities, value); }

// --- Hypervisor control ---------------------------------------------------------------------------------------------

u64 Gicv3::read_hcr(unsigned cpu) { return cpu_[cpu].virt.s.hcr; }
void Gicv3::write_hcr(unsigned cpu, u64 value) { cpu_[cpu].virt.s.hcr = static_cast<u32>(value) & kHcrWritable; }

// List registers, TDIR, no direct injection, affinity 3, 16 bits of numbers, priority bits (12.4.9).
u64 Gicv3::read_vtr(unsigned) {
    return (kListRegisters - 1) | 1u << 19 | 1u << 20 | 1u << 21 | (kPriorityBits - 1) << 26 | (kPriorityBits - 1) << 29;
}

u64 Gicv3::read_misr(unsigned cpu) { return cpu_[cpu].virt.misr(); }
u64 Gicv3::read_eisr(unsigned cpu) { return cpu_[cpu].virt.eisr(); }
u64 Gicv3::read_elrsr(unsigned cpu) { return cpu_[cpu].virt.elrsr(); }

u64 Gicv3::read_vmcr(unsigned cpu) {
    const VirtualInterface& v = cpu_[cpu].virt;
    return v.vmcr() | u32{v.s.priorities.mask} << 24;
}
void Gicv3::write_vmcr(unsigned cpu, u64 value) {
    VirtualInterface& v = cpu_[cpu].virt;
    v.set_vmcr(static_cast<u32>(value));
    v.s.ack_control = false;
    v.s.fiq_enabled = true;
    v.s.priorities.mask = static_cast<u8>(value >> 24) & kPriorityMask;
}

// 12.4.5
template <unsigned index>
u64 Gicv3::read_lr(unsigned cpu) {
    const ListRegister& r = cpu_[cpu].virt.s.list[index];
    const u64 physical = r.hardware ? r.physical : r.eoi ? 0x200u : 0u;
    return r.id | physical << 32 | u64{r.priority} << 48 | (r.group1 ? u64{1} << 60 : 0) | (r.hardware ? u64{1} << 61 : 0) |
           u64{r.state} << 62;
}

template <unsigned index>
void Gicv3::write_lr(unsigned cpu, u64 value) {
    ListRegister& r = cpu_[cpu].virt.s.list[index];
    r = {};
    r.id = static_cast<u32>(bits(value, 15, 0));
    r.priority = static_cast<u8>(bits(value, 55, 48)) & kPriorityMask;
    r.state = static_cast<u8>(bits(value, 63, 62));
    r.group1 = bit(value, 60);
    r.hardware = bit(value, 61);
    if (r.hardware) {
        r.physical = static_cast<u16>(bits(value, 44, 32));
    } else {
        r.eoi = bit(value, 41);
    }
}

}  // namespace tandem::devices
