// The numbered registers of x86 (cpu/numbered.h). Numbers, by class:
//   General  0 to 15 RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15 (as instructions encode them); 16 RIP; 17 RFLAGS
//   Control  0, 2, 3, 4, 8: CRn; 0x10 XCR0; 0x11 PKRU; 0x20 + 2n base and 0x21 + 2n limit of GDTR (n = 0) and IDTR (1)
//   Segment  16 * n + part; n: 0 to 5 ES, CS, SS, DS, FS, GS, 6 LDTR, 7 TR; part: 0 selector, 1 base, 2 limit, 3 access
//            (cpu/x86/state.h says what bits that has)
//   Vector   0x000 + n XMMn, 0x100 + n YMMn, 0x200 + n ZMMn (each the low part of the next), 0x300 + n Kn, 0x400 MXCSR;
//            0x500 + n the physical x87 register n in 16 bytes, of which the upper 6 are zero; 0x510 FCW, 0x511 FSW,
//            0x512 FTW (abridged, as FXSAVE has it), 0x513 FOP, 0x514 FIP, 0x515 FDP, 0x516 FCS, 0x517 FDS
//   Debug    0 to 3, 6, 7: DRn
//   System   the MSR's index
#pragma once

#include "base/result.h"
#include "cpu/numbered.h"

namespace tandem::cpu::x86 {

std::span<const RegisterRow> numbered_rows();
// `row` is one of them, by its place.
bool has_numbered(const CpuModel& model, std::size_t row);
// `value` has the row's size. Errors: Unsupported where the machine does not answer for an MSR.
Result<void> read_numbered(const CpuModel& model, const State& state, RegisterSurroundings& around, std::size_t row,
                           std::span<u8> value);
// Neither invariant, nor the value that it has already. InvalidArgument: the register cannot hold it.
Result<void> write_numbered(const CpuModel& model, State& state, RegisterSurroundings& around, std::size_t row,
                            std::span<const u8> value);

// The MSRs that a saved machine has, in ascending order: the processor's own and those of devices, paravirtual ones included
// (contract R5). Which of them this model has: has_numbered().
std::vector<u32> saved_msrs();

}  // namespace tandem::cpu::x86
