// Bits of the control, flag, debug and model-specific registers, and what follows directly from them. Names are the manuals'
// (Intel SDM volume 3, 2.3, 2.5, 17.2; volume 4).
#pragma once

#include "base/bits.h"
#include "cpu/x86/state.h"

namespace tandem::cpu::x86 {

namespace eflags {
constexpr u64 CF = 1u << 0, One = 1u << 1, PF = 1u << 2, AF = 1u << 4, ZF = 1u << 6, SF = 1u << 7, TF = 1u << 8,
              IF = 1u << 9, DF = 1u << 10, OF = 1u << 11, IOPL = 3u << 12, NT = 1u << 14, RF = 1u << 16, VM = 1u << 17,
              AC = 1u << 18, VIF = 1u << 19, VIP = 1u << 20, ID = 1u << 21;
constexpr u64 Arithmetic = CF | PF | AF | ZF | SF | OF;
constexpr u64 Defined = Arithmetic | TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;
}  // namespace eflags

namespace cr0 {
constexpr u64 PE = 1u << 0, MP = 1u << 1, EM = 1u << 2, TS = 1u << 3, ET = 1u << 4, NE = 1u << 5, WP = 1u << 16,
              AM = 1u << 18, NW = 1u << 29, CD = 1u << 30, PG = 1u << 31;
}  // namespace cr0

constexpr u64 kPcidMask = 0xfff;  // of CR3, with CR4.PCIDE

namespace cr4 {
constexpr u64 VME = 1u << 0, PVI = 1u << 1, TSD = 1u << 2, DE = 1u << 3, PSE = 1u << 4, PAE = 1u << 5, MCE = 1u << 6,
              PGE = 1u << 7, PCE = 1u << 8, OSFXSR = 1u << 9, OSXMMEXCPT = 1u << 10, UMIP = 1u << 11, FSGSBASE = 1u << 16,
              PCIDE = 1u << 17, OSXSAVE = 1u << 18, SMEP = 1u << 20, SMAP = 1u << 21, PKE = 1u << 22, LA57 = 1u << 12;
}  // namespace cr4

namespace efer {
constexpr u64 SCE = 1u << 0, LME = 1u << 8, LMA = 1u << 10, NXE = 1u << 11, SVME = 1u << 12;
}  // namespace efer

namespace dr6 {
constexpr u64 BD = 1u << 13, BS = 1u << 14, BT = 1u << 15;
}  // namespace dr6

namespace debugctl {
constexpr u64 LBR = 1u << 0, BTF = 1u << 1;
}  // namespace debugctl

namespace dr7 {
constexpr u64 GD = 1u << 13, Enables = 0xff;
}  // namespace dr7

// Segment::access bits.
namespace access {
constexpr u16 Accessed = 1u << 0, Writable = 1u << 1, Readable = 1u << 1, Conforming = 1u << 2, ExpandDown = 1u << 2,
              Code = 1u << 3, S = 1u << 4, P = 1u << 7, L = 1u << 13, DB = 1u << 14, G = 1u << 15;
}  // namespace access

inline unsigned dpl(const Segment& s) { return static_cast<unsigned>(s.access >> 5) & 3; }

inline bool protected_mode(const State& s) { return (s.cr0 & cr0::PE) != 0; }
inline bool vm86(const State& s) { return (s.rflags & eflags::VM) != 0; }
inline bool long_mode(const State& s) { return (s.msr.efer & efer::LMA) != 0; }
inline bool code64(const State& s) { return long_mode(s) && (s.seg[CS].access & access::L) != 0; }

// The current privilege level is kept in SS.DPL: 0 in real mode, 3 in virtual-8086 mode; a null SS in 64-bit mode keeps it
// there too.
inline unsigned cpl(const State& s) { return dpl(s.seg[SS]); }
inline unsigned iopl(const State& s) { return static_cast<unsigned>(s.rflags >> 12) & 3; }

// A register without the P bit is unusable (null selector).
inline bool usable(const Segment& s) { return (s.access & access::P) != 0; }

// Bits 63 to `bits` - 1 all equal.
inline bool canonical(u64 va, unsigned bits) { return static_cast<u64>(sign_extend(va, bits)) == va; }
// The same for the current paging mode.
inline bool canonical(const State& s, u64 va) { return canonical(va, (s.cr4 & cr4::LA57) != 0 ? 57 : 48); }

}  // namespace tandem::cpu::x86
