// Power-up and INIT: SDM volume 3, table 9-1.
#include "cpu/x86/state.h"

namespace tandem::cpu::x86 {

namespace {

constexpr u16 kData = 0x93, kCode = 0x9b, kLdtAccess = 0x82, kTssAccess = 0x8b;
constexpr u64 kApicBase = 0xfee00000, kApicEnable = 1u << 11, kApicBsp = 1u << 8;
constexpr u64 kLock = 1u << 3, kDisable = 1u << 4;  // of VM_CR
// What power-up and INIT have in common.
void reset_common(State& s, bool bsp, u32 signature) {
    s.gpr = {};
    s.gpr[RDX] = signature;
    s.rip = 0xfff0;
    s.rflags = 2;
    s.seg.fill({0, 0xffff, 0, kData});
    s.seg[CS] = {0xffff0000, 0xffff, 0xf000, kCode};
    s.ldtr = {0, 0xffff, 0, kLdtAccess};
    s.tr = {0, 0xffff, 0, kTssAccess};
    s.gdtr = s.idtr = {0, 0xffff};
    s.cr2 = s.cr3 = s.cr4 = 0;
    s.dr = {};
    s.dr6 = 0xffff0ff0;
    s.dr7 = 0x400;
    s.msr.efer = 0;
    s.pdpte = {};
    s.activity = bsp ? Activity::Running : Activity::WaitForSipi;
    s.debug_trap = 0;
    s.sti_shadow = s.mov_ss_shadow = s.nmi_blocked = s.nmi_pending = false;
    s.pending = {};
    // INIT ends the guest without a #VMEXIT and leaves VM_CR and VM_HSAVE_PA (APM volume 2, table 14-1), but for SVMDIS
    // where LOCK does not hold it (15.30.1).
    const Svm before = s.svm;
    s.svm = {};
    s.svm.vm_cr = (before.vm_cr & kLock) != 0 ? before.vm_cr : before.vm_cr & ~kDisable;
    s.svm.hsave_pa = before.hsave_pa;
    s.svm.key = before.key;
}

}  // namespace

void reset(State& s, bool bsp, u32 signature) {
    s = {};
    reset_common(s, bsp, signature);
    s.cr0 = 0x60000010;
    s.x87.fcw = 0x40;
    s.x87.valid = 0xff;
    s.msr.apic_base = kApicBase | kApicEnable | (bsp ? kApicBsp : 0);
}

void init(State& s, bool bsp, u32 signature) {
    constexpr u64 kCacheBits = 0x60000000;  // CD and NW are kept
    const u64 cache = s.cr0 & kCacheBits;
    reset_common(s, bsp, signature);
    s.cr0 = cache | 0x10;
}

void start_up(State& s, u8 vector) {
    if (s.activity != Activity::WaitForSipi) return;
    Segment& cs = s.seg[CS];
    cs.selector = static_cast<u16>(vector << 8);
    cs.base = u64{cs.selector} << 4;
    s.rip = 0;
    s.activity = Activity::Running;
}

}  // namespace tandem::cpu::x86
