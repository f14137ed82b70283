// What each trap bit of HCR_EL2 and MDCR_EL2 sends from EL1 to EL2, and what EL1 and EL0 may not name at all (DDI 0487,
// D19.2 and the accessibility pseudocode of each register).
.include "common.inc"
    b main

.equ TID1, 1 << 16
.equ TID2, 1 << 17
.equ TID3, 1 << 18
.equ TACR, 1 << 21
.equ TSW, 1 << 22
.equ TPC, 1 << 23
.equ TPU, 1 << 24
.equ TTLB, 1 << 25
.equ TVM, 1 << 26
.equ TRVM, 1 << 30
.equ TLOR, 1 << 35
.equ TERR, 1 << 36
.equ TPMCR, 1 << 5
.equ TPM, 1 << 6
.equ TDE, 1 << 8
.equ TDA, (1 << 9) + TDE
.equ TDOSA, (1 << 10) + TDE
.equ TDRA, (1 << 11) + TDE
.equ HCR_BASE, (1 << 31) + (3 << 40)
.equ HCR_BITS, TID1 + TID2 + TID3 + TACR + TSW + TPC + TPU + TTLB + TVM + TRVM + TLOR + TERR
.equ MDCR_BITS, TPMCR + TPM + TDA + TDOSA + TDRA
.equ UNDEFINED, 0x02000000

// The bits of HCR_EL2 and of MDCR_EL2 that trap an instruction. x1 is SCTLR_EL1's value, x2 an address, x3 zero.
.equ ROW_CODE, 16
.equ ROW_TEXT, 24
.equ ROW_BYTES, 64
.macro ROW hcr, mdcr, insn:vararg
    .balign ROW_BYTES
    .quad \hcr, \mdcr
    \insn
    svc #0x99
    .asciz "\insn"
.endm

.balign ROW_BYTES
rows:
    ROW 0, 0, mrs x0, midr_el1
    ROW 0, 0, mrs x0, mpidr_el1
    ROW TID1, 0, mrs x0, revidr_el1
    ROW TID1, 0, mrs x0, aidr_el1
    ROW TID2, 0, mrs x0, ctr_el0
    ROW TID2, 0, mrs x0, ccsidr_el1
    ROW TID2, 0, mrs x0, clidr_el1
    ROW TID2, 0, mrs x0, csselr_el1
    ROW TID2, 0, msr csselr_el1, x3
    ROW 0, 0, mrs x0, dczid_el0
    ROW TID3, 0, mrs x0, id_aa64pfr0_el1
    ROW TID3, 0, mrs x0, id_aa64pfr1_el1
    ROW TID3, 0, mrs x0, id_aa64dfr0_el1
    ROW TID3, 0, mrs x0, id_aa64isar0_el1
    ROW TID3, 0, mrs x0, id_aa64isar1_el1
    ROW TID3, 0, mrs x0, id_aa64mmfr0_el1
    ROW TID3, 0, mrs x0, id_aa64mmfr1_el1
    ROW TID3, 0, mrs x0, id_aa64mmfr2_el1
    ROW TID3, 0, mrs x0, s3_0_c0_c1_0
    ROW TID3, 0, mrs x0, s3_0_c0_c3_7
    ROW TID3, 0, mrs x0, s3_0_c0_c6_7
    ROW TACR, 0, mrs x0, actlr_el1
    ROW TACR, 0, msr actlr_el1, x3
    ROW TVM, 0, msr sctlr_el1, x1
    ROW TRVM, 0, mrs x0, sctlr_el1
    ROW TVM, 0, msr ttbr0_el1, x3
    ROW TRVM, 0, mrs x0, ttbr0_el1
    ROW TVM, 0, msr ttbr1_el1, x3
    ROW TRVM, 0, mrs x0, ttbr1_el1
    ROW TVM, 0, msr tcr_el1, x3
    ROW TRVM, 0, mrs x0, tcr_el1
    ROW TVM, 0, msr esr_el1, x3
    ROW TRVM, 0, mrs x0, esr_el1
    ROW TVM, 0, msr far_el1, x3
    ROW TRVM, 0, mrs x0, far_el1
    ROW TVM, 0, msr afsr0_el1, x3
    ROW TRVM, 0, mrs x0, afsr0_el1
    ROW TVM, 0, msr afsr1_el1, x3
    ROW TRVM, 0, mrs x0, afsr1_el1
    ROW TVM, 0, msr mair_el1, x3
    ROW TRVM, 0, mrs x0, mair_el1
    ROW TVM, 0, msr amair_el1, x3
    ROW TRVM, 0, mrs x0, amair_el1
    ROW TVM, 0, msr contextidr_el1, x3
    ROW TRVM, 0, mrs x0, contextidr_el1
    ROW 0, 0, mrs x0, vbar_el1
    ROW 0, 0, mrs x0, elr_el1
    ROW 0, 0, mrs x0, spsr_el1
    ROW 0, 0, mrs x0, par_el1
    ROW 0, 0, mrs x0, isr_el1
    ROW 0, 0, mrs x0, cpacr_el1
    ROW 0, 0, mrs x0, tpidr_el1
    ROW 0, 0, mrs x0, cntkctl_el1
    ROW 0, 0, mrs x0, apiakeylo_el1
    ROW 0, 0, mrs x0, disr_el1
    ROW TLOR, 0, mrs x0, lorid_el1
    ROW TLOR, 0, mrs x0, lorc_el1
    ROW TERR, 0, mrs x0, erridr_el1
    ROW TERR, 0, mrs x0, errselr_el1
    ROW TERR, 0, msr errselr_el1, x3
    ROW TERR, 0, mrs x0, erxstatus_el1
    ROW TSW, 0, dc isw, x3
    ROW TSW, 0, dc csw, x3
    ROW TSW, 0, dc cisw, x3
    ROW TPC, 0, dc ivac, x2
    ROW TPC, 0, dc cvac, x2
    ROW TPC, 0, dc civac, x2
    ROW TPC, 0, dc cvap, x2
    ROW TPU, 0, dc cvau, x2
    ROW TPU, 0, ic ivau, x2
    ROW TPU, 0, ic iallu
    ROW TPU, 0, ic ialluis
    ROW TTLB, 0, tlbi vmalle1
    ROW TTLB, 0, tlbi vmalle1is
    ROW TTLB, 0, tlbi vae1, x3
    ROW TTLB, 0, tlbi aside1is, x3
    ROW TTLB, 0, tlbi vaale1, x3
    ROW 0, 0, at s1e1r, x2
    ROW 0, TPM + TPMCR, mrs x0, pmcr_el0
    ROW 0, TPM, mrs x0, pmcntenset_el0
    ROW 0, TPM, msr pmovsclr_el0, x3
    ROW 0, TPM, mrs x0, pmccntr_el0
    ROW 0, TPM, msr pmselr_el0, x3
    ROW 0, TPM, mrs x0, pmceid0_el0
    ROW 0, TPM, mrs x0, pmuserenr_el0
    ROW 0, TPM, mrs x0, pmintenset_el1
    ROW 0, TPM, mrs x0, pmevcntr3_el0
    ROW 0, TPM, mrs x0, pmccfiltr_el0
    ROW 0, TDA, mrs x0, mdscr_el1
    ROW 0, TDA, msr mdscr_el1, x3
    ROW 0, TDA, mrs x0, dbgbvr0_el1
    ROW 0, TDA, mrs x0, dbgwcr3_el1
    ROW 0, TDA, mrs x0, dbgclaimset_el1
    ROW 0, TDA, mrs x0, dbgauthstatus_el1
    ROW 0, TDA, mrs x0, mdccint_el1
    ROW 0, TDOSA, msr oslar_el1, x3
    ROW 0, TDOSA, mrs x0, oslsr_el1
    ROW 0, TDOSA, mrs x0, osdlr_el1
    ROW 0, TDOSA, mrs x0, dbgprcr_el1
    ROW 0, TDRA, mrs x0, mdrar_el1
.balign ROW_BYTES
rows_end:

// UNDEFINED at EL1 and below.
undefined_rows:
    ROW 0, 0, mrs x0, vbar_el2
    ROW 0, 0, msr vbar_el2, x3
    ROW 0, 0, mrs x0, hcr_el2
    ROW 0, 0, mrs x0, sctlr_el2
    ROW 0, 0, mrs x0, cptr_el2
    ROW 0, 0, mrs x0, vttbr_el2
    ROW 0, 0, mrs x0, elr_el2
    ROW 0, 0, mrs x0, spsr_el2
    ROW 0, 0, mrs x0, sp_el1
    ROW 0, 0, mrs x0, vpidr_el2
    ROW 0, 0, mrs x0, cnthctl_el2
    ROW 0, 0, mrs x0, cntvoff_el2
    ROW 0, 0, mrs x0, cnthp_ctl_el2
    ROW 0, 0, mrs x0, mdcr_el2
    ROW 0, 0, mrs x0, tpidr_el2
    ROW 0, 0, mrs x0, s3_5_c1_c0_0
    ROW 0, 0, mrs x0, s3_5_c14_c3_1
    ROW 0, 0, mrs x0, rvbar_el1
    ROW 0, 0, msr s3_0_c0_c0_0, x3
    ROW 0, 0, msr s3_0_c0_c4_0, x3
    ROW 0, 0, msr cntfrq_el0, x3
    ROW 0, 0, msr s3_3_c14_c0_1, x3
    ROW 0, 0, mrs x0, s2_0_c1_c0_4
    ROW 0, 0, mrs x0, s3_3_c9_c12_4
    ROW 0, 0, msr s3_0_c4_c2_2, x3
    ROW 0, 0, mrs x0, vbar_el3
    ROW 0, 0, mrs x0, s3_1_c11_c0_0
    ROW 0, 0, tlbi alle2
    ROW 0, 0, tlbi vmalls12e1
    ROW 0, 0, tlbi ipas2e1, x3
    ROW 0, 0, at s12e1r, x2
    ROW 0, 0, at s1e2r, x2
    ROW 0, 0, sys #0, c7, c15, #0, x3
.balign ROW_BYTES
undefined_rows_end:

// UNDEFINED at every level: DACR32_EL2, IFSR32_EL2 and FPEXC32_EL2, since EL1 has no AArch32, TLBI without a meaning, and what only debug state has.
nowhere_rows:
    ROW 0, 0, hlt #1
    ROW 0, 0, dcps1
    ROW 0, 0, dcps2
    ROW 0, 0, dcps3
    ROW 0, 0, drps
    ROW 0, 0, sysl x3, #0, c7, c5, #0
    ROW 0, 0, sys #0, c8, c7, #4, x3
    ROW 0, 0, sys #0, c8, c7, #6, x3
    ROW 0, 0, sys #0, c8, c2, #0, x3
    ROW 0, 0, sys #0, c8, c6, #2, x3
    ROW 0, 0, sys #0, c8, c0, #1, x3
    ROW 0, 0, sys #0, c8, c4, #1, x3
    ROW 0, 0, sys #0, c8, c8, #0, x3
    ROW 0, 0, sys #1, c8, c7, #0, x3
    ROW 0, 0, sys #3, c8, c7, #1, x3
    ROW 0, 0, sys #4, c8, c7, #2, x3
    ROW 0, 0, sys #4, c8, c7, #3, x3
    ROW 0, 0, sys #4, c8, c7, #7, x3
    ROW 0, 0, sys #4, c8, c0, #0, x3
    ROW 0, 0, sys #4, c8, c2, #0, x3
    ROW 0, 0, sys #4, c8, c15, #0, x3
    ROW 0, 0, mrs x0, s3_4_c3_c0_0
    ROW 0, 0, msr s3_4_c3_c0_0, x3
    ROW 0, 0, mrs x0, s3_4_c5_c0_1
    ROW 0, 0, mrs x0, s3_4_c5_c3_0
.balign ROW_BYTES
nowhere_rows_end:

// Every form of TLBI, which EL2 may use.
tlbi_rows:
    ROW 0, 0, tlbi vmalle1
    ROW 0, 0, tlbi vmalle1is
    ROW 0, 0, tlbi vmalle1os
    ROW 0, 0, tlbi alle1
    ROW 0, 0, tlbi alle1is
    ROW 0, 0, tlbi alle1os
    ROW 0, 0, tlbi alle2
    ROW 0, 0, tlbi alle2is
    ROW 0, 0, tlbi alle2os
    ROW 0, 0, tlbi vmalls12e1
    ROW 0, 0, tlbi vmalls12e1is
    ROW 0, 0, tlbi vmalls12e1os
    ROW 0, 0, tlbi vae1, x3
    ROW 0, 0, tlbi vae1is, x3
    ROW 0, 0, tlbi vae1os, x3
    ROW 0, 0, tlbi aside1, x3
    ROW 0, 0, tlbi aside1is, x3
    ROW 0, 0, tlbi aside1os, x3
    ROW 0, 0, tlbi vaae1, x3
    ROW 0, 0, tlbi vaae1is, x3
    ROW 0, 0, tlbi vaae1os, x3
    ROW 0, 0, tlbi vale1, x3
    ROW 0, 0, tlbi vale1is, x3
    ROW 0, 0, tlbi vale1os, x3
    ROW 0, 0, tlbi vaale1, x3
    ROW 0, 0, tlbi vaale1is, x3
    ROW 0, 0, tlbi vaale1os, x3
    ROW 0, 0, tlbi vae2, x3
    ROW 0, 0, tlbi vae2is, x3
    ROW 0, 0, tlbi vae2os, x3
    ROW 0, 0, tlbi vale2, x3
    ROW 0, 0, tlbi vale2is, x3
    ROW 0, 0, tlbi vale2os, x3
    ROW 0, 0, tlbi rvae1, x3
    ROW 0, 0, tlbi rvae1is, x3
    ROW 0, 0, tlbi rvae1os, x3
    ROW 0, 0, tlbi rvaae1, x3
    ROW 0, 0, tlbi rvaae1is, x3
    ROW 0, 0, tlbi rvaae1os, x3
    ROW 0, 0, tlbi rvale1, x3
    ROW 0, 0, tlbi rvale1is, x3
    ROW 0, 0, tlbi rvale1os, x3
    ROW 0, 0, tlbi rvaale1, x3
    ROW 0, 0, tlbi rvaale1is, x3
    ROW 0, 0, tlbi rvaale1os, x3
    ROW 0, 0, tlbi rvae2, x3
    ROW 0, 0, tlbi rvae2is, x3
    ROW 0, 0, tlbi rvae2os, x3
    ROW 0, 0, tlbi rvale2, x3
    ROW 0, 0, tlbi rvale2is, x3
    ROW 0, 0, tlbi rvale2os, x3
    ROW 0, 0, tlbi ipas2e1, x3
    ROW 0, 0, tlbi ipas2e1is, x3
    ROW 0, 0, tlbi ipas2e1os, x3
    ROW 0, 0, tlbi ipas2le1, x3
    ROW 0, 0, tlbi ipas2le1is, x3
    ROW 0, 0, tlbi ipas2le1os, x3
    ROW 0, 0, tlbi ripas2e1, x3
    ROW 0, 0, tlbi ripas2e1is, x3
    ROW 0, 0, tlbi ripas2e1os, x3
    ROW 0, 0, tlbi ripas2le1, x3
    ROW 0, 0, tlbi ripas2le1is, x3
    ROW 0, 0, tlbi ripas2le1os, x3
.balign ROW_BYTES
tlbi_rows_end:

// UNDEFINED at EL0.
user_rows:
    ROW 0, 0, mrs x0, sctlr_el1
    ROW 0, 0, mrs x0, midr_el1
    ROW 0, 0, mrs x0, id_aa64isar0_el1
    ROW 0, 0, mrs x0, s3_0_c0_c7_7
    ROW 0, 0, mrs x0, currentel
    ROW 0, 0, mrs x0, spsel
    ROW 0, 0, mrs x0, sp_el0
    ROW 0, 0, mrs x0, elr_el1
    ROW 0, 0, mrs x0, pan
    ROW 0, 0, msr pan, #1
    ROW 0, 0, msr uao, #1
    ROW 0, 0, msr spsel, #1
    ROW 0, 0, msr tpidrro_el0, x3
    ROW 0, 0, msr pmuserenr_el0, x3
    ROW 0, 0, msr s3_3_c0_c0_1, x3
    ROW 0, 0, mrs x0, cntkctl_el1
    ROW 0, 0, mrs x0, mdscr_el1
    ROW 0, 0, mrs x0, pmintenset_el1
    ROW 0, 0, ic iallu
    ROW 0, 0, dc isw, x3
    ROW 0, 0, dc ivac, x2
    ROW 0, 0, tlbi vmalle1
    ROW 0, 0, at s1e0r, x2
    ROW 0, 0, hvc #0
    ROW 0, 0, smc #0
    ROW 0, 0, eret
    ROW 0, 0, sys #3, c7, c15, #0, x3
.balign ROW_BYTES
user_rows_end:

// The ESR of a trap of the instruction in w4, in x24.
.macro FIELD from, width, to
    ubfx x5, x4, #\from, #\width
    bfi x24, x5, #\to, #\width
.endm
syndrome:
    SET x24, 0x62000000
    FIELD 19, 2, 20
    FIELD 5, 3, 17
    FIELD 16, 3, 14
    FIELD 12, 4, 10
    FIELD 0, 5, 5
    FIELD 8, 4, 1
    FIELD 21, 1, 0
    ret

// Runs row x20 with SPSR x10; x23 and x24 are the vector and the syndrome that are to come of it.
check_row:
    mov x25, x30
    add x9, x20, #ROW_TEXT
    mov x26, x10
    bl set_name
    mov x10, x26
    SET x1, 0x30d00800
    SET x2, 0x40500000
    mov x3, #0
    add x9, x20, #ROW_CODE
    bl run
    adr x10, record
    ldr x11, [x10, #R_VECTOR]
    mov x12, x23
    adr x13, text_vector
    bl check
    adr x10, record
    ldr x11, [x10, #R_ESR]
    mov x12, x24
    adr x13, text_syndrome
    bl check
    ret x25
text_vector: .asciz "vector"
text_syndrome: .asciz "ESR"
.balign 4

// Runs all rows with each bit of `bits` set alone in `register`; a row's own are at offset `field`.
.macro EACH_BIT register, base, bits, field
    mov x21, #1
20: SET x22, (\bits)
    tst x22, x21
    b.eq 29f
    SET x9, (\base)
    orr x9, x9, x21
    msr \register, x9
    adr x20, rows
21: SET x23, EL1_SAME
    SET x24, DONE
    ldr x9, [x20, #\field]
    tst x9, x21
    b.eq 22f
    SET x23, EL2_LOWER
    ldr w4, [x20, #ROW_CODE]
    bl syndrome
22: mov x10, #EL1H
    bl check_row
    add x20, x20, #ROW_BYTES
    adr x9, rows_end
    cmp x20, x9
    b.ne 21b
29: lsl x21, x21, #1
    cbnz x21, 20b
    WRITE \register, \base
.endm
.macro EACH_UNDEFINED first, last, spsr, vector
    adr x20, \first
30: SET x23, \vector
    SET x24, UNDEFINED
    mov x10, #\spsr
    bl check_row
    add x20, x20, #ROW_BYTES
    adr x9, \last
    cmp x20, x9
    b.ne 30b
.endm

.macro EACH_FINE first, last, spsr, vector
    adr x20, \first
31: SET x23, \vector
    SET x24, DONE
    mov x10, #\spsr
    bl check_row
    add x20, x20, #ROW_BYTES
    adr x9, \last
    cmp x20, x9
    b.ne 31b
.endm

main:
    WRITE hcr_el2, HCR_BASE
    EACH_BIT hcr_el2, HCR_BASE, HCR_BITS, 0
    EACH_BIT mdcr_el2, 6, MDCR_BITS, 8
    EACH_UNDEFINED undefined_rows, undefined_rows_end, EL1H, EL1_SAME
    EACH_UNDEFINED undefined_rows, undefined_rows_end, EL0T, EL1_LOWER
    EACH_UNDEFINED user_rows, user_rows_end, EL0T, EL1_LOWER
    EACH_UNDEFINED nowhere_rows, nowhere_rows_end, EL2H, EL2_SAME
    EACH_UNDEFINED nowhere_rows, nowhere_rows_end, EL1H, EL1_SAME
    EACH_FINE tlbi_rows, tlbi_rows_end, EL2H, EL2_SAME
    FINISH
