// Synchronous exceptions that no translation takes part in, and the traps of EL0 and EL1 (DDI 0487, D1.3, D1.4 and the ISS
// encodings of ESR_ELx).
.include "common.inc"
    b main

.equ TRAP_SYS, 0x62000000               // EC 0x18
.macro SYSREG_TRAP text, spsr, code, vector, op0, op1, crn, crm, op2, rt, read, elr
    CASE "\text", \spsr, \code, 0, \vector, TRAP_SYS + (\op0 << 20) + (\op2 << 17) + (\op1 << 14) + (\crn << 10) + (\rt << 5) + (\crm << 1) + \read, \elr
.endm

STUB i_svc, svc #0x1234
STUB i_hvc, hvc #0x4321
STUB i_smc, smc #0x11
STUB i_brk, brk #0xbeef
STUB i_udf, udf #3
STUB i_mrs_vbar, mrs x0, vbar_el1
STUB i_mrs_vbar2, mrs x0, vbar_el2
STUB i_mrs_ctr, mrs x5, ctr_el0
STUB i_mrs_daif, mrs x6, daif
STUB i_daifset, msr daifset, #2
STUB i_msr_spsel, msr spsel, #1
STUB i_wfi, wfi
STUB i_fmov, fmov d0, x0
STUB i_mrs_fpcr, mrs x0, fpcr
STUB i_ldr_sp, ldr x0, [sp]
STUB i_dczva, dc zva, x1
STUB i_dccvac, dc cvac, x1
STUB i_dcisw, dc isw, x1
STUB i_icivau, ic ivau, x1
STUB i_iciallu, ic iallu
STUB i_tlbi, tlbi vmalle1
STUB i_mrs_pfr0, mrs x7, id_aa64pfr0_el1
STUB i_mrs_res, mrs x7, s3_0_c0_c7_7
STUB i_mrs_clidr, mrs x2, clidr_el1
STUB i_mrs_revidr, mrs x2, revidr_el1
STUB i_mrs_actlr, mrs x2, actlr_el1
STUB i_msr_ttbr, msr ttbr0_el1, x3
STUB i_mrs_ttbr, mrs x3, ttbr0_el1
STUB i_msr_mdscr, msr mdscr_el1, x4
STUB i_mrs_oslsr, mrs x4, oslsr_el1
STUB i_mrs_mdrar, mrs x4, mdrar_el1
STUB i_mrs_cntpct, mrs x4, cntpct_el0
STUB i_mrs_cntvct, mrs x4, cntvct_el0
STUB i_mrs_cntp, mrs x4, cntp_ctl_el0
STUB i_mrs_cntfrq, mrs x4, cntfrq_el0
STUB i_msr_cpacr, msr cpacr_el1, x9
STUB i_sys, sys #3, c11, c0, #0, x1
STUB i_eret, eret
STUB i_nop, nop
i_wfe:
    sevl
    wfe
i_wfe_wait:
    wfe
    svc #0x99
i_daif:
    msr daifclr, #15
    msr daifset, #5
    mrs x0, daif
    svc #0x99
i_br:
    br x1
i_misaligned:
    ldr x0, [x1]
    svc #0x99
i_exclusive:
    ldxr x0, [x1]
    svc #0x99
i_stlr:
    stlr w0, [x1]
    svc #0x99
i_sp0_misaligned:
    mov x2, sp
    add x2, x2, #8
    mov sp, x2
i_sp0_at:
    ldr x0, [sp], #16
    svc #0x99

main:
    // Exception generating instructions.
    CASE "SVC at EL0", EL0T, i_svc, 0, EL1_LOWER, 0x56001234, i_svc + 4
    CHECK_RECORD "SPSR", R_SPSR, EL0T
    CASE "SVC at EL1t", EL1T, i_svc, 0, 0x1000, 0x56001234, i_svc + 4
    CASE "SVC at EL1h", EL1H, i_svc, 0, EL1_SAME, 0x56001234, i_svc + 4
    CASE "SVC at EL2h", EL2H, i_svc, 0, EL2_SAME, 0x56001234, i_svc + 4
    CASE "SVC at EL2t", EL2T, i_svc, 0, 0x2000, 0x56001234, i_svc + 4
    CHECK_RECORD "SPSR", R_SPSR, EL2T
    CASE "HVC at EL0", EL0T, i_hvc, 0, EL1_LOWER, 0x02000000, i_hvc
    CASE "HVC at EL1", EL1H, i_hvc, 0, EL2_LOWER, 0x5a004321, i_hvc + 4
    CASE "HVC at EL2", EL2H, i_hvc, 0, EL2_SAME, 0x5a004321, i_hvc + 4
    CHANGE hcr_el2, 1 << 19
    CASE "SMC trapped by TSC", EL1H, i_smc, 0, EL2_LOWER, 0x5e000011, i_smc
    CHANGE hcr_el2, 0, 1 << 19
    CASE "SMC at EL0", EL0T, i_smc, 0, EL1_LOWER, 0x02000000, i_smc
    CASE "BRK at EL0", EL0T, i_brk, 0, EL1_LOWER, 0xf200beef, i_brk
    CASE "BRK at EL1", EL1H, i_brk, 0, EL1_SAME, 0xf200beef, i_brk
    CASE "BRK at EL2", EL2H, i_brk, 0, EL2_SAME, 0xf200beef, i_brk
    CHANGE mdcr_el2, 1 << 8
    CASE "BRK at EL0 with TDE", EL0T, i_brk, 0, EL2_LOWER, 0xf200beef, i_brk
    CHANGE mdcr_el2, 0, 1 << 8
    CHANGE hcr_el2, 1 << 27
    CASE "SVC at EL0 with TGE", EL0T, i_svc, 0, EL2_LOWER, 0x56001234, i_svc + 4
    CASE "UDF at EL0 with TGE", EL0T, i_udf, 0, EL2_LOWER, 0x02000000, i_udf
    CHANGE hcr_el2, 0, 1 << 27

    // UNDEFINED.
    CASE "UDF at EL0", EL0T, i_udf, 0, EL1_LOWER, 0x02000000, i_udf
    CASE "UDF at EL1", EL1H, i_udf, 0, EL1_SAME, 0x02000000, i_udf
    CASE "UDF at EL2", EL2H, i_udf, 0, EL2_SAME, 0x02000000, i_udf
    CASE "EL1 register at EL0", EL0T, i_mrs_vbar, 0, EL1_LOWER, 0x02000000, i_mrs_vbar
    CASE "EL2 register at EL1", EL1H, i_mrs_vbar2, 0, EL1_SAME, 0x02000000, i_mrs_vbar2
    CASE "SPSel at EL0", EL0T, i_msr_spsel, 0, EL1_LOWER, 0x02000000, i_msr_spsel
    CASE "ERET at EL0", EL0T, i_eret, 0, EL1_LOWER, 0x02000000, i_eret
    CASE "TLBI at EL0", EL0T, i_tlbi, 0, EL1_LOWER, 0x02000000, i_tlbi
    CASE "DC ISW at EL0", EL0T, i_dcisw, 0, EL1_LOWER, 0x02000000, i_dcisw

    // Traps of EL0 to EL1 by SCTLR_EL1, CPACR_EL1 and CNTKCTL_EL1.
    SYSREG_TRAP "CTR_EL0 without UCT", EL0T, i_mrs_ctr, EL1_LOWER, 3, 3, 0, 0, 1, 5, 1, i_mrs_ctr
    SYSREG_TRAP "DAIF without UMA", EL0T, i_mrs_daif, EL1_LOWER, 3, 3, 4, 2, 1, 6, 1, i_mrs_daif
    SYSREG_TRAP "DAIFSet without UMA", EL0T, i_daifset, EL1_LOWER, 0, 3, 4, 2, 6, 31, 0, i_daifset
    SYSREG_TRAP "DC ZVA without DZE", EL0T, i_dczva, EL1_LOWER, 1, 3, 7, 4, 1, 1, 0, i_dczva
    SYSREG_TRAP "DC CVAC without UCI", EL0T, i_dccvac, EL1_LOWER, 1, 3, 7, 10, 1, 1, 0, i_dccvac
    SYSREG_TRAP "IC IVAU without UCI", EL0T, i_icivau, EL1_LOWER, 1, 3, 7, 5, 1, 1, 0, i_icivau
    CASE "WFI without nTWI", EL0T, i_wfi, 0, EL1_LOWER, 0x07e00000, i_wfi
    CASE "WFE without nTWE", EL0T, i_wfe, 0, EL1_LOWER, 0x07e00001, i_wfe_wait
    SYSREG_TRAP "CNTVCT_EL0 without EL0VCTEN", EL0T, i_mrs_cntvct, EL1_LOWER, 3, 3, 14, 0, 2, 4, 1, i_mrs_cntvct
    SYSREG_TRAP "CNTP_CTL_EL0 without EL0PTEN", EL0T, i_mrs_cntp, EL1_LOWER, 3, 3, 14, 2, 1, 4, 1, i_mrs_cntp
    SYSREG_TRAP "CNTFRQ_EL0 without either", EL0T, i_mrs_cntfrq, EL1_LOWER, 3, 3, 14, 0, 0, 4, 1, i_mrs_cntfrq
    CHANGE cntkctl_el1, 2
    CASE "CNTFRQ_EL0 with EL0VCTEN", EL0T, i_mrs_cntfrq, 0, EL1_LOWER, DONE, i_mrs_cntfrq + 8
    CASE "CNTVCT_EL0 with EL0VCTEN", EL0T, i_mrs_cntvct, 0, EL1_LOWER, DONE, i_mrs_cntvct + 8
    CHANGE cntkctl_el1, 0, 2
    CHANGE sctlr_el1, (1 << 26) + (1 << 15) + (1 << 14) + (1 << 9) + (1 << 16) + (1 << 18)
    CASE "CTR_EL0 with UCT", EL0T, i_mrs_ctr, 0, EL1_LOWER, DONE, i_mrs_ctr + 8
    CASE "DAIF with UMA", EL0T, i_mrs_daif, 0, EL1_LOWER, DONE, i_mrs_daif + 8
    CASE "DC CVAC with UCI", EL0T, i_dccvac, 0x40500000, EL1_LOWER, DONE, i_dccvac + 8
    CASE "IC IVAU with UCI", EL0T, i_icivau, 0x40500000, EL1_LOWER, DONE, i_icivau + 8
    CHANGE cpacr_el1, 0, 3 << 20
    CASE "FMOV at EL0, FPEN 0", EL0T, i_fmov, 0, EL1_LOWER, 0x1fe00000, i_fmov
    CASE "FMOV at EL1, FPEN 0", EL1H, i_fmov, 0, EL1_SAME, 0x1fe00000, i_fmov
    CASE "FPCR at EL1, FPEN 0", EL1H, i_mrs_fpcr, 0, EL1_SAME, 0x1fe00000, i_mrs_fpcr
    CHANGE cpacr_el1, 1 << 20
    CASE "FMOV at EL0, FPEN 1", EL0T, i_fmov, 0, EL1_LOWER, 0x1fe00000, i_fmov
    CASE "FMOV at EL1, FPEN 1", EL1H, i_fmov, 0, EL1_SAME, DONE, i_fmov + 8
    CHANGE cpacr_el1, 3 << 20
    CHANGE cptr_el2, 1 << 10
    CASE "FMOV at EL0 with TFP", EL0T, i_fmov, 0, EL2_LOWER, 0x1fe00000, i_fmov
    CASE "FMOV at EL2 with TFP", EL2H, i_fmov, 0, EL2_SAME, 0x1fe00000, i_fmov
    CHANGE cptr_el2, 0, 1 << 10
    CHANGE cptr_el2, 1 << 31
    SYSREG_TRAP "CPACR_EL1 with TCPAC", EL1H, i_msr_cpacr, EL2_LOWER, 3, 0, 1, 0, 2, 9, 0, i_msr_cpacr
    CHANGE cptr_el2, 0, 1 << 31

    CASE "DAIFClr and DAIFSet", EL1H, i_daif, 0, EL1_SAME, DONE
    CHECK_RECORD "DAIF", R_X0, 5 << 6

    // Traps of EL1 to EL2 by HCR_EL2, MDCR_EL2 and CNTHCTL_EL2.
    CHANGE hcr_el2, (1 << 13) + (1 << 14)
    CASE "WFI with TWI", EL1H, i_wfi, 0, EL2_LOWER, 0x07e00000, i_wfi
    CASE "WFE with TWE", EL1H, i_wfe, 0, EL2_LOWER, 0x07e00001, i_wfe_wait
    CHANGE hcr_el2, (1 << 16) + (1 << 17) + (1 << 18) + (1 << 20) + (1 << 21) + (1 << 22) + (1 << 23) + (1 << 24), 3 << 13
    SYSREG_TRAP "REVIDR_EL1 with TID1", EL1H, i_mrs_revidr, EL2_LOWER, 3, 0, 0, 0, 6, 2, 1, i_mrs_revidr
    SYSREG_TRAP "CLIDR_EL1 with TID2", EL1H, i_mrs_clidr, EL2_LOWER, 3, 1, 0, 0, 1, 2, 1, i_mrs_clidr
    SYSREG_TRAP "CTR_EL0 at EL0 with TID2", EL0T, i_mrs_ctr, EL2_LOWER, 3, 3, 0, 0, 1, 5, 1, i_mrs_ctr
    SYSREG_TRAP "ID_AA64PFR0_EL1 with TID3", EL1H, i_mrs_pfr0, EL2_LOWER, 3, 0, 0, 4, 0, 7, 1, i_mrs_pfr0
    SYSREG_TRAP "reserved ID register with TID3", EL1H, i_mrs_res, EL2_LOWER, 3, 0, 0, 7, 7, 7, 1, i_mrs_res
    SYSREG_TRAP "ACTLR_EL1 with TACR", EL1H, i_mrs_actlr, EL2_LOWER, 3, 0, 1, 0, 1, 2, 1, i_mrs_actlr
    SYSREG_TRAP "DC ISW with TSW", EL1H, i_dcisw, EL2_LOWER, 1, 0, 7, 6, 2, 1, 0, i_dcisw
    SYSREG_TRAP "DC CVAC with TPC", EL1H, i_dccvac, EL2_LOWER, 1, 3, 7, 10, 1, 1, 0, i_dccvac
    SYSREG_TRAP "DC CVAC at EL0 with TPC", EL0T, i_dccvac, EL2_LOWER, 1, 3, 7, 10, 1, 1, 0, i_dccvac
    SYSREG_TRAP "IC IVAU with TPU", EL1H, i_icivau, EL2_LOWER, 1, 3, 7, 5, 1, 1, 0, i_icivau
    SYSREG_TRAP "IC IALLU with TPU", EL1H, i_iciallu, EL2_LOWER, 1, 0, 7, 5, 0, 31, 0, i_iciallu
    SYSREG_TRAP "implementation defined SYS with TIDCP", EL1H, i_sys, EL2_LOWER, 1, 3, 11, 0, 0, 1, 0, i_sys
    CHANGE hcr_el2, (1 << 25) + (1 << 26) + (1 << 28) + (1 << 30), 0x1f70000
    SYSREG_TRAP "TLBI with TTLB", EL1H, i_tlbi, EL2_LOWER, 1, 0, 8, 7, 0, 31, 0, i_tlbi
    SYSREG_TRAP "TTBR0_EL1 write with TVM", EL1H, i_msr_ttbr, EL2_LOWER, 3, 0, 2, 0, 0, 3, 0, i_msr_ttbr
    SYSREG_TRAP "TTBR0_EL1 read with TRVM", EL1H, i_mrs_ttbr, EL2_LOWER, 3, 0, 2, 0, 0, 3, 1, i_mrs_ttbr
    SYSREG_TRAP "DC ZVA with TDZ", EL1H, i_dczva, EL2_LOWER, 1, 3, 7, 4, 1, 1, 0, i_dczva
    WRITE hcr_el2, 1 << 31
    CHANGE mdcr_el2, 7 << 9
    SYSREG_TRAP "MDSCR_EL1 with TDA", EL1H, i_msr_mdscr, EL2_LOWER, 2, 0, 0, 2, 2, 4, 0, i_msr_mdscr
    SYSREG_TRAP "OSLSR_EL1 with TDOSA", EL1H, i_mrs_oslsr, EL2_LOWER, 2, 0, 1, 1, 4, 4, 1, i_mrs_oslsr
    SYSREG_TRAP "MDRAR_EL1 with TDRA", EL1H, i_mrs_mdrar, EL2_LOWER, 2, 0, 1, 0, 0, 4, 1, i_mrs_mdrar
    CHANGE mdcr_el2, 0, 7 << 9
    WRITE cnthctl_el2, 0
    SYSREG_TRAP "CNTPCT_EL0 without EL1PCTEN", EL1H, i_mrs_cntpct, EL2_LOWER, 3, 3, 14, 0, 1, 4, 1, i_mrs_cntpct
    SYSREG_TRAP "CNTP_CTL_EL0 without EL1PCEN", EL1H, i_mrs_cntp, EL2_LOWER, 3, 3, 14, 2, 1, 4, 1, i_mrs_cntp
    CASE "CNTVCT_EL0 is not trapped", EL1H, i_mrs_cntvct, 0, EL1_SAME, DONE, i_mrs_cntvct + 8
    WRITE cnthctl_el2, 3

    // Alignment of PC, SP and data.
    FAULT "PC alignment at EL1", EL1H, i_br, 0x40000002, EL1_SAME, 0x8a000000
    CHECK_RECORD "ELR", R_ELR, 0x40000002
    FAULT "PC alignment at EL0", EL0T, i_br, 0x40000001, EL1_LOWER, 0x8a000000
    FAULT "PC alignment at EL2", EL2H, i_br, 0x40000003, EL2_SAME, 0x8a000000
    WRITE sp_el0, 0x40500008
    CHANGE sctlr_el1, (1 << 3) + (1 << 4)
    CASE "SP alignment at EL0", EL0T, i_ldr_sp, 0, EL1_LOWER, 0x9a000000, i_ldr_sp
    CASE "SP alignment at EL1t", EL1T, i_ldr_sp, 0, 0x1000, 0x9a000000, i_ldr_sp
    WRITE sp_el0, 0x40500000
    CASE "SP alignment of a post-indexed load", EL1T, i_sp0_misaligned, 0, 0x1000, 0x9a000000, i_sp0_at
    CHANGE sctlr_el1, 0, (1 << 3) + (1 << 4)
    WRITE sp_el0, 0x40500008
    CASE "SP alignment off", EL0T, i_ldr_sp, 0, EL1_LOWER, DONE, i_ldr_sp + 8
    FAULT "misaligned, MMU off", EL1H, i_misaligned, 0x40500004, EL1_SAME, 0x96000021, i_misaligned
    FAULT "misaligned, MMU off, EL0", EL0T, i_misaligned, 0x40500001, EL1_LOWER, 0x92000021, i_misaligned
    FAULT "misaligned, MMU off, EL2", EL2H, i_misaligned, 0x40500001, EL2_SAME, 0x96000021, i_misaligned
    FAULT "misaligned exclusive", EL1H, i_exclusive, 0x40500001, EL1_SAME, 0x96000021, i_exclusive
    FAULT "misaligned release", EL1H, i_stlr, 0x4050000e, EL1_SAME, 0x96000061, i_stlr

    // Illegal execution state: what SPSR_EL2 names does not exist.
    CASE "return to AArch32", 0x3d3, i_nop, 0, EL2_SAME, 0x3a000000, i_nop
    CHECK_RECORD "SPSR", R_SPSR, EL2H + (1 << 20)
    CASE "return to EL0h", 0x3c1, i_nop, 0, EL2_SAME, 0x3a000000, i_nop
    CASE "return to EL3", 0x3cd, i_nop, 0, EL2_SAME, 0x3a000000, i_nop
    CASE "return to M[1]", 0x3c6, i_nop, 0, EL2_SAME, 0x3a000000, i_nop
    NAME "return to EL1 with TGE"
    CHANGE hcr_el2, 1 << 27
    RUN EL1H, i_nop
    TAKEN EL2_SAME, 0x3a000000, i_nop
    CHANGE hcr_el2, 0, 1 << 27
    // Illegal flags: NZCV and DAIF come from SPSR.
    NAME "illegal return keeps the condition flags"
    adr x9, i_nop
    SET x10, 0xf0000013
    bl run
    TAKEN EL2_SAME, 0x3a000000, i_nop
    CHECK_RECORD "SPSR", R_SPSR, 0xf0100009
    NAME "SPSR_EL2.IL at EL1"
    adr x9, i_nop
    SET x10, 0x1003c5
    bl run
    TAKEN EL1_SAME, 0x3a000000, i_nop
    CHECK_RECORD "SPSR", R_SPSR, 0x1003c5
    FINISH
