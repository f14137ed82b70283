// AMD's secure virtual machine: AMD APM volume 2, chapter 15; decision 0029. A #VMEXIT is a pending event
// (PendingKind::Exit), which whoever finds it due records and the delivery of exceptions carries out.
#pragma once

#include "cpu/x86/system/exceptions.h"
#include "cpu/x86/system/vmcb.h"

namespace tandem::cpu::x86 {

inline bool nested_paging(const State& s) { return s.svm.guest && s.svm.nested_paging; }

// Whether exit code `code` (below 192) is intercepted now.
inline bool intercepts(const State& s, u64 code) {
    return s.svm.guest && bit(s.svm.intercepts[code / 32], static_cast<unsigned>(code % 32));
}

// How VMRUN, VMLOAD and VMSAVE begin: what they refuse, their intercept, and then the VMCB's physical address in rAX.
bool begin_with_vmcb(TranslateState& t, u64 code, u64 next, u64& address);

// Records a #VMEXIT instead of the current instruction.
LeaveReason exit_due(TranslateState& t, const SvmExit& exit);
// The instruction that executes, and has not completed, stands in an interrupt shadow. In a guest it is a block of its own.
bool executes_in_shadow(const TranslateState& t);
// Carries out a #VMEXIT: the guest's state goes into its VMCB, the host's comes back (15.6). `event`: what was being
// delivered, or null.
void leave_guest(TranslateState& t, const SvmExit& exit, const Event* event = nullptr);
// #VMEXIT for an exception that is intercepted, before it has any effect: true.
bool exception_exits(TranslateState& t, const PendingEvent& e, const Event* during = nullptr);
// The event of EVENTINJ, which VMRUN has left in Svm::injected (15.20).
Event injected_event(const State& s);
// Before a software interrupt, a breakpoint or ICEBP: a #VMEXIT is recorded instead.
bool software_interrupt_exits(TranslateState& t, u8 vector, SoftwareInterrupt kind, u64 next);

// What RDTSC, RDTSCP and RDMSR show: a guest's time-stamp counter is the host's times TSC_RATIO, and TSC_OFFSET (15.30.5).
u64 visible_tsc(const TranslateState& t);

// Where nested paging has a guest-physical address. False: a #VMEXIT is pending.
bool nested_translate(TranslateState& t, u64 gpa, jit::Access kind, u64& phys);

// For IR, as svm_intercept() of system.h: INVLPG of `address`. In `spec` of MOV CR and MOV DR beside that one's flags: the
// general-purpose register.
LeaveReason svm_intercept_address(TranslateState* t, u32 spec, u64 address, u64 next);
LeaveReason svm_intercept_pause(TranslateState* t, u32 spec, u64 next);
// An instruction of Svm::pause_window has begun.
void pause_window_step(TranslateState* t);
constexpr u32 kInterceptGpr = 1u << 19;
constexpr unsigned kInterceptGprShift = 24;

// MSRs VM_CR, VM_HSAVE_PA and SVM_KEY (15.30, 15.31). False: #GP(0).
bool write_vm_cr(TranslateState& t, u64 value);
bool write_hsave_pa(TranslateState& t, u64 value);
bool write_svm_key(TranslateState& t, u64 value);

// DEBUGCTL and the last-branch MSRs are exchanged with the VMCB's while Svm::branches (15.23).
void load_guest_branches(State& s, const Vmcb& v);
void leave_guest_branches(State& s, Vmcb* v);  // null: the guest's are lost

// CR8: of a guest whose interrupts are virtual, V_TPR (15.21.1).
u8 task_priority(const TranslateState& t);
void set_task_priority(TranslateState& t, u8 value);

}  // namespace tandem::cpu::x86
