// Virtual-8086 mode extensions and protected-mode virtual interrupts (CR4.VME, CR4.PVI): SDM volume 3, 20.3 and 20.4; volume
// 2 "CLI", "STI", "PUSHF", "POPF", "IRET", "INT n".
#include "cpu/x86/system/internal.h"

namespace tandem::cpu::x86 {

namespace {

bool vme(const State& s) { return (s.cr4 & cr4::VME) != 0; }

// The flags that a virtual-8086 task below IOPL 3 sees: IF is VIF, IOPL is 3.
u64 virtual_image(u64 flags) { return (flags & ~eflags::IF) | eflags::IOPL | ((flags & eflags::VIF) != 0 ? eflags::IF : 0); }

bool redirected(TranslateState& t, u8 vector, bool& out) {
    constexpr u32 kMapBaseOffset = 0x66, kMapBytes = 32;
    const Segment& tr = t.s.tr;
    const bool tss32 = usable(tr) && (tr.access & 0xf) == kTss32Busy;
    if (!tss32 || tr.limit < kMapBaseOffset + 1) return fault(t, kGP);
    u16 io_map = 0;
    u8 map = 0;
    if (!read_system(t, tr.base + kMapBaseOffset, io_map)) return false;
    const u32 offset = u32{io_map} - kMapBytes + vector / 8;
    if (offset > tr.limit) return fault(t, kGP);
    if (!read_system(t, tr.base + offset, map)) return false;
    out = !bit(map, vector % 8);
    return true;
}

// As in real-address mode, through the table at linear address 0.
bool enter_8086_handler(TranslateState& t, u8 vector, u64 next) {
    State& s = t.s;
    const bool direct = iopl(s) == 3;
    u32 entry = 0;
    if (!jit::load(&t, u64{vector} * 4, data_mmu(s), entry)) return false;
    Stack stack(t);
    const u64 flags = direct ? s.rflags : virtual_image(s.rflags);
    if (!stack.push(flags & 0xffff, 2) || !stack.push(s.seg[CS].selector, 2) || !stack.push(next & 0xffff, 2)) return false;
    stack.commit();
    set_real_segment(s.seg[CS], static_cast<u16>(entry >> 16));
    s.rip = entry & 0xffff;
    s.rflags &= ~(eflags::TF | eflags::NT | eflags::RF | (direct ? eflags::IF : eflags::VIF));
    return true;
}

}  // namespace

bool virtual_interrupt_flag(const State& s) {
    if (iopl(s) == 3) return false;
    return vm86(s) ? vme(s) : protected_mode(s) && cpl(s) == 3 && (s.cr4 & cr4::PVI) != 0;
}

bool set_virtual_interrupts(TranslateState& t, bool on) {
    State& s = t.s;
    if (on && (s.rflags & eflags::VIP) != 0) return fault(t, kGP);
    s.rflags = on ? s.rflags | eflags::VIF : s.rflags & ~eflags::VIF;
    return true;
}

bool virtual_flags(const State& s, u32 opsize) { return vm86(s) && iopl(s) < 3 && vme(s) && opsize == 2; }

u64 virtual_flags_image(TranslateState& t) { return virtual_image(read_flags(t)); }

bool check_virtual_flags(TranslateState& t, u64 image) {
    const bool pending = (t.s.rflags & eflags::VIP) != 0 && (image & eflags::IF) != 0;
    return (!pending && (image & eflags::TF) == 0) || fault(t, kGP);
}

void write_virtual_flags(TranslateState& t, u64 image) {
    const u64 vif = (image & eflags::IF) != 0 ? eflags::VIF : 0;
    write_flags(t, (image & 0xffff) | vif, eflags::Arithmetic | eflags::DF | eflags::NT | eflags::VIF);
}

VirtualInterrupt virtual_interrupt(TranslateState& t, u8 vector, u64 next) {
    const State& s = t.s;
    if (vme(s)) {
        bool to_8086 = false;
        if (!redirected(t, vector, to_8086)) return VirtualInterrupt::Fault;
        if (to_8086) return enter_8086_handler(t, vector, next) ? VirtualInterrupt::Done : VirtualInterrupt::Fault;
    }
    if (iopl(s) == 3) return VirtualInterrupt::Protected;
    fault(t, kGP);
    return VirtualInterrupt::Fault;
}

}  // namespace tandem::cpu::x86
