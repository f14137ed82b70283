// SVM's instructions but VMRUN, and its registers: AMD APM volume 2, 15.5, 15.17, 15.30; volume 3, chapter 4.
#include "cpu/x86/system/svm.h"

#include "cpu/x86/system/svm_events.h"
#include "jit/guest/worlds.h"

namespace tandem::cpu::x86 {

namespace {

// #UD without EFER.SVME, #GP(0) above CPL 0, then the intercept (15.9): false. The lifter has refused real and virtual-8086
// mode.
bool allowed(TranslateState& t, u64 code, u64 next) {
    State& s = t.s;
    if ((s.msr.efer & efer::SVME) == 0) return fault(t, kUD);
    if (!require_cpl0(t)) return false;
    if (!intercepts(s, code)) return true;
    exit_due(t, {code, 0, 0, next, false});
    return false;
}

// A guest's own GIF where it is virtual (15.33.2), else the processor's.
void set_gif(Svm& svm, bool on) {
    if (svm.guest && (svm.v_intr & v_intr::GifEnable) != 0) {
        svm.v_intr = on ? svm.v_intr | v_intr::Gif : svm.v_intr & ~v_intr::Gif;
    } else {
        svm.gif = on;
    }
}

// What VMLOAD and VMSAVE move beside segments.
struct SavedMsr {
    u32 offset;
    u64 Msrs::* member;
};
constexpr SavedMsr kSavedMsrs[] = {
    {vmcb::Star, &Msrs::star},
    {vmcb::Lstar, &Msrs::lstar},
    {vmcb::Cstar, &Msrs::cstar},
    {vmcb::Sfmask, &Msrs::fmask},
    {vmcb::KernelGsBase, &Msrs::kernel_gs_base},
    {vmcb::SysenterCs, &Msrs::sysenter_cs},
    {vmcb::SysenterEsp, &Msrs::sysenter_esp},
    {vmcb::SysenterEip, &Msrs::sysenter_eip},
};

constexpr SavedMsr kBranchMsrs[] = {
    {vmcb::DbgCtl, &Msrs::debugctl},
    {vmcb::BranchFrom, &Msrs::last_branch_from},
    {vmcb::BranchTo, &Msrs::last_branch_to},
    {vmcb::ExceptionFrom, &Msrs::last_exception_from},
    {vmcb::ExceptionTo, &Msrs::last_exception_to},
};

}  // namespace

void load_guest_branches(State& s, const Vmcb& v) {
    for (std::size_t i = 0; i < std::size(kBranchMsrs); ++i) {
        u64& msr = s.msr.*kBranchMsrs[i].member;
        s.svm.host.branches[i] = msr;
        msr = v.get(kBranchMsrs[i].offset);
    }
    s.msr.debugctl &= debugctl::LBR | debugctl::BTF;
}

void leave_guest_branches(State& s, Vmcb* v) {
    for (std::size_t i = 0; i < std::size(kBranchMsrs); ++i) {
        u64& msr = s.msr.*kBranchMsrs[i].member;
        if (v != nullptr) v->put(kBranchMsrs[i].offset, msr);
        msr = s.svm.host.branches[i];
    }
}

bool begin_with_vmcb(TranslateState& t, u64 code, u64 next, u64& address) {
    if (!allowed(t, code, next)) return false;
    address = code64(t.s) ? t.s.gpr[RAX] : t.s.gpr[RAX] & 0xffffffff;
    return ((address & mask(12)) == 0 && (address >> t.model->physical_bits()) == 0) || fault(t, kGP);
}

namespace {
// What VMLOAD and VMSAVE work on: with their virtualization a guest's address is guest-physical (15.33.1).
bool begin_transfer(TranslateState& t, u64 code, u64 next, u64& address) {
    constexpr u64 kVirtual = 2;
    if (!begin_with_vmcb(t, code, next, address)) return false;
    if (!nested_paging(t.s) || !t.model->has(Feature::SVM_V_VMSAVE_VMLOAD)) return true;
    if ((Vmcb(t, t.s.svm.vmcb).get(vmcb::VirtExt) & kVirtual) == 0) return true;
    return nested_translate(t, address, code == exit_code::Vmsave ? jit::Access::Write : jit::Access::Read, address);
}
}  // namespace

LeaveReason vmload(TranslateState* t, u64 next) {
    State& s = t->s;
    u64 address = 0;
    if (!begin_transfer(*t, exit_code::Vmload, next, address)) return failed(*t);
    const unsigned linear_bits = t->model->linear_bits();
    const Vmcb v(*t, address, linear_bits);
    s.seg[FS] = v.segment(vmcb::Fs);
    s.seg[GS] = v.segment(vmcb::Gs);
    s.ldtr = v.segment(vmcb::Ldtr);
    s.tr = v.segment(vmcb::Tr);
    for (const SavedMsr& m : kSavedMsrs) s.msr.*m.member = v.get(m.offset);
    s.msr.kernel_gs_base = static_cast<u64>(sign_extend(s.msr.kernel_gs_base, linear_bits));
    return LeaveReason::None;
}

LeaveReason vmsave(TranslateState* t, u64 next) {
    State& s = t->s;
    u64 address = 0;
    if (!begin_transfer(*t, exit_code::Vmsave, next, address)) return failed(*t);
    Vmcb v(*t, address);
    v.put_segment(vmcb::Fs, s.seg[FS]);
    v.put_segment(vmcb::Gs, s.seg[GS]);
    v.put_segment(vmcb::Ldtr, s.ldtr);
    v.put_segment(vmcb::Tr, s.tr);
    for (const SavedMsr& m : kSavedMsrs) v.put(m.offset, s.msr.*m.member);
    return LeaveReason::None;
}

LeaveReason stgi(TranslateState* t, u64 next) {
    if (!allowed(*t, exit_code::Stgi, next)) return failed(*t);
    set_gif(t->s.svm, true);
    return LeaveReason::None;
}

LeaveReason clgi(TranslateState* t, u64 next) {
    if (!allowed(*t, exit_code::Clgi, next)) return failed(*t);
    set_gif(t->s.svm, false);
    return LeaveReason::None;
}

LeaveReason invlpga(TranslateState* t, u64 next) {
    State& s = t->s;
    if (!allowed(*t, exit_code::Invlpga, next)) return failed(*t);
    NestedEvent event;
    event.kind = NestedEvent::Kind::Invlpga;
    event.rip = s.rip;
    event.address = linear(s, s.gpr[RAX]);
    event.asid = static_cast<u32>(s.gpr[RCX]);
    t->platform->nested_event(event);
    if (canonical(s, event.address)) jit::tlb_flush_world_page(t, event.asid, event.address);
    return LeaveReason::None;
}

// Not offered: whoever executes it gets as far as a hypervisor's intercept.
LeaveReason skinit(TranslateState* t, u64 next) {
    State& s = t->s;
    if (!allowed(*t, exit_code::Skinit, next)) return failed(*t);
    NestedEvent event;
    event.kind = NestedEvent::Kind::Skinit;
    event.rip = s.rip;
    event.address = s.gpr[RAX] & 0xffff0000;
    t->platform->nested_event(event);
    return raise(*t, kUD);
}

bool write_vm_cr(TranslateState& t, u64 value) {
    constexpr u64 kPlain = vm_cr::Dpd | vm_cr::RInit | vm_cr::DisA20m;
    const bool lockable = t.model->has(Feature::SVM_LOCK);
    if ((value & ~(kPlain | vm_cr::SvmDis | (lockable ? vm_cr::Lock : 0))) != 0) return false;
    // "Regardless of the current state of LOCK."
    if ((value & vm_cr::SvmDis) != 0 && (t.s.msr.efer & efer::SVME) != 0) return false;
    u64& current = t.s.svm.vm_cr;
    const u64 writable = (current & vm_cr::Lock) != 0 ? kPlain : ~u64{0};
    current = (value & writable) | (current & ~writable);
    return true;
}

bool write_svm_key(TranslateState& t, u64 value) {
    Svm& svm = t.s.svm;
    if ((svm.vm_cr & vm_cr::Lock) == 0) {
        svm.key = value;
    } else if (value != 0 && value == svm.key) {
        svm.vm_cr &= ~vm_cr::Lock;
    }
    return true;
}

u64 visible_tsc(const TranslateState& t) {
    const State& s = t.s;
    const u64 own = t.platform->tsc() + s.msr.tsc_offset;
    if (!s.svm.guest) return own;
    const auto scaled = static_cast<unsigned __int128>(own) * s.msr.tsc_ratio >> 32;
    return static_cast<u64>(scaled) + s.svm.tsc_offset;
}

bool write_hsave_pa(TranslateState& t, u64 value) {
    if ((value & mask(12)) != 0 || (value >> t.model->physical_bits()) != 0) return false;
    t.s.svm.hsave_pa = value;
    return true;
}

u8 task_priority(const TranslateState& t) {
    const Svm& svm = t.s.svm;
    if (svm.guest && (svm.v_intr & v_intr::Masking) != 0) return static_cast<u8>(svm.v_intr & 15);
    return t.platform->cr8_read() & 15u;
}

void set_task_priority(TranslateState& t, u8 value) {
    Svm& svm = t.s.svm;
    if (svm.guest) svm.v_intr = (svm.v_intr & ~v_intr::Tpr) | value;
    if (!svm.guest || (svm.v_intr & v_intr::Masking) == 0) t.platform->cr8_write(value);
}

}  // namespace tandem::cpu::x86
