// FEAT_VHE: the EL2&0 regime, redirected register names and routing (DDI 0487, D8.1.3 and "HCR_EL2").
.include "common.inc"
.include "translation.inc"
    b main

.equ E2H, 1 << 34
.equ TGE, 1 << 27
.equ RW, 1 << 31

STUB i_svc, svc #0x21
STUB i_load, ldr x0, [x1]
STUB i_store, str x0, [x1]
STUB i_wfi, wfi
STUB i_fmov, fmov d0, x0
STUB i_cntvct, mrs x4, cntvct_el0
STUB i_mrs_el12, mrs x0, s3_5_c12_c0_0
STUB i_mrs_ctr, mrs x5, ctr_el0
STUB i_hvc, hvc #0x22
STUB i_ldtr, ldtr x0, [x1]
i_pan:
    msr pan, #1
    ldr x0, [x1]
    msr pan, #0
    svc #0x99

.macro REDIRECTED text, el1, el2, el12, first, second
    NAME "\text"
    WRITE \el1, \first
    WRITE \el12, \second
    isb
    mrs x14, \el2
    CHECK "the EL2 register", x14, \first
    mrs x14, \el1
    CHECK "read back", x14, \first
    mrs x14, \el12
    CHECK "the EL1 register", x14, \second
.endm
.macro USER_CASE text, code, argument, vector, esr
    NAME "\text"
    SET x1, (\argument)
    adr x9, \code
    SET x10, USER - 0x40000000
    add x9, x9, x10
    mov x10, #EL0T
    bl run
    TAKEN \vector, \esr
.endm

main:
    // Without E2H there is no _EL12.
    WRITE hcr_el2, RW
    isb
    CASE "VBAR_EL12 without E2H", EL2H, i_mrs_el12, 0, EL2_SAME, 0x02000000, i_mrs_el12
    MMU_ON
    ENTRY L2, 3, L3 + 3
    MAP 0, PAGE + AF + UXN
    MAP 1, PAGE + AF + AP_RW
    CHANGE sctlr_el1, 0, 1
    WRITE hcr_el2, RW + E2H
    isb
    REDIRECTED "FAR", far_el1, far_el2, s3_5_c6_c0_0, 0x1234, 0x5678
    REDIRECTED "ESR", esr_el1, esr_el2, s3_5_c5_c2_0, 0x12000000, 0x56000000
    REDIRECTED "MAIR", mair_el1, mair_el2, s3_5_c10_c2_0, 0x4400ff, 0x4400ff
    REDIRECTED "TCR", tcr_el1, tcr_el2, s3_5_c2_c0_2, 25, 26
    REDIRECTED "TTBR0", ttbr0_el1, ttbr0_el2, s3_5_c2_c0_0, L1, L2
    REDIRECTED "TTBR1", ttbr1_el1, s3_4_c2_c0_1, s3_5_c2_c0_1, L1, L2
    REDIRECTED "SPSR", spsr_el1, spsr_el2, s3_5_c4_c0_0, 0x3c5, 0x3c0
    REDIRECTED "ELR", elr_el1, elr_el2, s3_5_c4_c0_1, 0x1000, 0x2000
    REDIRECTED "CONTEXTIDR", contextidr_el1, s3_4_c13_c0_1, s3_5_c13_c0_1, 3, 4
    REDIRECTED "CNTKCTL", cntkctl_el1, cnthctl_el2, s3_5_c14_c1_0, 0, 3
    REDIRECTED "CPACR", cpacr_el1, cptr_el2, s3_5_c1_c0_2, 3 << 20, 1 << 20
    NAME "VBAR"
    adr x9, vectors_el2
    msr vbar_el1, x9
    mrs x14, vbar_el2
    sub x14, x14, x9
    CHECK "the EL2 register", x14, 0
    NAME "timers"
    WRITE s3_5_c14_c2_2, 0x1111         // CNTP_CVAL_EL02
    WRITE cntp_cval_el0, 0x2222
    mrs x14, cnthp_cval_el2
    CHECK "CNTHP_CVAL_EL2", x14, 0x2222
    mrs x14, s3_5_c14_c2_2
    CHECK "CNTP_CVAL_EL02", x14, 0x1111
    NAME "VBAR_EL12 at EL1"
    RUN EL1H, i_mrs_el12
    mrs x14, s3_5_c5_c2_0
    CHECK "ESR_EL12", x14, 0x02000000

    // The host: EL2 with a stage 1 of two ranges, EL0 below it.
    WRITE ttbr0_el2, L1
    WRITE tcr_el2, 25 + (25 << 16) + (2 << 30) + (3 << 12) + (1 << 10) + (1 << 8) + (3 << 28) + (1 << 26) + (1 << 24) + (1 << 23)
    ENTRY L1, 0, 0x00000000 + BLOCK + AF + UXN + PXN + DEVICE   // the character port
    ENTRY L2, 0, 0x40000000 + BLOCK + AF + UXN
    tlbi alle2
    dsb sy
    WRITE hcr_el2, RW + E2H + TGE
    isb
    CHANGE sctlr_el1, 1 + 4 + (1 << 12), (1 << 16) + (1 << 18)
    USER_CASE "SVC of the host's EL0", i_svc, 0, EL2_LOWER, 0x56000021
    USER_CASE "EL0 reads its page", i_load, PAGES + 0x1008, EL2_LOWER, DONE
    USER_CASE "EL0 reads EL2's page", i_load, PAGES + 8, EL2_LOWER, 0x9200000f
    CHECK_RECORD "FAR", R_FAR, PAGES + 8
    USER_CASE "EL0 writes nowhere", i_store, 0x40800018, EL2_LOWER, 0x92000046
    CASE "EL2 reads its page", EL2H, i_load, PAGES + 8, EL2_SAME, DONE
    CASE "EL2 reads nowhere", EL2H, i_load, 0x40800018, EL2_SAME, 0x96000006
    CASE "LDTR is EL0's", EL2H, i_ldtr, PAGES + 8, EL2_SAME, 0x9600000f
    CASE "PAN at EL2", EL2H, i_pan, PAGES + 0x1008, EL2_SAME, 0x9600000f
    msr pan, #0
    USER_CASE "HVC at the host's EL0", i_hvc, 0, EL2_LOWER, 0x02000000
    USER_CASE "CTR_EL0 without SCTLR_EL2.UCT", i_mrs_ctr, 0, EL2_LOWER, 0x62000000 + (3 << 20) + (1 << 17) + (3 << 14) + (5 << 5) + 1
    USER_CASE "WFI without SCTLR_EL2.nTWI", i_wfi, 0, EL2_LOWER, 0x07e00000
    USER_CASE "CNTVCT_EL0 without EL0VCTEN", i_cntvct, 0, EL2_LOWER, 0x62000000 + (3 << 20) + (2 << 17) + (3 << 14) + (14 << 10) + (4 << 5) + 1
    WRITE cntkctl_el1, 2
    USER_CASE "CNTVCT_EL0 with EL0VCTEN", i_cntvct, 0, EL2_LOWER, DONE
    WRITE cpacr_el1, 1 << 20
    USER_CASE "FMOV with FPEN 1", i_fmov, 0, EL2_LOWER, 0x1fe00000
    CASE "FMOV at EL2 with FPEN 1", EL2H, i_fmov, 0, EL2_SAME, DONE
    // Traps of a guest do not touch the host's EL0.
    WRITE hcr_el2, RW + E2H + TGE + (1 << 17) + (1 << 13)
    CHANGE sctlr_el1, (1 << 15) + (1 << 16)
    USER_CASE "TID2 is off", i_mrs_ctr, 0, EL2_LOWER, DONE
    CHANGE sctlr_el1, 0, 1
    FINISH
