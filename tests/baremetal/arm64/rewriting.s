// Code that changes under the processor's feet, with the maintenance the manual asks for (DDI 0487, B2.4), and translations
// that change (D8.13 "TLB maintenance").
.include "common.inc"
.include "translation.inc"
    b main

.equ CODE, PAGES
.equ MOV_X0, 0xd2800000                 // movz x0, #n
.equ SVC99, 0xd4001321

i_load:
    ldr x0, [x1]
    svc #0x99
// Rewrites its own next instruction, x2 times.
i_self:
    mov x0, #0
1:  adr x3, 2f
    ldr w4, [x1]
    add w4, w4, #0x20                   // the immediate of movz goes up by one
    str w4, [x1]
    dc cvau, x1
    dsb ish
    ic ivau, x1
    dsb ish
    isb
    blr x1
2:  add x0, x0, x5
    subs x2, x2, #1
    b.ne 1b
    svc #0x99

.macro TLBI_CASE text, more:vararg
    NAME "\text"
    ENTRY L3, 4, PAGES + 0x5000 + PAGE + AF + (1 << 11)
    tlbi vmalle1is
    dsb ish
    SET x1, PAGES + 0x4000
    RUN EL1H, i_load
    CHECK_RECORD "before", R_X0, 0x55
    ENTRY L3, 4, PAGES + 0x6000 + PAGE + AF + (1 << 11)
    dsb ishst
    \more
    dsb ish
    isb
    SET x1, PAGES + 0x4000
    RUN EL1H, i_load
    CHECK_RECORD "after", R_X0, 0x66
.endm

main:
    WRITE hcr_el2, 1 << 31
    MMU_ON
    MAP 0, PAGE + AF + UXN
    MAP 1, PAGE + AF + UXN
    ENTRY L3, 2, PAGES + PAGE + AF + UXN         // another name of page 0
    MAP 5, PAGE + AF
    MAP 6, PAGE + AF
    SET x9, PAGES + 0x5000
    mov x10, #0x55
    str x10, [x9]
    SET x9, PAGES + 0x6000
    mov x10, #0x66
    str x10, [x9]

    // movz x5, #0; ret
    NAME "a function that its caller rewrites"
    SET x1, CODE
    SET x9, 0xd2800005
    str w9, [x1]
    SET x9, 0xd65f03c0
    str w9, [x1, #4]
    mov x2, #50
    RUN EL1H, i_self
    CHECK_RECORD "sum", R_X0, 50 * 51 / 2
    NAME "rewritten under another name"
    SET x1, CODE + 0x2000
    mov x2, #20
    RUN EL1H, i_self
    CHECK_RECORD "sum", R_X0, 20 * 50 + 20 * 21 / 2

    // Code at EL2, which a store of EL2 replaces.
    NAME "rewritten at EL2"
    SET x1, CODE + 0x100
    SET x3, MOV_X0 + (1 << 5)
    SET x4, 0xd65f03c0
    str w3, [x1]
    str w4, [x1, #4]
    dc cvau, x1
    dsb sy
    ic ivau, x1
    dsb sy
    isb
    blr x1
    mov x14, x0
    CHECK "first", x14, 1
    SET x3, MOV_X0 + (2 << 5)
    str w3, [x1]
    dc cvau, x1
    dsb sy
    ic ialluis
    dsb sy
    isb
    blr x1
    mov x14, x0
    CHECK "second", x14, 2

    // TLBI in its forms. Page 4 is not global, ASID 7 and VMID 0.
    WRITE ttbr0_el1, L1 + (7 << 48)
    SET x6, (7 << 48) + ((PAGES + 0x4000) >> 12)
    SET x7, 7 << 48
    // Range: 4 KiB granule, SCALE 0, NUM 0 (two pages), TTL 0, from page 4 on.
    SET x8, (7 << 48) + (1 << 46) + ((PAGES + 0x4000) >> 12)
    TLBI_CASE "VMALLE1", tlbi vmalle1
    TLBI_CASE "VMALLE1IS", tlbi vmalle1is
    TLBI_CASE "VMALLS12E1", tlbi vmalls12e1
    TLBI_CASE "ALLE1", tlbi alle1
    TLBI_CASE "ALLE1IS", tlbi alle1is
    TLBI_CASE "VAE1", tlbi vae1, x6
    TLBI_CASE "VAE1IS", tlbi vae1is, x6
    TLBI_CASE "VALE1", tlbi vale1, x6
    TLBI_CASE "VALE1IS", tlbi vale1is, x6
    TLBI_CASE "VAAE1", tlbi vaae1, x6
    TLBI_CASE "VAALE1", tlbi vaale1, x6
    TLBI_CASE "ASIDE1", tlbi aside1, x7
    TLBI_CASE "ASIDE1IS", tlbi aside1is, x7
    TLBI_CASE "VAE1OS", tlbi vae1os, x6
    TLBI_CASE "RVAE1", tlbi rvae1, x8
    // Four pages from page 2 on, and 64 from page 0 on.
    SET x8, (7 << 48) + (1 << 46) + (1 << 39) + ((PAGES + 0x2000) >> 12)
    TLBI_CASE "RVAE1IS of four pages", tlbi rvae1is, x8
    TLBI_CASE "RVAALE1 of four pages", tlbi rvaale1, x8
    SET x8, (7 << 48) + (1 << 46) + (1 << 44) + (PAGES >> 12)
    TLBI_CASE "RVAE1 of 64 pages", tlbi rvae1, x8
    FINISH
