// The virtual machine control block: AMD APM volume 2, appendix B. Offsets in bytes from its physical address; a field has 8
// bytes unless its line says otherwise. Little endian.
#pragma once

#include "base/bits.h"
#include "base/types.h"
#include "cpu/x86/state.h"
#include "cpu/x86/translate_state.h"
#include "jit/guest/memory.h"

namespace tandem::cpu::x86 {

namespace vmcb {
// Control area (table B-1).
constexpr u32 Intercepts = 0x000;  // six words of 4 bytes; bit n of the whole: exit code n
constexpr u32 IopmBase = 0x040;
constexpr u32 MsrpmBase = 0x048;
constexpr u32 TscOffset = 0x050;
constexpr u32 Asid = 0x058;             // 4
constexpr u32 TlbControl = 0x05c;       // 1
constexpr u32 PauseThreshold = 0x03c;   // 2
constexpr u32 PauseCount = 0x03e;       // 2
constexpr u32 VIntr = 0x060;            // V_TPR, V_IRQ ...
constexpr u32 InterruptShadow = 0x068;  // bit 0
constexpr u32 ExitCode = 0x070;
constexpr u32 ExitInfo1 = 0x078;
constexpr u32 ExitInfo2 = 0x080;
constexpr u32 ExitIntInfo = 0x088;
constexpr u32 NestedControl = 0x090;  // bit 0: NP_ENABLE
constexpr u32 EventInjection = 0x0a8;
constexpr u32 NestedCr3 = 0x0b0;
constexpr u32 VirtExt = 0x0b8;  // bit 0: last-branch MSRs are; bit 1: VMLOAD and VMSAVE are
constexpr u32 NextRip = 0x0c8;
constexpr u32 FetchedCount = 0x0d0;  // 1; then 15 bytes of the instruction
// State save area (table B-2). A segment: selector 2, attributes 2, limit 4, base 8.
constexpr u32 Es = 0x400, Cs = 0x410, Ss = 0x420, Ds = 0x430, Fs = 0x440, Gs = 0x450;
constexpr u32 Gdtr = 0x460, Ldtr = 0x470, Idtr = 0x480, Tr = 0x490;
constexpr u32 Cpl = 0x4cb;  // 1
constexpr u32 Efer = 0x4d0;
constexpr u32 Cr4 = 0x548, Cr3 = 0x550, Cr0 = 0x558;
constexpr u32 Dr7 = 0x560, Dr6 = 0x568;
constexpr u32 Rflags = 0x570, Rip = 0x578, Rsp = 0x5d8, Rax = 0x5f8;
constexpr u32 Star = 0x600, Lstar = 0x608, Cstar = 0x610, Sfmask = 0x618, KernelGsBase = 0x620;
constexpr u32 SysenterCs = 0x628, SysenterEsp = 0x630, SysenterEip = 0x638;
constexpr u32 Cr2 = 0x640;
constexpr u32 GPat = 0x668;
constexpr u32 DbgCtl = 0x670, BranchFrom = 0x678, BranchTo = 0x680, ExceptionFrom = 0x688, ExceptionTo = 0x690;
}  // namespace vmcb

// MSR C001_0114 (15.30.1).
namespace vm_cr {
constexpr u64 Dpd = 1u << 0, RInit = 1u << 1, DisA20m = 1u << 2, Lock = 1u << 3, SvmDis = 1u << 4;
}  // namespace vm_cr

// Bits of VMCB offset 060h.
namespace v_intr {
constexpr u64 Tpr = 0xff, Irq = 1u << 8, Gif = 1u << 9, IgnoreTpr = 1u << 20, Masking = 1u << 24, GifEnable = 1u << 25;
constexpr unsigned kPriority = 16, kVector = 32;  // of 4 and 8 bits
}  // namespace v_intr

// EVENTINJ and EXITINTINFO (15.20): vector, type, error code.
namespace event_info {
constexpr u64 HasError = 1u << 11, Valid = 1u << 31;
constexpr unsigned kType = 8, kError = 32;
enum Type : u64 { Interrupt = 0, Nmi = 2, Exception = 3, Software = 4 };
}  // namespace event_info

// Exit codes (appendix C). An interceptable event's is the number of its bit among the intercepts.
namespace exit_code {
constexpr u64 ReadCr0 = 0x00, WriteCr0 = 0x10, ReadDr0 = 0x20, WriteDr0 = 0x30, Exception0 = 0x40, Intr = 0x60, Nmi = 0x61,
              Init = 0x63, Vintr = 0x64, Cr0SelectiveWrite = 0x65, IdtrRead = 0x66, GdtrRead = 0x67, LdtrRead = 0x68,
              TrRead = 0x69, Rdtsc = 0x6e, Rdpmc = 0x6f, Pushf = 0x70, Popf = 0x71, Iret = 0x74, SoftwareInt = 0x75,
              Pause = 0x77, Invlpg = 0x79, Invlpga = 0x7a, Ioio = 0x7b, Msr = 0x7c, TaskSwitch = 0x7d, Shutdown = 0x7f,
              Vmrun = 0x80, Vmmcall = 0x81, Vmload = 0x82, Vmsave = 0x83, Stgi = 0x84, Clgi = 0x85, Skinit = 0x86,
              Rdtscp = 0x87, Icebp = 0x88, Xsetbv = 0x8d, NestedPageFault = 0x400, Invalid = ~u64{0};
}  // namespace exit_code

// One VMCB in guest memory. vCPU thread.
class Vmcb {
public:
    // `linear_bits`: to which width base addresses are sign-extended as they are read (15.5.1).
    Vmcb(TranslateState& t, u64 address, unsigned linear_bits = 64) : t_(t), address_(address), linear_bits_(linear_bits) {}

    [[nodiscard]] u64 get(u32 offset, unsigned size = 8) const { return jit::phys_load(&t_, address_ + offset, size); }
    void put(u32 offset, u64 value, unsigned size = 8) { jit::phys_store(&t_, address_ + offset, value, size); }

    // Attributes are a descriptor's bits 55:52 and 47:40 (15.5.1).
    [[nodiscard]] Segment segment(u32 offset) const {
        const u64 low = get(offset);
        const u64 attributes = low >> 16 & 0xffff;
        return {base(offset + 8), static_cast<u32>(low >> 32), static_cast<u16>(low),
                static_cast<u16>((attributes & 0xff) | (attributes & 0xf00) << 4)};
    }
    void put_segment(u32 offset, const Segment& s) {
        const u64 attributes = (s.access & 0xffu) | (s.access >> 4 & 0xf00u);
        put(offset, s.selector | attributes << 16 | u64{s.limit} << 32);
        put(offset + 8, s.base);
    }
    [[nodiscard]] DescriptorTable table(u32 offset) const {
        return {base(offset + 8), static_cast<u16>(get(offset + 4, 4))};
    }
    void put_table(u32 offset, const DescriptorTable& table) {
        put(offset + 4, table.limit, 4);
        put(offset + 8, table.base);
    }

private:
    [[nodiscard]] u64 base(u32 offset) const { return static_cast<u64>(sign_extend(get(offset), linear_bits_)); }

    TranslateState& t_;
    u64 address_;
    unsigned linear_bits_;
};

}  // namespace tandem::cpu::x86
