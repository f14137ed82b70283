#include "accel/kvm/arm64/registers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <new>

#include "base/bits.h"
#include "cpu/arm64/system/numbered.h"

namespace tandem::accel::kvm {
namespace {

using cpu::arm64::State;
using cpu::arm64::Sysregs;

constexpr u64 core(std::size_t offset, u64 size) { return KVM_REG_ARM64 | size | KVM_REG_ARM_CORE | offset / sizeof(u32); }
constexpr u64 core64(std::size_t offset) { return core(offset, KVM_REG_SIZE_U64); }

constexpr u64 system(u64 op0, u64 op1, u64 crn, u64 crm, u64 op2) {
    return KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM64_SYSREG | op0 << KVM_REG_ARM64_SYSREG_OP0_SHIFT |
           op1 << KVM_REG_ARM64_SYSREG_OP1_SHIFT | crn << KVM_REG_ARM64_SYSREG_CRN_SHIFT |
           crm << KVM_REG_ARM64_SYSREG_CRM_SHIFT | op2;
}

struct SystemRow {
    u64 id;
    u64 Sysregs::* field;
};
// Of EL1 and EL0. The timers' compare values and the counters come under the ids that KVM has for them, of which the virtual
// timer's are not those of the registers' encodings (asm/kvm.h).
constexpr SystemRow kSystem[] = {
    {system(3, 0, 1, 0, 0), &Sysregs::sctlr_el1},       {system(3, 0, 1, 0, 1), &Sysregs::actlr_el1},
    {system(3, 0, 1, 0, 2), &Sysregs::cpacr_el1},       {system(3, 0, 2, 0, 0), &Sysregs::ttbr0_el1},
    {system(3, 0, 2, 0, 1), &Sysregs::ttbr1_el1},       {system(3, 0, 2, 0, 2), &Sysregs::tcr_el1},
    {system(3, 0, 5, 1, 0), &Sysregs::afsr0_el1},       {system(3, 0, 5, 1, 1), &Sysregs::afsr1_el1},
    {system(3, 0, 5, 2, 0), &Sysregs::esr_el1},         {system(3, 0, 6, 0, 0), &Sysregs::far_el1},
    {system(3, 0, 7, 4, 0), &Sysregs::par_el1},         {system(3, 0, 10, 2, 0), &Sysregs::mair_el1},
    {system(3, 0, 10, 3, 0), &Sysregs::amair_el1},      {system(3, 0, 12, 0, 0), &Sysregs::vbar_el1},
    {system(3, 0, 12, 1, 1), &Sysregs::disr_el1},       {system(3, 0, 13, 0, 1), &Sysregs::contextidr_el1},
    {system(3, 0, 13, 0, 4), &Sysregs::tpidr_el1},      {system(3, 3, 13, 0, 2), &Sysregs::tpidr_el0},
    {system(3, 3, 13, 0, 3), &Sysregs::tpidrro_el0},    {system(3, 2, 0, 0, 0), &Sysregs::csselr_el1},
    {system(3, 0, 14, 1, 0), &Sysregs::cntkctl_el1},    {system(2, 0, 0, 2, 2), &Sysregs::mdscr_el1},
    {system(2, 0, 0, 2, 0), &Sysregs::mdccint_el1},     {system(3, 0, 2, 1, 0), &Sysregs::apiakeylo_el1},
    {system(3, 0, 2, 1, 1), &Sysregs::apiakeyhi_el1},   {system(3, 0, 2, 1, 2), &Sysregs::apibkeylo_el1},
    {system(3, 0, 2, 1, 3), &Sysregs::apibkeyhi_el1},   {system(3, 0, 2, 2, 0), &Sysregs::apdakeylo_el1},
    {system(3, 0, 2, 2, 1), &Sysregs::apdakeyhi_el1},   {system(3, 0, 2, 2, 2), &Sysregs::apdbkeylo_el1},
    {system(3, 0, 2, 2, 3), &Sysregs::apdbkeyhi_el1},   {system(3, 0, 2, 3, 0), &Sysregs::apgakeylo_el1},
    {system(3, 0, 2, 3, 1), &Sysregs::apgakeyhi_el1},   {KVM_REG_ARM_TIMER_CTL, &Sysregs::cntv_ctl_el0},
    {KVM_REG_ARM_TIMER_CVAL, &Sysregs::cntv_cval_el0},  {KVM_REG_ARM_PTIMER_CTL, &Sysregs::cntp_ctl_el0},
    {KVM_REG_ARM_PTIMER_CVAL, &Sysregs::cntp_cval_el0},
};

u32 offset_of(const State& s, const void* field) {
    return static_cast<u32>(static_cast<const std::byte*>(field) - reinterpret_cast<const std::byte*>(&s));
}

std::vector<StateRegister> make_rows() {
    static const State s;
    std::vector<StateRegister> rows;
    const auto add = [&](u64 id, const auto& field) {
        rows.push_back({id, offset_of(s, &field), static_cast<u32>(sizeof field)});
    };
    const std::size_t general = offsetof(kvm_regs, regs);
    for (std::size_t i = 0; i < s.x.size(); ++i) add(core64(general + offsetof(user_pt_regs, regs) + 8 * i), s.x[i]);
    add(core64(general + offsetof(user_pt_regs, sp)), s.sp[0]);
    add(core64(general + offsetof(user_pt_regs, pc)), s.pc);
    add(core64(general + offsetof(user_pt_regs, pstate)), s.pstate);
    add(core64(offsetof(kvm_regs, sp_el1)), s.sp[1]);
    add(core64(offsetof(kvm_regs, elr_el1)), s.sys.elr_el1);
    add(core64(offsetof(kvm_regs, spsr) + 8 * KVM_SPSR_EL1), s.sys.spsr_el1);
    const std::size_t fp = offsetof(kvm_regs, fp_regs);
    for (std::size_t i = 0; i < s.v.size(); ++i) {
        add(core(fp + offsetof(user_fpsimd_state, vregs) + 16 * i, KVM_REG_SIZE_U128), s.v[i].lane);
    }
    add(core(fp + offsetof(user_fpsimd_state, fpsr), KVM_REG_SIZE_U32), s.fpsr);
    add(core(fp + offsetof(user_fpsimd_state, fpcr), KVM_REG_SIZE_U32), s.fpcr);
    for (const SystemRow& row : kSystem) add(row.id, s.sys.*row.field);
    const auto debug = [&](u64 op2, const auto& array) {
        for (std::size_t i = 0; i < array.size(); ++i) add(system(2, 0, 0, i, op2), array[i]);
    };
    debug(4, s.sys.dbgbvr_el1);
    debug(5, s.sys.dbgbcr_el1);
    debug(6, s.sys.dbgwvr_el1);
    debug(7, s.sys.dbgwcr_el1);
    return rows;
}

}  // namespace

std::span<const StateRegister> state_registers() {
    static const std::vector<StateRegister> rows = make_rows();
    return rows;
}

Result<std::vector<u64>> list_registers(const Fd& vcpu) {
    kvm_reg_list none{};
    if (::ioctl(vcpu.get(), KVM_GET_REG_LIST, &none) < 0 && errno != E2BIG) return io_error("KVM_GET_REG_LIST");
    std::vector<u64> raw(none.n + 1);
    auto* list = new (raw.data()) kvm_reg_list{};
    list->n = none.n;
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(vcpu, KVM_GET_REG_LIST, list));
    std::vector<u64> ids(raw.begin() + 1, raw.begin() + 1 + static_cast<std::ptrdiff_t>(std::min(list->n, none.n)));
    std::ranges::sort(ids);
    return ids;
}

Result<void> get_register(const Fd& vcpu, u64 id, void* out) {
    kvm_one_reg reg{id, reinterpret_cast<u64>(out)};
    auto got = TANDEM_KVM(vcpu, KVM_GET_ONE_REG, &reg);
    if (!got) return std::move(got).error().context(name_of(id));
    return {};
}

Result<void> set_register(const Fd& vcpu, u64 id, const void* in) {
    kvm_one_reg reg{id, reinterpret_cast<u64>(in)};
    auto set = TANDEM_KVM(vcpu, KVM_SET_ONE_REG, &reg);
    if (!set) return std::move(set).error().context(name_of(id));
    return {};
}

namespace {

// op0:op1:CRn:CRm:op2
struct Name {
    u64 op0, op1, crn, crm, op2;
};
Name name_in(u64 id) { return {bits(id, 15, 14), bits(id, 13, 11), bits(id, 10, 7), bits(id, 6, 3), bits(id, 2, 0)}; }

bool is_identification(const Name& n) {
    if (n.op0 != 3 || n.crn != 0) return false;
    return (n.op1 == 0 && (n.crm != 0 || n.op2 != 5)) || n.op1 == 1 || n.op1 == 3;  // MPIDR_EL1 is the machine's
}

}  // namespace

RegisterClass class_of(u64 id) {
    switch (id & KVM_REG_ARM_COPROC_MASK) {
        case KVM_REG_ARM_CORE: return RegisterClass::Core;
        case KVM_REG_ARM_DEMUX: return RegisterClass::Invariant;  // CCSIDR_EL1
        case KVM_REG_ARM64_SYSREG: break;
        default: return RegisterClass::Firmware;
    }
    if (is_identification(name_in(id))) return RegisterClass::Invariant;
    return name_in(id).crn == 14 && name_in(id).op1 == 3 ? RegisterClass::Timer : RegisterClass::System;
}

std::string name_of(u64 id) {
    const u64 group = id & KVM_REG_ARM_COPROC_MASK;
    if (group == KVM_REG_ARM64_SYSREG) {
        // Their ids are those of each other's encoding (asm/kvm.h).
        if (id == KVM_REG_ARM_TIMER_CVAL) return "CNTV_CVAL_EL0";
        if (id == KVM_REG_ARM_TIMER_CNT) return "CNTVCT_EL0";
        const std::string_view known = cpu::arm64::system_register_name(static_cast<u16>(id));
        if (!known.empty()) return std::string(known);
        const Name n = name_in(id);
        return fmt::format("S{}_{}_C{}_C{}_{}", n.op0, n.op1, n.crn, n.crm, n.op2);
    }
    if (group == KVM_REG_ARM_CORE) return fmt::format("core register {:#x}", id & 0xffff);
    return fmt::format("register {:#x}", id);
}

}  // namespace tandem::accel::kvm
