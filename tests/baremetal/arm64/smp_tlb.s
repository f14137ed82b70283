// TLB maintenance for the Inner Shareable domain, seen by another processor that keeps using the page (DDI 0487, D8.14).
.include "common.inc"
.include "translation.inc"
    b main

.equ ROUNDS, 25
.equ SEEN, PAGES                        // what the second processor has read last, and how often it has read
.equ COUNT, PAGES + 8
.equ PAGE_A, PAGES + 0x5000
.equ PAGE_B, PAGES + 0x6000
.equ MOVING, PAGES + 0x4000
.ifdef USER_READER
.equ READABLE, AP_RW
.else
.equ READABLE, 0
.endif

reader:
    SET x1, SEEN
    SET x2, MOVING
    mov x4, #0
1:  ldr x3, [x2]
    str x3, [x1]
    dmb ish
    add x4, x4, #1
    str x4, [x1, #8]
    b 1b

second:
    WRITE hcr_el2, 1 << 31
    WRITE sctlr_el1, 0x30d00800
    MMU_REGISTERS
    adr x9, reader
.ifdef USER_READER                      // EL0, which sees code at USER
    SET x10, USER - 0x40000000
    add x9, x9, x10
    mov x10, #EL0T
.else
    mov x10, #EL1H
.endif
    msr elr_el2, x9
    msr spsr_el2, x10
    isb
    eret

// Page MOVING becomes `page`; the reader has read it twice when this ends.
.macro MOVE page, maintenance:vararg
    SET x9, L3 + 8 * 4
    SET x10, \page + PAGE + AF + UXN + PXN + (1 << 11) + READABLE
    str x10, [x9]
    dsb ishst
    \maintenance
    dsb ish
    SET x9, COUNT
    ldr x10, [x9]
    add x10, x10, #2
2:  yield
    ldr x11, [x9]
    cmp x11, x10
    b.lo 2b
    dmb ish
    SET x9, SEEN
    ldr x14, [x9]
.endm
.macro MOVES text, maintenance:vararg
    NAME "\text"
    mov x19, #ROUNDS
3:  MOVE PAGE_A, \maintenance
    CHECK "first page", x14, 0x55
    MOVE PAGE_B, \maintenance
    CHECK "second page", x14, 0x66
    subs x19, x19, #1
    b.ne 3b
.endm

main:
    WRITE hcr_el2, 1 << 31
    MMU_ON
    MAP 0, PAGE + AF + UXN + READABLE
    ENTRY L3, 4, PAGE_A + PAGE + AF + UXN + PXN + (1 << 11) + READABLE
    SET x9, PAGE_A
    mov x10, #0x55
    str x10, [x9]
    SET x9, PAGE_B
    mov x10, #0x66
    str x10, [x9]
    SET x9, SEEN
    stp xzr, xzr, [x9]
    dsb sy
    SET x0, 0xc4000003
    mov x1, #1
    adr x2, second
    mov x3, #0
    smc #0
    SET x6, MOVING >> 12
    SET x7, 0
    SET x8, (1 << 46) + (MOVING >> 12)
    MOVES "VAE1IS", tlbi vae1is, x6
    MOVES "VAALE1IS", tlbi vaale1is, x6
    MOVES "RVAE1IS", tlbi rvae1is, x8
    MOVES "ASIDE1IS", tlbi aside1is, x7
    MOVES "VMALLE1IS", tlbi vmalle1is
    FINISH
