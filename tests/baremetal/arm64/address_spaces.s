// ASIDs: which translations every form of TLB maintenance ends, and that none is used in another address space (DDI 0487,
// D8.13 and D8.14). Two sets of tables differ in some pages of PAGES; EL0 looks at them, EL1 maintains.
.include "common.inc"
.include "translation.inc"
    b main

.equ DABT_LOWER, 0x92000000
.equ FLT_TRANS, 4
.equ FLT_PERM, 12
.equ WNR, 1 << 6
.equ NG, 1 << 11
.equ L1_B, 0x40408000
.equ L2_B, 0x40409000
.equ L3_B, 0x4040a000
.equ P, PAGES
.equ OWN, PAGE + AF + AP_RW + NG

// Maintenance that is complete when it ends.
.macro TLBI_STUB name, insn:vararg
\name:
    \insn
    dsb sy
    isb
    svc #0x99
.endm
i_load:
    ldr x0, [x1]
    svc #0x99
i_store:
    str x0, [x1, #8]
    ldr x0, [x1]
    svc #0x99
i_jump:
    br x1
TLBI_STUB i_vmalle1, tlbi vmalle1
TLBI_STUB i_vmalle1is, tlbi vmalle1is
TLBI_STUB i_aside1, tlbi aside1, x1
TLBI_STUB i_aside1is, tlbi aside1is, x1
TLBI_STUB i_vae1, tlbi vae1, x1
TLBI_STUB i_vae1is, tlbi vae1is, x1
TLBI_STUB i_vaae1, tlbi vaae1, x1
TLBI_STUB i_vale1, tlbi vale1, x1
TLBI_STUB i_vaale1is, tlbi vaale1is, x1
TLBI_STUB i_rvae1, tlbi rvae1, x1
TLBI_STUB i_vmalle1os, tlbi vmalle1os
TLBI_STUB i_aside1os, tlbi aside1os, x1

.macro SPACE table, asid
    WRITE ttbr0_el1, \table + (\asid << 48)
    isb
.endm
.macro RUN_USER code
    adr x9, \code
    SET x10, USER - 0x40000000
    add x9, x9, x10
    mov x10, #EL0T
    bl run
.endm
.macro USER_SEES text, code, argument, want
    NAME "\text"
    SET x1, (\argument)
    RUN_USER \code
    TAKEN EL1_LOWER, DONE
    CHECK_RECORD "X0", R_X0, \want
.endm
.macro SEES text, want
    USER_SEES "\text", i_load, P + 0x1008, \want
.endm
.macro USER_FAULT text, code, argument, esr
    NAME "\text"
    SET x1, (\argument)
    RUN_USER \code
    TAKEN EL1_LOWER, \esr
    CHECK_RECORD "FAR", R_FAR, \argument
.endm
// Page n of PAGES becomes page m in the tables of B.
.macro MAP_B n, m, attributes=OWN
    ENTRY L3_B, \n, P + 0x1000 * (\m) + \attributes
    dsb sy
.endm
.macro MAINTAIN code, argument
    NAME "\code"
    SET x1, (\argument)
    RUN EL1H, \code
    TAKEN EL1_SAME, DONE
.endm
// In space A: page 1 of space B becomes page m, and the instruction ends what B had.
.macro CHANGES m, code, argument=0
    SPACE L1, 1
    MAP_B 1, \m
    MAINTAIN \code, \argument
    SPACE L1_B, 2
    SEES "\code", 0x11 * \m
.endm

main:
    WRITE hcr_el2, 1 << 31
    MMU_ON
    SET x9, L1_B
    mov x10, #0x600
1:  str xzr, [x9], #8
    subs x10, x10, #1
    b.ne 1b
    ENTRY L1_B, 1, L2_B + 3
    ENTRY L1_B, 2, L2_USER + 3
    ENTRY L2_B, 0, 0x40000000 + BLOCK + AF + UXN + AP_RO
    ENTRY L2_B, 3, L3_B + 3
    MAP 1, OWN
    MAP_B 1, 2
    ENTRY L3, 8, P + 0x4000 + OWN
    MAP_B 8, 5
    .set n, 1
    .rept 3
    SET x9, P + 0x1008 + 0x1000 * (n - 1)
    mov x10, #(0x11 * n)
    str x10, [x9]
    .set n, n + 1
    .endr
    // "mov x0, #n" and "svc #0x99" in pages 4 and 5.
    SET x9, P + 0x4000
    SET x10, 0xd4001321d2800880
    str x10, [x9]
    SET x9, P + 0x5000
    SET x10, 0xd4001321d2800aa0
    str x10, [x9]
    dsb sy

    SPACE L1, 1
    SEES "ASID 1", 0x11
    SPACE L1_B, 2
    SEES "ASID 2", 0x22
    mov x20, #3
2:  SPACE L1, 1
    SEES "ASID 1 again", 0x11
    USER_SEES "its code", i_jump, P + 0x8000, 0x44
    SPACE L1_B, 2
    SEES "ASID 2 again", 0x22
    USER_SEES "its code", i_jump, P + 0x8000, 0x55
    sub x20, x20, #1
    cbnz x20, 2b

    CHANGES 3, i_aside1, 2 << 48
    CHANGES 2, i_aside1is, 2 << 48
    CHANGES 3, i_vae1, (2 << 48) + ((P + 0x1000) >> 12)
    CHANGES 2, i_vae1is, (2 << 48) + ((P + 0x1000) >> 12)
    CHANGES 3, i_vaae1, (P + 0x1000) >> 12
    CHANGES 2, i_vale1, (2 << 48) + ((P + 0x1000) >> 12)
    CHANGES 3, i_vaale1is, (P + 0x1000) >> 12
    CHANGES 2, i_vmalle1
    CHANGES 3, i_vmalle1is
    CHANGES 2, i_rvae1, (2 << 48) + (1 << 46) + (P >> 12)
    CHANGES 3, i_vmalle1os
    CHANGES 2, i_rvae1, (2 << 48) + (1 << 46) + (31 << 39) + ((P - 0x3e000) >> 12)
    CHANGES 3, i_rvae1, (2 << 48) + (1 << 46) + (31 << 39) + ((P + 0x1000) >> 12)
    CHANGES 2, i_aside1os, 2 << 48
    SPACE L1, 1
    SEES "ASID 1 still has its own", 0x11
    // By EL2.
    MAP_B 1, 3
    tlbi alle1
    dsb sy
    SPACE L1_B, 2
    SEES "ALLE1", 0x33
    SPACE L1, 1
    MAP_B 1, 2
    SET x9, 2 << 48
    tlbi aside1, x9
    dsb sy
    SPACE L1_B, 2
    SEES "ASIDE1 by EL2", 0x22

    // A page that goes, and one that becomes read-only.
    USER_SEES "a store", i_store, P + 0x1008, 0x22
    SPACE L1, 1
    MAP_B 1, 2, 0
    MAINTAIN i_aside1, 2 << 48
    SPACE L1_B, 2
    USER_FAULT "a page that is gone", i_load, P + 0x1008, DABT_LOWER + FLT_TRANS + 3
    SPACE L1, 1
    MAP_B 1, 2, PAGE + AF + AP_RO_USER + NG
    MAINTAIN i_vae1, (2 << 48) + ((P + 0x1000) >> 12)
    SPACE L1_B, 2
    SEES "a page that is read-only", 0x22
    NAME "a store to it"
    SET x1, P + 0x1008
    RUN_USER i_store
    TAKEN EL1_LOWER, DABT_LOWER + WNR + FLT_PERM + 3
    MAP_B 1, 2
    MAINTAIN i_vmalle1, 0

    // Code that is written over while another address space is current.
    USER_SEES "code", i_jump, P + 0x8000, 0x55
    SPACE L1, 1
    SET x9, P + 0x5000
    SET x10, 0xd4001321d2800cc0
    str x10, [x9]
    dsb sy
    ic ialluis
    dsb sy
    isb
    SPACE L1_B, 2
    USER_SEES "code that has been written over", i_jump, P + 0x8000, 0x66

    // TCR_EL1.A1: the ASID is that of TTBR1.
    CHANGE tcr_el1, 1 << 22
    tlbi vmalle1
    dsb sy
    WRITE ttbr1_el1, L1 + (7 << 48)
    SPACE L1, 1
    SEES "ASID 7 of TTBR1", 0x11
    WRITE ttbr1_el1, L1 + (8 << 48)
    SPACE L1_B, 1
    SEES "ASID 8 of TTBR1", 0x22
    WRITE ttbr1_el1, L1 + (7 << 48)
    SPACE L1, 1
    SEES "ASID 7 of TTBR1", 0x11
    MAP_B 1, 3
    MAINTAIN i_aside1, 8 << 48
    WRITE ttbr1_el1, L1 + (8 << 48)
    SPACE L1_B, 1
    SEES "ASIDE1 of TTBR1's", 0x33
    CHANGE tcr_el1, 0, 1 << 22
    MAP_B 1, 2
    tlbi vmalle1
    dsb sy

    // TCR_EL1.AS: all 16 bits count. More of them than are likely to be kept.
    CHANGE tcr_el1, 1 << 36
    tlbi vmalle1
    dsb sy
    mov x20, #2
3:  .set n, 1
    .rept 12
    SPACE L1, (n * 0x100 + 2)
    SEES "one of many", 0x11
    SPACE L1_B, (n * 0x100 + 3)
    SEES "another of many", 0x22
    .set n, n + 1
    .endr
    sub x20, x20, #1
    cbz x20, 4f
    b 3b
4:  SPACE L1_B, 0x303
    SEES "ASID 0x303", 0x22
    SPACE L1, 0x302
    MAP_B 1, 3
    MAINTAIN i_aside1, 0x303 << 48
    SPACE L1_B, 0x303
    SEES "ASIDE1 with 16 bits", 0x33
    FINISH
