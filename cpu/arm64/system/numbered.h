// The numbered registers of AArch64 (cpu/numbered.h). Numbers, by class:
//   General  0 to 30 Xn; 0x20 + n SP_ELn; 0x30 PC; 0x31 PSTATE, as SPSR_ELx would hold it
//   Vector   0 to 31 Vn; 0x40 FPCR; 0x41 FPSR
//   System   op0:op1:CRn:CRm:op2 as in MRS and MSR, bits 15:14, 13:11, 10:7, 6:3 and 2:0: every register of
//            system/registers.inc but those that can only be written, and ISR_EL1, which shows lines and not a register.
//            The same registers come under their other names, too (PMCNTENCLR_EL0, NZCV, CNTV_TVAL_EL0). What is written is
//            what is read afterwards, also where an instruction would set or clear bits. Identification registers are
//            invariant; they are the processor's own, not those that a hypervisor shows to EL1 (VPIDR_EL2).
#pragma once

#include "base/result.h"
#include "cpu/numbered.h"

namespace tandem::cpu::arm64 {

std::span<const RegisterRow> numbered_rows();
// `row` is one of them, by its place.
bool has_numbered(const CpuModel& model, std::size_t row);
// `value` has the row's size.
Result<void> read_numbered(const CpuModel& model, const State& state, RegisterSurroundings& around, std::size_t row,
                           std::span<u8> value);
// Neither invariant, nor the value that it has already. InvalidArgument: the register cannot hold it.
Result<void> write_numbered(const CpuModel& model, State& state, RegisterSurroundings& around, std::size_t row,
                            std::span<const u8> value);

// The name of a system register by its encoding; empty: there is none.
std::string_view system_register_name(u16 encoding);

}  // namespace tandem::cpu::arm64
