// What runs beside SVM's instructions: interrupts of host and guest, and the events that traces show.
#pragma once

#include "cpu/x86/system/registers.h"

namespace tandem::cpu::x86 {

// Whether an external interrupt would be taken: a guest whose interrupts are virtual leaves that to the host's RFLAGS.IF
// (APM volume 2, 15.21.1), and without GIF there are none (15.17).
inline bool physical_interrupts_enabled(const State& s) {
    constexpr u64 kMasking = 1u << 24;
    const u64 flags = s.svm.guest && (s.svm.v_intr & kMasking) != 0 ? s.svm.host.rflags : s.rflags;
    return s.svm.gif && (flags & eflags::IF) != 0;
}

// Whether an INIT that arrives now is not taken as such: it waits in Svm::init_pending for what becomes of it.
inline bool init_held(const State& s) {
    constexpr u32 kIntercept = 1u << 3;  // of exit codes 60h to 7fh
    constexpr u64 kRedirect = 1u << 1;   // VM_CR.R_INIT
    if (s.activity == Activity::WaitForSipi || s.activity == Activity::Shutdown) return false;
    const bool intercepted = s.svm.guest && (s.svm.intercepts[3] & kIntercept) != 0;
    return !s.svm.gif || intercepted || (s.svm.vm_cr & kRedirect) != 0;
}

// Whether the guest's virtual interrupt would be taken now, or its intercept (15.21.4).
inline bool virtual_interrupt_due(const State& s) {
    constexpr u64 kIrq = 1u << 8, kGif = 1u << 9, kIgnoreTpr = 1u << 20, kGifEnable = 1u << 25;
    const u64 v = s.svm.v_intr;
    if ((v & kGifEnable) != 0 && (v & kGif) == 0) return false;
    if (!s.svm.guest || !s.svm.gif || (v & kIrq) == 0 || (s.rflags & eflags::IF) == 0) return false;
    return (v & kIgnoreTpr) != 0 || bits(v, 19, 16) > bits(v, 3, 0);
}

// Contract T3.
struct NestedEvent {
    enum class Kind : u8 { Run, Exit, Invlpga, Skinit };
    Kind kind = Kind::Run;
    u64 rip = 0;         // Run, Invlpga, Skinit: of the instruction; Exit: the guest's
    u64 nested_rip = 0;  // Run: where the guest goes on
    u64 address = 0;     // Run: the VMCB; Invlpga: linear; Skinit: of the secure loader block
    u32 asid = 0;        // Invlpga
    u64 v_intr = 0;      // Run
    u64 injected = 0;    // Run: EVENTINJ
    bool nested_paging = false;
    SvmExit exit{};         // Exit
    u64 exit_int_info = 0;  // Exit
};

}  // namespace tandem::cpu::x86
