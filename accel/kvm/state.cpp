#include "accel/kvm/state.h"

#include <algorithm>

#include "base/bits.h"

namespace tandem::accel::kvm {
namespace {

using namespace cpu::x86;

struct GprRow {
    Gpr gpr;
    __u64 kvm_regs::* member;
};
constexpr GprRow kGprs[] = {
    {RAX, &kvm_regs::rax}, {RCX, &kvm_regs::rcx}, {RDX, &kvm_regs::rdx}, {RBX, &kvm_regs::rbx},
    {RSP, &kvm_regs::rsp}, {RBP, &kvm_regs::rbp}, {RSI, &kvm_regs::rsi}, {RDI, &kvm_regs::rdi},
    {R8, &kvm_regs::r8},   {R9, &kvm_regs::r9},   {R10, &kvm_regs::r10}, {R11, &kvm_regs::r11},
    {R12, &kvm_regs::r12}, {R13, &kvm_regs::r13}, {R14, &kvm_regs::r14}, {R15, &kvm_regs::r15},
};

struct SegmentRow {
    SegReg segment;
    kvm_segment kvm_sregs2::* member;
};
constexpr SegmentRow kSegments[] = {
    {ES, &kvm_sregs2::es}, {CS, &kvm_sregs2::cs}, {SS, &kvm_sregs2::ss},
    {DS, &kvm_sregs2::ds}, {FS, &kvm_sregs2::fs}, {GS, &kvm_sregs2::gs},
};

constexpr unsigned kTypeLast = 3, kS = 4, kDpl = 5, kP = 7, kAvl = 12, kL = 13, kDb = 14, kG = 15;

kvm_segment to_segment(const Segment& s) {
    kvm_segment k{};
    k.base = s.base;
    k.limit = s.limit;
    k.selector = s.selector;
    k.type = static_cast<u8>(bits(s.access, kTypeLast, 0));
    k.s = bit(s.access, kS);
    k.dpl = static_cast<u8>(bits(s.access, kDpl + 1, kDpl));
    k.present = bit(s.access, kP);
    k.avl = bit(s.access, kAvl);
    k.l = bit(s.access, kL);
    k.db = bit(s.access, kDb);
    k.g = bit(s.access, kG);
    k.unusable = !bit(s.access, kP);
    return k;
}

Segment from_segment(const kvm_segment& k) {
    Segment s;
    s.base = k.base;
    s.limit = k.limit;
    s.selector = k.selector;
    const u32 access = k.type | u32{k.s} << kS | u32{k.dpl} << kDpl | u32{k.present} << kP | u32{k.avl} << kAvl |
                       u32{k.l} << kL | u32{k.db} << kDb | u32{k.g} << kG;
    s.access = static_cast<u16>(k.unusable != 0 ? access & ~(1u << kP) : access);
    return s;
}

// What both generations of the special registers have.
template <class In, class Out>
void copy_common(const In& in, Out& out) {
    out.cs = in.cs, out.ds = in.ds, out.es = in.es, out.fs = in.fs, out.gs = in.gs, out.ss = in.ss;
    out.tr = in.tr, out.ldt = in.ldt, out.gdt = in.gdt, out.idt = in.idt;
    out.cr0 = in.cr0, out.cr2 = in.cr2, out.cr3 = in.cr3, out.cr4 = in.cr4, out.cr8 = in.cr8;
    out.efer = in.efer, out.apic_base = in.apic_base;
}

// MSRs that are state (SDM vol. 4, table 2-2), by member.
struct MsrRow {
    u32 index;
    u64 Msrs::* member;
};
constexpr MsrRow kMsrs[] = {
    {0x48, &Msrs::spec_ctrl},     {0x174, &Msrs::sysenter_cs},
    {0x175, &Msrs::sysenter_esp}, {0x176, &Msrs::sysenter_eip},
    {0x17a, &Msrs::mcg_status},   {0x17b, &Msrs::mcg_ctl},
    {0x1a0, &Msrs::misc_enable},  {0x1d9, &Msrs::debugctl},
    {0x277, &Msrs::pat},          {0x2ff, &Msrs::mtrr_def_type},
    {0xda0, &Msrs::xss},          {0xc0000081, &Msrs::star},
    {0xc0000082, &Msrs::lstar},   {0xc0000083, &Msrs::cstar},
    {0xc0000084, &Msrs::fmask},   {0xc0000102, &Msrs::kernel_gs_base},
    {0xc0000103, &Msrs::tsc_aux},
};
constexpr u32 kMtrrVariable = 0x200, kMtrrDefType = 0x2ff;
constexpr u32 kMtrrFixed[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

}  // namespace

void to_kvm(const State& s, kvm_regs& r) {
    for (const GprRow& row : kGprs) r.*row.member = s.gpr[row.gpr];
    r.rip = s.rip;
    r.rflags = s.rflags;
}

void from_kvm(const kvm_regs& r, State& s) {
    for (const GprRow& row : kGprs) s.gpr[row.gpr] = r.*row.member;
    s.rip = r.rip;
    s.rflags = r.rflags;
}

void to_kvm(const State& s, u8 cr8, kvm_sregs2& r) {
    constexpr u64 kPg = u64{1} << 31, kPae = u64{1} << 5, kLma = u64{1} << 10;
    for (const SegmentRow& row : kSegments) r.*row.member = to_segment(s.seg[row.segment]);
    r.tr = to_segment(s.tr);
    r.ldt = to_segment(s.ldtr);
    r.gdt.base = s.gdtr.base;
    r.gdt.limit = s.gdtr.limit;
    r.idt.base = s.idtr.base;
    r.idt.limit = s.idtr.limit;
    r.cr0 = s.cr0;
    r.cr2 = s.cr2;
    r.cr3 = s.cr3;
    r.cr4 = s.cr4;
    r.cr8 = cr8;
    r.efer = s.msr.efer;
    r.apic_base = s.msr.apic_base;
    const bool pdptes = (s.cr0 & kPg) != 0 && (s.cr4 & kPae) != 0 && (s.msr.efer & kLma) == 0;
    r.flags = pdptes ? KVM_SREGS2_FLAGS_PDPTRS_VALID : 0;
    std::copy(s.pdpte.begin(), s.pdpte.end(), r.pdptrs);
}

void from_kvm(const kvm_sregs2& r, State& s) {
    for (const SegmentRow& row : kSegments) s.seg[row.segment] = from_segment(r.*row.member);
    s.tr = from_segment(r.tr);
    s.ldtr = from_segment(r.ldt);
    s.gdtr = {r.gdt.base, r.gdt.limit};
    s.idtr = {r.idt.base, r.idt.limit};
    s.cr0 = r.cr0;
    s.cr2 = r.cr2;
    s.cr3 = r.cr3;
    s.cr4 = r.cr4;
    s.msr.efer = r.efer;
    s.msr.apic_base = r.apic_base;
    if ((r.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID) != 0) std::copy_n(r.pdptrs, s.pdpte.size(), s.pdpte.begin());
}

void narrow(const kvm_sregs2& in, kvm_sregs& out) { copy_common(in, out); }
void widen(const kvm_sregs& in, kvm_sregs2& out) { copy_common(in, out); }

void to_kvm(const State& s, kvm_debugregs& r) {
    std::copy(s.dr.begin(), s.dr.end(), r.db);
    r.dr6 = s.dr6;
    r.dr7 = s.dr7;
}

void from_kvm(const kvm_debugregs& r, State& s) {
    std::copy_n(r.db, s.dr.size(), s.dr.begin());
    s.dr6 = r.dr6;
    s.dr7 = r.dr7;
}

void to_kvm(const State& s, bool payload, kvm_vcpu_events& e) {
    e = {};
    e.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
    e.nmi.masked = s.nmi_blocked;
    e.nmi.pending = s.nmi_pending;
    e.interrupt.shadow =
        static_cast<u8>((s.mov_ss_shadow ? KVM_X86_SHADOW_INT_MOV_SS : 0) | (s.sti_shadow ? KVM_X86_SHADOW_INT_STI : 0));
    constexpr u8 kDebug = 1, kPageFault = 14, kExceptions = 32;
    if (!s.pending.valid) {
        if (s.debug_trap == 0) return;
        // A #DB trap that is due at this boundary.
        e.exception.nr = kDebug;
        if (payload) {
            e.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
            e.exception.pending = 1;
            e.exception_has_payload = 1;
            e.exception_payload = s.debug_trap;
        } else {
            e.exception.injected = 1;
        }
        return;
    }
    if (s.pending.software || s.pending.vector >= kExceptions) {
        e.interrupt.injected = 1;
        e.interrupt.soft = s.pending.software;
        e.interrupt.nr = s.pending.vector;
        return;
    }
    // With a payload the exception is still pending: KVM moves the payload to CR2 or DR6 when it delivers it. Without one
    // the registers have it already.
    e.exception.nr = s.pending.vector;
    e.exception.has_error_code = s.pending.has_error;
    e.exception.error_code = s.pending.error;
    if (payload) {
        e.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
        e.exception.pending = 1;
        e.exception_has_payload = s.pending.vector == kDebug || s.pending.vector == kPageFault;
        e.exception_payload = s.pending.payload;
    } else {
        e.exception.injected = 1;
    }
}

void from_kvm(const kvm_vcpu_events& e, State& s) {
    s.nmi_blocked = e.nmi.masked != 0;
    s.nmi_pending = e.nmi.pending != 0 || e.nmi.injected != 0;
    s.mov_ss_shadow = (e.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS) != 0;
    s.sti_shadow = (e.interrupt.shadow & KVM_X86_SHADOW_INT_STI) != 0;
    s.pending = {};
    s.debug_trap = 0;
    constexpr u8 kDebug = 1;
    if (e.exception.pending != 0 && e.exception.nr == kDebug && e.exception_has_payload != 0) {
        s.debug_trap = e.exception_payload;
    } else if (e.exception.injected != 0 || e.exception.pending != 0) {
        s.pending.valid = true;
        s.pending.vector = e.exception.nr;
        s.pending.has_error = e.exception.has_error_code != 0;
        s.pending.error = e.exception.error_code;
        s.pending.payload = e.exception_has_payload != 0 ? e.exception_payload : s.pending.vector == 14 ? s.cr2 : 0;
    } else if (e.interrupt.injected != 0) {
        s.pending.valid = true;
        s.pending.vector = e.interrupt.nr;
        s.pending.software = e.interrupt.soft != 0;
    }
}

std::vector<kvm_msr_entry> to_msrs(const State& s, std::span<const u32> supported) {
    std::vector<kvm_msr_entry> list;
    const auto add = [&](u32 index, u64 value) { list.push_back({index, 0, value}); };
    const auto has = [&](u32 index) { return std::find(supported.begin(), supported.end(), index) != supported.end(); };
    for (const MsrRow& row : kMsrs) {
        if (has(row.index) || row.index == kMtrrDefType) add(row.index, s.msr.*row.member);
    }
    for (std::size_t i = 0; i < std::size(kMtrrFixed); ++i) add(kMtrrFixed[i], s.msr.mtrr_fixed[i]);
    for (u32 i = 0; i < s.msr.mtrr_variable.size(); ++i) add(kMtrrVariable + i, s.msr.mtrr_variable[i]);
    return list;
}

void from_msr(const kvm_msr_entry& e, State& s) {
    for (const MsrRow& row : kMsrs) {
        if (row.index == e.index) s.msr.*row.member = e.data;
    }
    for (std::size_t i = 0; i < std::size(kMtrrFixed); ++i) {
        if (kMtrrFixed[i] == e.index) s.msr.mtrr_fixed[i] = e.data;
    }
    if (e.index - kMtrrVariable < s.msr.mtrr_variable.size()) s.msr.mtrr_variable[e.index - kMtrrVariable] = e.data;
}

}  // namespace tandem::accel::kvm
