// VMRUN and #VMEXIT: AMD APM volume 2, 15.5, 15.6 and 15.20.
#include "cpu/x86/decode/instruction.h"
#include "cpu/x86/mode.h"
#include "cpu/x86/system/limits.h"
#include "cpu/x86/system/svm.h"
#include "cpu/x86/system/svm_events.h"
#include "jit/guest/worlds.h"

namespace tandem::cpu::x86 {

namespace {

// A 4 KiB page for I/O permissions and two more; two for MSRs.
constexpr u64 kIopmBytes = 0x3000, kMsrpmBytes = 0x2000;

struct SavedSegment {
    SegReg reg;
    u32 offset;
};
constexpr SavedSegment kSavedSegments[] = {{ES, vmcb::Es}, {CS, vmcb::Cs}, {SS, vmcb::Ss}, {DS, vmcb::Ds}};

// A register that VMRUN loads and #VMEXIT saves as it is.
struct SavedRegister {
    u32 offset;
    u64 State::* member;
};
constexpr SavedRegister kSavedRegisters[] = {
    {vmcb::Cr0, &State::cr0}, {vmcb::Cr2, &State::cr2}, {vmcb::Cr3, &State::cr3}, {vmcb::Cr4, &State::cr4},
    {vmcb::Dr6, &State::dr6}, {vmcb::Dr7, &State::dr7}, {vmcb::Rip, &State::rip}, {vmcb::Rflags, &State::rflags},
};

SvmHost host_of(const State& s, u64 next) {
    SvmHost h;
    for (std::size_t i = 0; i < h.seg.size(); ++i) h.seg[i] = s.seg[kSavedSegments[i].reg];
    h.gdtr = s.gdtr;
    h.idtr = s.idtr;
    h.efer = s.msr.efer;
    h.cr0 = s.cr0;
    h.cr3 = s.cr3;
    h.cr4 = s.cr4;
    h.rflags = s.rflags;
    h.rip = next;
    h.rsp = s.gpr[RSP];
    h.rax = s.gpr[RAX];
    h.pat = s.msr.pat;
    return h;
}

void load_controls(const CpuModel& model, Svm& svm, const Vmcb& v) {
    for (unsigned i = 0; i < svm.intercepts.size(); ++i) {
        svm.intercepts[i] = static_cast<u32>(v.get(vmcb::Intercepts + i * 4, 4));
    }
    svm.iopm = v.get(vmcb::IopmBase) & ~mask(12);
    svm.msrpm = v.get(vmcb::MsrpmBase) & ~mask(12);
    svm.tsc_offset = v.get(vmcb::TscOffset);
    svm.asid = static_cast<u32>(v.get(vmcb::Asid, 4));
    svm.v_intr = v.get(vmcb::VIntr);
    if (!model.has(Feature::SVM_VGIF)) svm.v_intr &= ~v_intr::GifEnable;
    svm.nested_paging = (v.get(vmcb::NestedControl) & 1) != 0;
    svm.nested_cr3 = v.get(vmcb::NestedCr3);
    svm.injected = v.get(vmcb::EventInjection);
    svm.injected_rip = v.get(vmcb::NextRip);
    const bool filter = model.has(Feature::SVM_PAUSE_FILTER), threshold = model.has(Feature::SVM_PF_THRESHOLD);
    svm.pause_left = svm.pause_count = filter ? static_cast<u16>(v.get(vmcb::PauseCount, 2)) : u16{0};
    svm.pause_threshold = threshold ? static_cast<u16>(v.get(vmcb::PauseThreshold, 2)) : u16{0};
    svm.pause_window = 0;
    svm.branches = model.has(Feature::SVM_LBRV) && (v.get(vmcb::VirtExt) & 1) != 0;
}

void load_guest(State& s, const Vmcb& v) {
    for (const SavedSegment& seg : kSavedSegments) s.seg[seg.reg] = v.segment(seg.offset);
    s.gdtr = v.table(vmcb::Gdtr);
    s.idtr = v.table(vmcb::Idtr);
    if (s.svm.branches) load_guest_branches(s, v);
    for (const SavedRegister& r : kSavedRegisters) s.*r.member = v.get(r.offset);
    s.rflags = (s.rflags & eflags::Defined) | eflags::One;
    s.cr0 |= cr0::ET;
    s.dr6 |= 0xffff0ff0;
    s.dr7 |= 0x400;
    s.gpr[RSP] = v.get(vmcb::Rsp);
    s.gpr[RAX] = v.get(vmcb::Rax);
    s.msr.efer = v.get(vmcb::Efer);
    const bool long_mode = (s.msr.efer & efer::LME) != 0 && (s.cr0 & cr0::PG) != 0;
    s.msr.efer = long_mode ? s.msr.efer | efer::LMA : s.msr.efer & ~efer::LMA;
    if (s.svm.nested_paging) s.msr.pat = v.get(vmcb::GPat);
    // Real mode runs at level 0 and virtual-8086 mode at 3, whatever the VMCB says (15.5.1).
    const u64 level = !protected_mode(s) ? 0 : vm86(s) ? 3 : v.get(vmcb::Cpl, 1) & 3;
    s.seg[SS].access = static_cast<u16>((s.seg[SS].access & ~0x60u) | level << 5);
    s.sti_shadow = (v.get(vmcb::InterruptShadow) & 1) != 0;
    s.mov_ss_shadow = false;
    s.activity = Activity::Running;
    s.debug_trap = 0;
}

bool valid_injection(const State& s) {
    // Vectors of exceptions that there are, the NMI's not among them.
    constexpr u64 kExceptions = bits(~u64{0}, 8, 0) & ~(u64{1} << kNMI);
    constexpr u64 kValid = kExceptions | 0x1fu << kTS | 0xfu << kMF | 1u << kSX;
    const u64 event = s.svm.injected;
    if ((event & event_info::Valid) == 0) return true;
    const u64 type = bits(event, 10, 8), vector = event & 0xff;
    if (type == event_info::Exception) {
        if (vector >= 32 || !bit(kValid, static_cast<unsigned>(vector))) return false;
        return !(vector == kBR && long_mode(s)) && !(vector == kOF && code64(s));
    }
    return type == event_info::Interrupt || type == event_info::Nmi || type == event_info::Software;
}

// "Canonicalization and consistency checks" (15.5.1), of the state that VMRUN has loaded.
bool consistent(const TranslateState& t) {
    const State& s = t.s;
    const Svm& svm = s.svm;
    const u64 beyond = ~mask(t.model->physical_bits());
    const bool paging = (s.cr0 & cr0::PG) != 0, lme = (s.msr.efer & efer::LME) != 0;
    const bool tables = ((svm.iopm + kIopmBytes - 1) & beyond) == 0 && ((svm.msrpm + kMsrpmBytes - 1) & beyond) == 0;
    const bool control = intercepts(s, exit_code::Vmrun) && svm.asid != 0 && tables && valid_injection(s);
    // PG without PE is paged real mode (15.19), but in long mode.
    const bool cr0_ok = (s.cr0 >> 32) == 0 && ((s.cr0 & cr0::CD) != 0 || (s.cr0 & cr0::NW) == 0) &&
                        (!paging || !lme || (s.cr0 & cr0::PE) != 0);
    const bool efer_ok = (s.msr.efer & efer::SVME) != 0 && (s.msr.efer & ~(writable_efer(*t.model) | efer::LMA)) == 0;
    const bool cr_ok = (!long_mode(s) || (s.cr3 & beyond) == 0) && (s.cr4 & ~cr4_allowed(*t.model)) == 0;
    // 15.25.3 and 15.25.4
    const bool nested_ok = !svm.nested_paging || ((svm.host.cr0 & cr0::PG) != 0 && (svm.nested_cr3 & beyond) == 0 &&
                                                  every_byte(s.msr.pat, pat_type));
    const bool debug_ok = (s.dr6 >> 32) == 0 && (s.dr7 >> 32) == 0;
    const u16 cs = s.seg[CS].access;
    const bool mode_ok =
        !(lme && paging) || ((s.cr4 & cr4::PAE) != 0 && (cs & (access::L | access::DB)) != (access::L | access::DB));
    return control && cr0_ok && efer_ok && cr_ok && nested_ok && debug_ok && mode_ok;
}

bool pae_paging(const State& s) { return (s.cr0 & cr0::PG) != 0 && (s.cr4 & cr4::PAE) != 0 && !long_mode(s); }

// What the current translations depend on; a hypervisor that changes it in a VMCB is spared the flush that it should ask
// for.
constexpr std::size_t kStampCr3 = 1;
jit::WorldStamp stamp(const State& s) {
    const bool nested = nested_paging(s);
    const SvmHost& host = s.svm.host;
    const u64 modes = s.cr0 & (cr0::PE | cr0::WP | cr0::PG);
    const u64 host_modes = nested ? 1 | (host.cr0 & cr0::PG) : 0;
    return {modes,
            s.cr3,
            s.cr4,
            s.msr.efer,
            host_modes,
            nested ? s.svm.nested_cr3 : 0,
            nested ? host.cr4 ^ host.efer << 32 : 0,
            (s.cr4 & cr4::PKE) != 0 ? s.pkru : 0};
}

// 0: the host's.
void enter_world(TranslateState& t, u64 asid, const jit::WorldStamp& left) {
    const jit::WorldStamp* const kept = jit::tlb_enter_world(&t, asid, left);
    if (kept == nullptr) return;
    const jit::WorldStamp now = stamp(t.s);
    // PAE's directory pointers may be others under the same CR3.
    const bool pointers = pae_paging(t.s) && !nested_paging(t.s);
    if (*kept == now && !pointers) return;
    jit::WorldStamp with_cr3 = *kept;
    with_cr3[kStampCr3] = now[kStampCr3];
    jit::tlb_flush(&t, with_cr3 == now && !pointers);
    jit::tlb_switch(&t);
}

// 15.16.2. What is reserved flushes everything, as does everything without flushing by ASID.
void control_tlb(TranslateState& t, u64 control) {
    enum : u64 { Nothing, All, ThisGuest = 3, ThisGuestButGlobal = 7 };
    if (control == Nothing) return;
    const bool by_asid = t.model->has(Feature::SVM_FLUSH_BY_ASID);
    if (by_asid && (control == ThisGuest || control == ThisGuestButGlobal)) {
        jit::tlb_flush(&t, control == ThisGuestButGlobal);
        if (control == ThisGuestButGlobal) jit::tlb_switch(&t);
    } else {
        jit::tlb_flush_worlds(&t);
    }
}

void save_guest(TranslateState& t, Vmcb& v) {
    const State& s = t.s;
    for (const SavedSegment& seg : kSavedSegments) v.put_segment(seg.offset, s.seg[seg.reg]);
    v.put_table(vmcb::Gdtr, s.gdtr);
    v.put_table(vmcb::Idtr, s.idtr);
    for (const SavedRegister& r : kSavedRegisters) v.put(r.offset, s.*r.member);
    v.put(vmcb::Rsp, s.gpr[RSP]);
    v.put(vmcb::Rax, s.gpr[RAX]);
    v.put(vmcb::Efer, s.msr.efer);
    v.put(vmcb::Cpl, cpl(s), 1);
    if (s.svm.nested_paging) v.put(vmcb::GPat, s.msr.pat);
}

// "Guest instruction bytes" (15.33.4), of a data access's page fault: as many as are mapped.
void put_instruction(TranslateState& t, Vmcb& v) {
    const u64 rip = linear(t.s, (code64(t.s) ? 0 : t.s.seg[CS].base) + t.s.rip);
    unsigned count = 0;
    for (u64 page = 0; count < kMaxInstructionLength; ++count) {
        const u64 va = linear(t.s, rip + count);
        if ((count == 0 || (va & ~jit::kPageMask) == 0) && !translate_debug(t, va, page)) break;
        page &= jit::kPageMask;
        v.put(vmcb::FetchedCount + 1 + count, jit::phys_load(&t, page | (va & ~jit::kPageMask), 1), 1);
    }
    v.put(vmcb::FetchedCount, count, 1);
}

bool has_instruction(const TranslateState& t, const SvmExit& exit, const Event* event) {
    constexpr u64 kFetch = 1u << 4;
    const bool page_fault = exit.code == exit_code::NestedPageFault || exit.code == exit_code::Exception0 + kPF;
    return page_fault && event == nullptr && (exit.info1 & kFetch) == 0 && t.model->has(Feature::SVM_DECODE_ASSISTS);
}

u64 exit_int_info(const Event* e) {
    if (e == nullptr) return 0;
    const u64 type = e->source == EventSource::External ? event_info::Interrupt
                     : e->source == EventSource::Nmi    ? event_info::Nmi
                     : e->source == EventSource::IntN   ? event_info::Software
                                                        : event_info::Exception;
    const u64 error = e->has_error ? event_info::HasError | u64{e->error} << event_info::kError : 0;
    return e->vector | type << event_info::kType | event_info::Valid | error;
}

void load_host(TranslateState& t) {
    State& s = t.s;
    const SvmHost h = s.svm.host;
    const bool nested = s.svm.nested_paging;
    s.svm.guest = s.svm.gif = false;
    for (std::size_t i = 0; i < h.seg.size(); ++i) s.seg[kSavedSegments[i].reg] = h.seg[i];
    s.gdtr = h.gdtr;
    s.idtr = h.idtr;
    s.msr.efer = h.efer;
    s.cr0 = h.cr0 | cr0::PE;
    s.cr3 = h.cr3;
    s.cr4 = h.cr4;
    s.rflags = h.rflags & ~eflags::VM;
    s.rip = h.rip;
    s.gpr[RSP] = h.rsp;
    s.gpr[RAX] = h.rax;
    if (nested) s.msr.pat = h.pat;
    s.dr7 = 0x400;
    s.sti_shadow = s.mov_ss_shadow = false;
    s.activity = Activity::Running;
    // VMRUN's own single step is due now that it is complete.
    const bool step = (s.rflags & eflags::TF) != 0 && (s.msr.debugctl & debugctl::BTF) == 0;
    s.debug_trap = step ? dr6::BS : 0;
    s.pending = {};
}

}  // namespace

LeaveReason vmrun(TranslateState* t, u64 next) {
    State& s = t->s;
    u64 address = 0;
    if (!begin_with_vmcb(*t, exit_code::Vmrun, next, address)) return failed(*t);
    export_flags(*t);
    const Vmcb v(*t, address, t->model->linear_bits());
    NestedEvent event;
    event.rip = s.rip;
    event.nested_rip = v.get(vmcb::Rip);
    event.address = address;
    const jit::WorldStamp left = stamp(s);
    s.svm.host = host_of(s, next);
    s.svm.vmcb = address;
    load_controls(*t->model, s.svm, v);
    event.v_intr = s.svm.v_intr;
    event.injected = s.svm.injected;
    event.nested_paging = s.svm.nested_paging;
    t->platform->nested_event(event);
    s.svm.guest = s.svm.gif = true;
    load_guest(s, v);
    import_flags(*t);
    enter_world(*t, s.svm.asid, left);
    control_tlb(*t, v.get(vmcb::TlbControl, 1));
    const bool pdptes = pae_paging(s) && !s.svm.nested_paging;
    if (!consistent(*t) || (pdptes && !load_pdptes(*t, s.cr3))) return exit_due(*t, {exit_code::Invalid, 0, 0, 0, false});
    if ((s.svm.injected & event_info::Valid) == 0) return LeaveReason::Lookup;
    s.pending = {};
    s.pending.valid = true;
    s.pending.kind = PendingKind::Injection;
    return LeaveReason::Exception;
}

Event injected_event(const State& s) {
    const u64 info = s.svm.injected;
    const u64 type = bits(info, 10, 8);
    Event e;
    // An NMI's vector is 2, whatever the field says (15.20, table 15-14).
    e.vector = type == event_info::Nmi ? u8{kNMI} : static_cast<u8>(info);
    e.has_error = (info & event_info::HasError) != 0;
    e.error = static_cast<u32>(info >> event_info::kError);
    e.return_rip = s.rip;
    const bool trap = type == event_info::Exception && (e.vector == kBP || e.vector == kOF);
    e.source = type == event_info::Interrupt  ? EventSource::External
               : type == event_info::Nmi      ? EventSource::Nmi
               : type == event_info::Software ? EventSource::IntN
               : trap                         ? EventSource::Int3OrInto
                                              : EventSource::Exception;
    // "The processor pushes nRIP" for what an instruction has asked for (15.20).
    if ((type == event_info::Software || trap) && s.svm.injected_rip != 0) e.return_rip = s.svm.injected_rip;
    e.set_rf = e.source == EventSource::Exception && exception_info(e.vector).kind == ExceptionKind::Fault;
    return e;
}

bool executes_in_shadow(const TranslateState& t) { return ModeBits(jit::header_of(&t).mode).has(ModeBits::kShadow); }

LeaveReason exit_due(TranslateState& t, const SvmExit& exit) {
    State& s = t.s;
    s.svm.exit = exit;
    s.pending = {};
    s.pending.valid = true;
    s.pending.kind = PendingKind::Exit;
    s.debug_trap = 0;
    return LeaveReason::Exception;
}

void leave_guest(TranslateState& t, const SvmExit& exit, const Event* event) {
    State& s = t.s;
    export_flags(t);
    settle_branch(t);
    Vmcb v(t, s.svm.vmcb);
    NestedEvent trace;
    trace.kind = NestedEvent::Kind::Exit;
    trace.rip = s.rip;
    trace.exit = exit;
    trace.exit_int_info = exit_int_info(event);
    t.platform->nested_event(trace);
    // What VMRUN refused has not run: its state is left as it was.
    if (exit.code != exit_code::Invalid) {
        save_guest(t, v);
        v.put(vmcb::VIntr, s.svm.v_intr);
        v.put(vmcb::InterruptShadow, (exit.shadow && event == nullptr) || shadow_active(s) ? 1 : 0);
        v.put(vmcb::NextRip, exit.next_rip);
        v.put(vmcb::FetchedCount, 0, 1);
        if (has_instruction(t, exit, event)) put_instruction(t, v);
    }
    v.put(vmcb::ExitCode, exit.code);
    v.put(vmcb::ExitInfo1, exit.info1);
    v.put(vmcb::ExitInfo2, exit.info2);
    v.put(vmcb::ExitIntInfo, trace.exit_int_info);
    v.put(vmcb::EventInjection, 0);
    const jit::WorldStamp left = stamp(s);
    if (s.svm.branches) leave_guest_branches(s, exit.code != exit_code::Invalid ? &v : nullptr);
    s.svm.branches = false;
    s.svm.pause_window = 0;
    load_host(t);
    import_flags(t);
    enter_world(t, 0, left);
    if (pae_paging(s) && !load_pdptes(t, s.cr3)) s.pending = {};
}

}  // namespace tandem::cpu::x86
