// The registers of GICv2, by frame, with what they do.
#include "base/bits.h"
#include "devices/irq/gicv2.h"

namespace tandem::devices {

using namespace gic;

namespace {

constexpr u32 kImplementer = 0x43b;                          // Arm
constexpr u32 kDistributorIidr = 0x02000000 | kImplementer;  // GIC-400
constexpr u32 kInterfaceIidr = 0x02020000 | kImplementer;    // architecture version 2
constexpr u32 kControlBits = 0x3ff;
constexpr u32 kSourceShift = 10;

// SGIR
enum Filter : u32 { kListed = 0, kOthers = 1, kSelf = 2 };

}  // namespace

std::span<const Gicv2::RegisterRow> Gicv2::rows(unsigned part) {
    using G = Gicv2;
    // IHI 0048B, table 4-1; the registers over banks are in gic_bank.cpp.
    static constexpr std::array<RegisterRow, 8> kDistributorRows{{
        {"GICD_CTLR", 0x000, 0x004, &G::read_gicd_ctlr, &G::write_gicd_ctlr},
        {"GICD_TYPER", 0x004, 0x008, &G::read_gicd_typer, nullptr},
        {"GICD_IIDR", 0x008, 0x00c, &G::read_gicd_iidr, nullptr},
        {"GICD_ITARGETSR", 0x800, 0xc00, &G::read_targets, &G::write_targets},
        {"GICD_SGIR", 0xf00, 0xf04, nullptr, &G::write_sgir},
        {"GICD_CPENDSGIR", 0xf10, 0xf20, &G::read_sgi_pending, &G::clear_sgi_pending},
        {"GICD_SPENDSGIR", 0xf20, 0xf30, &G::read_sgi_pending, &G::set_sgi_pending},
        {"identification", 0xfd0, 0x1000, &G::read_identification, nullptr},
    }};
    // Table 4-2. The non-secure copies of the active priorities do not exist without security extensions.
    static constexpr std::array<RegisterRow, 15> kInterfaceRows{{
        {"GICC_CTLR", 0x00, 0x04, &G::read_ctlr, &G::write_ctlr},
        {"GICC_PMR", 0x04, 0x08, &G::read_pmr, &G::write_pmr},
        {"GICC_BPR", 0x08, 0x0c, &G::read_bpr, &G::write_bpr},
        {"GICC_IAR", 0x0c, 0x10, &G::read_iar, nullptr},
        {"GICC_EOIR", 0x10, 0x14, nullptr, &G::write_eoir},
        {"GICC_RPR", 0x14, 0x18, &G::read_rpr, nullptr},
        {"GICC_HPPIR", 0x18, 0x1c, &G::read_hppir, nullptr},
        {"GICC_ABPR", 0x1c, 0x20, &G::read_alias_bpr, &G::write_alias_bpr},
        {"GICC_AIAR", 0x20, 0x24, &G::read_alias_iar, nullptr},
        {"GICC_AEOIR", 0x24, 0x28, nullptr, &G::write_eoir},
        {"GICC_AHPPIR", 0x28, 0x2c, &G::read_alias_hppir, nullptr},
        {"GICC_APR", 0xd0, 0xd4, &G::read_apr, &G::write_apr},
        {"GICC_NSAPR", 0xe0, 0xe4, &G::read_nsapr, &G::write_nsapr},
        {"GICC_IIDR", 0xfc, 0x100, &G::read_gicc_iidr, nullptr},
        {"GICC_DIR", 0x1000, 0x1004, nullptr, &G::write_dir},
    }};
    // Table 5-2
    static constexpr std::array<RegisterRow, 8> kControlRows{{
        {"GICH_HCR", 0x00, 0x04, &G::read_hcr, &G::write_hcr},
        {"GICH_VTR", 0x04, 0x08, &G::read_vtr, nullptr},
        {"GICH_VMCR", 0x08, 0x0c, &G::read_vmcr, &G::write_vmcr},
        {"GICH_MISR", 0x10, 0x14, &G::read_misr, nullptr},
        {"GICH_EISR", 0x20, 0x28, &G::read_eisr, nullptr},
        {"GICH_ELRSR", 0x30, 0x38, &G::read_elrsr, nullptr},
        {"GICH_APR", 0xf0, 0xf4, &G::read_virtual_apr, &G::write_virtual_apr},
        {"GICH_LR", 0x100, 0x100 + 4 * kListRegisters, &G::read_lr, &G::write_lr},
    }};
    // Table 5-3
    static constexpr std::array<RegisterRow, 14> kVirtualRows{{
        {"GICV_CTLR", 0x00, 0x04, &G::read_v_ctlr, &G::write_v_ctlr},
        {"GICV_PMR", 0x04, 0x08, &G::read_v_pmr, &G::write_v_pmr},
        {"GICV_BPR", 0x08, 0x0c, &G::read_v_bpr, &G::write_v_bpr},
        {"GICV_IAR", 0x0c, 0x10, &G::read_v_iar, nullptr},
        {"GICV_EOIR", 0x10, 0x14, nullptr, &G::write_v_eoir},
        {"GICV_RPR", 0x14, 0x18, &G::read_v_rpr, nullptr},
        {"GICV_HPPIR", 0x18, 0x1c, &G::read_v_hppir, nullptr},
        {"GICV_ABPR", 0x1c, 0x20, &G::read_v_alias_bpr, &G::write_v_alias_bpr},
        {"GICV_AIAR", 0x20, 0x24, &G::read_v_alias_iar, nullptr},
        {"GICV_AEOIR", 0x24, 0x28, nullptr, &G::write_v_eoir},
        {"GICV_AHPPIR", 0x28, 0x2c, &G::read_v_alias_hppir, nullptr},
        {"GICV_APR", 0xd0, 0xd4, &G::read_virtual_apr, &G::write_virtual_apr},
        {"GICV_IIDR", 0xfc, 0x100, &G::read_gicc_iidr, nullptr},
        {"GICV_DIR", 0x1000, 0x1004, nullptr, &G::write_v_dir},
    }};
    switch (part) {
        case kDistributor: return kDistributorRows;
        case kCpuInterface: return kInterfaceRows;
        case kVirtualControl: return kControlRows;
        default: return kVirtualRows;
    }
}

// --- Distributor ----------------------------------------------------------------------------------------------------

void Gicv2::write_gicd_ctlr(unsigned, u32, u32 value, u32 lanes) { control_ = ((control_ & ~lanes) | (value & lanes)) & 3; }

u32 Gicv2::read_gicd_typer(unsigned, u32) { return spis_ / 32 | (cpus_ - 1) << 5; }
u32 Gicv2::read_gicd_iidr(unsigned, u32) { return kDistributorIidr; }

// Component identification of a GIC-400 (its technical reference manual, table 3-2); PIDR2 tells architecture version 2.
u32 Gicv2::read_identification(unsigned, u32 at) {
    static constexpr std::array<u8, 12> kIds{0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1};
    return kIds[at / 4];
}

// One byte for each interrupt. Of private ones it is the reading processor's own (4.3.12).
u32 Gicv2::read_targets(unsigned cpu, u32 at) {
    u32 value = 0;
    for (unsigned i = 0; i < 4; ++i) {
        const u32 id = at + i;
        u32 mask = 0;
        if (id < kPrivate) {
            mask = 1u << cpu;
        } else if (id - kPrivate < spis_) {
            mask = targets_[id - kPrivate];
        }
        value |= mask << 8 * i;
    }
    return value;
}

void Gicv2::write_targets(unsigned, u32 at, u32 value, u32 lanes) {
    for (unsigned i = 0; i < 4; ++i) {
        const u32 id = at + i;
        if (id < kPrivate || id - kPrivate >= spis_ || (lanes >> 8 * i & 1) == 0) continue;
        targets_[id - kPrivate] = static_cast<u8>((value >> 8 * i) & ((1u << cpus_) - 1));
    }
}

void Gicv2::write_sgir(unsigned cpu, u32, u32 value, u32) {
    const u32 id = field(value, 3, 0);
    u32 targets = 0;
    switch (field(value, 25, 24)) {
        case kListed: targets = field(value, 23, 16); break;
        case kOthers: targets = ~(1u << cpu); break;
        case kSelf: targets = 1u << cpu; break;
        default: break;
    }
    for (unsigned i = 0; i < cpus_; ++i) {
        if ((targets >> i & 1) == 0) continue;
        cpu_[i].sgi_sources[id] |= static_cast<u8>(1u << cpu);
        cpu_[i].local.latched |= 1u << id;
    }
}

u32 Gicv2::read_sgi_pending(unsigned cpu, u32 at) {
    u32 value = 0;
    for (unsigned i = 0; i < 4; ++i) value |= u32{cpu_[cpu].sgi_sources[at + i]} << 8 * i;
    return value;
}

void Gicv2::set_sgi_pending(unsigned cpu, u32 at, u32 value, u32 lanes) {
    const u32 all = ((1u << cpus_) - 1) * 0x01010101u;
    for (unsigned i = 0; i < 4; ++i) {
        u8& sources = cpu_[cpu].sgi_sources[at + i];
        sources |= static_cast<u8>((value & lanes & all) >> 8 * i);
        if (sources != 0) cpu_[cpu].local.latched |= 1u << (at + i);
    }
}

void Gicv2::clear_sgi_pending(unsigned cpu, u32 at, u32 value, u32 lanes) {
    for (unsigned i = 0; i < 4; ++i) {
        u8& sources = cpu_[cpu].sgi_sources[at + i];
        sources &= static_cast<u8>(~((value & lanes) >> 8 * i));
        if (sources == 0) cpu_[cpu].local.latched &= ~(1u << (at + i));
    }
}

// --- CPU interface --------------------------------------------------------------------------------------------------

void Gicv2::write_ctlr(unsigned cpu, u32, u32 value, u32 lanes) {
    Cpu& c = cpu_[cpu];
    c.control = ((c.control & ~lanes) | (value & lanes)) & kControlBits;
    c.priorities.enabled = {bit(c.control, 0), bit(c.control, 1)};
    c.priorities.common_binary_point = bit(c.control, 4);
    c.priorities.split_eoi = bit(c.control, 9);
}

void Gicv2::write_pmr(unsigned cpu, u32, u32 value, u32) {
    cpu_[cpu].priorities.mask = static_cast<u8>(value) & kPriorityMask;
}

u32 Gicv2::read_bpr(unsigned cpu, u32) { return cpu_[cpu].priorities.binary_point[0]; }
void Gicv2::write_bpr(unsigned cpu, u32, u32 value, u32) {
    cpu_[cpu].priorities.set_binary_point(0, static_cast<u8>(value & 7));
}
u32 Gicv2::read_alias_bpr(unsigned cpu, u32) { return cpu_[cpu].priorities.binary_point[1]; }
void Gicv2::write_alias_bpr(unsigned cpu, u32, u32 value, u32) {
    cpu_[cpu].priorities.set_binary_point(1, static_cast<u8>(value & 7));
}

// IAR leaves group 1 alone unless AckCtl says otherwise; its alias takes nothing else (4.4.4, 4.4.11).
u32 Gicv2::read_iar(unsigned cpu, u32) {
    const Candidate best = highest(cpu);
    const Cpu& c = cpu_[cpu];
    if (!c.priorities.signals(best)) return kSpurious;
    if (best.group == 1 && !bit(c.control, 2)) return kSpuriousGroup1;
    return acknowledge(cpu, best);
}
u32 Gicv2::read_alias_iar(unsigned cpu, u32) {
    const Candidate best = highest(cpu);
    return best.group == 1 && cpu_[cpu].priorities.signals(best) ? acknowledge(cpu, best) : kSpurious;
}

void Gicv2::write_eoir(unsigned cpu, u32, u32 value, u32) {
    const u32 id = field(value, 9, 0);
    if (id >= kFirstSpecial || !cpu_[cpu].priorities.drop()) return;
    if (!cpu_[cpu].priorities.split_eoi) deactivate(cpu, id);
}

void Gicv2::write_dir(unsigned cpu, u32, u32 value, u32) {
    if (cpu_[cpu].priorities.split_eoi) deactivate(cpu, field(value, 9, 0));
}

// The interrupt of the highest priority and, for an SGI, its sender; whatever the mask (4.4.7).
u32 Gicv2::pending_id(unsigned cpu, const Candidate& best) const {
    if (best.id >= kSgis) return best.id;
    return best.id | (static_cast<u32>(std::countr_zero(u32{cpu_[cpu].sgi_sources[best.id]} | 0x100)) & 7) << kSourceShift;
}
u32 Gicv2::read_hppir(unsigned cpu, u32) {
    const Candidate best = highest(cpu);
    if (best.any() && best.group == 1 && !bit(cpu_[cpu].control, 2)) return kSpuriousGroup1;
    return pending_id(cpu, best);
}
u32 Gicv2::read_alias_hppir(unsigned cpu, u32) {
    const Candidate best = highest(cpu);
    return best.group == 1 ? pending_id(cpu, best) : kSpurious;
}

u32 Gicv2::read_apr(unsigned cpu, u32) { return cpu_[cpu].priorities.active[0]; }
void Gicv2::write_apr(unsigned cpu, u32, u32 value, u32) { cpu_[cpu].priorities.active[0] = value; }
u32 Gicv2::read_nsapr(unsigned cpu, u32) { return cpu_[cpu].priorities.active[1]; }
void Gicv2::write_nsapr(unsigned cpu, u32, u32 value, u32) { cpu_[cpu].priorities.active[1] = value; }
u32 Gicv2::read_gicc_iidr(unsigned, u32) { return kInterfaceIidr; }

// --- Virtual interface control --------------------------------------------------------------------------------------

void Gicv2::write_hcr(unsigned cpu, u32, u32 value, u32) { cpu_[cpu].virt.s.hcr = value & VirtualInterface::kHcrWritable; }

u32 Gicv2::read_vtr(unsigned, u32) { return (kListRegisters - 1) | (kPriorityBits - 1) << 26 | (kPriorityBits - 1) << 29; }

u32 Gicv2::read_vmcr(unsigned cpu, u32) {
    const VirtualInterface& v = cpu_[cpu].virt;
    return v.vmcr() | u32{v.s.priorities.mask} << 24;
}

// The mask's five bits are 31:27, where an 8-bit one would have its upper ones.
void Gicv2::write_vmcr(unsigned cpu, u32, u32 value, u32) {
    VirtualInterface& v = cpu_[cpu].virt;
    v.set_vmcr(value);
    v.s.priorities.mask = static_cast<u8>(value >> 24) & kPriorityMask;
}

u32 Gicv2::read_eisr(unsigned cpu, u32 at) { return at == 0 ? cpu_[cpu].virt.eisr() : 0; }
u32 Gicv2::read_elrsr(unsigned cpu, u32 at) { return at == 0 ? cpu_[cpu].virt.elrsr() : 0; }

// One register for both groups: which of them a priority belongs to does not matter to it.
u32 Gicv2::read_virtual_apr(unsigned cpu, u32) {
    const Priorities& p = cpu_[cpu].virt.s.priorities;
    return p.active[0] | p.active[1];
}
void Gicv2::write_virtual_apr(unsigned cpu, u32, u32 value, u32) { cpu_[cpu].virt.s.priorities.active = {value, 0}; }

// 5.3.10
u32 Gicv2::read_lr(unsigned cpu, u32 at) {
    const ListRegister& r = cpu_[cpu].virt.s.list[at / 4];
    const u32 physical = r.hardware ? r.physical : u32{r.source} | (r.eoi ? 0x200u : 0);
    return r.id | physical << 10 | u32{r.priority} >> 3 << 23 | u32{r.state} << 28 | (r.group1 ? 1u << 30 : 0) |
           (r.hardware ? 1u << 31 : 0);
}

void Gicv2::write_lr(unsigned cpu, u32 at, u32 value, u32) {
    ListRegister& r = cpu_[cpu].virt.s.list[at / 4];
    r = {};
    r.id = field(value, 9, 0);
    r.priority = static_cast<u8>(bits(value, 27, 23) << 3);
    r.state = static_cast<u8>(bits(value, 29, 28));
    r.group1 = bit(value, 30);
    r.hardware = bit(value, 31);
    if (r.hardware) {
        r.physical = static_cast<u16>(bits(value, 19, 10));
    } else {
        r.source = static_cast<u8>(bits(value, 12, 10));
        r.eoi = bit(value, 19);
    }
}

// --- Virtual CPU interface ------------------------------------------------------------------------------------------

u32 Gicv2::read_v_ctlr(unsigned cpu, u32) { return cpu_[cpu].virt.vmcr() & kControlBits; }

void Gicv2::write_v_ctlr(unsigned cpu, u32, u32 value, u32 lanes) {
    VirtualInterface& v = cpu_[cpu].virt;
    const u32 taken = lanes & kControlBits;
    v.set_vmcr((v.vmcr() & ~taken) | (value & taken));
}

void Gicv2::write_v_pmr(unsigned cpu, u32, u32 value, u32) {
    cpu_[cpu].virt.s.priorities.mask = static_cast<u8>(value) & kPriorityMask;
}

u32 Gicv2::read_v_bpr(unsigned cpu, u32) { return cpu_[cpu].virt.s.priorities.binary_point[0]; }
void Gicv2::write_v_bpr(unsigned cpu, u32, u32 value, u32) {
    cpu_[cpu].virt.s.priorities.set_binary_point(0, static_cast<u8>(value & 7));
}
u32 Gicv2::read_v_alias_bpr(unsigned cpu, u32) { return cpu_[cpu].virt.s.priorities.effective_binary_point(1); }
void Gicv2::write_v_alias_bpr(unsigned cpu, u32, u32 value, u32) {
    cpu_[cpu].virt.s.priorities.set_binary_point(1, static_cast<u8>(value & 7));
}

u32 Gicv2::virtual_acknowledge(unsigned cpu) {
    const ListRegister* r = cpu_[cpu].virt.acknowledge();
    if (r == nullptr) return kSpurious;
    return r->id | (r->id < kSgis && !r->hardware ? u32{r->source} << kSourceShift : 0);
}

u32 Gicv2::read_v_iar(unsigned cpu, u32) {
    const VirtualInterface& v = cpu_[cpu].virt;
    const Candidate best = v.highest();
    if (v.s.priorities.signals(best) && best.group == 1 && !v.s.ack_control) return kSpuriousGroup1;
    return virtual_acknowledge(cpu);
}
u32 Gicv2::read_v_alias_iar(unsigned cpu, u32) {
    return cpu_[cpu].virt.highest().group == 1 ? virtual_acknowledge(cpu) : kSpurious;
}

void Gicv2::write_v_eoir(unsigned cpu, u32, u32 value, u32) {
    const auto physical = cpu_[cpu].virt.end(field(value, 9, 0), static_cast<u8>(bits(value, 12, 10)));
    if (physical) deactivate(cpu, *physical);
}

void Gicv2::write_v_dir(unsigned cpu, u32, u32 value, u32) {
    VirtualInterface& v = cpu_[cpu].virt;
    const auto id = field(value, 9, 0);
    if (!v.s.priorities.split_eoi || id >= kFirstSpecial) return;
    if (const auto physical = v.deactivate(id, static_cast<u8>(bits(value, 12, 10)))) deactivate(cpu, *physical);
}

u32 Gicv2::read_v_hppir(unsigned cpu, u32) {
    const VirtualInterface& v = cpu_[cpu].virt;
    const Candidate best = v.highest();
    return best.any() && best.group == 1 && !v.s.ack_control ? kSpuriousGroup1 : best.id;
}
u32 Gicv2::read_v_alias_hppir(unsigned cpu, u32) {
    const Candidate best = cpu_[cpu].virt.highest();
    return best.group == 1 ? best.id : kSpurious;
}

}  // namespace tandem::devices
