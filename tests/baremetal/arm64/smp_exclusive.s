// Two processors on the same counters: exclusives, single atomics, compare and swap, and a spin lock with WFE and SEV
// (DDI 0487, B2.12).
.include "common.inc"
.include "translation.inc"
    b main

.equ ROUNDS, 3000
// Offsets from PAGES.
.equ EXCLUSIVE, 0
.equ ATOMIC, 64
.equ SWAPPED, 128
.equ LOCK, 192
.equ GUARDED_BY_LOCK, 256
.equ FINISHED, 320
.equ PAIR, 384

// x1: PAGES. Ends with svc on the first processor, never on the second (x8 is not zero).
work:
    mov x2, #ROUNDS
1:  add x3, x1, #EXCLUSIVE
2:  ldxr x4, [x3]
    add x4, x4, #1
    stxr w5, x4, [x3]
    cbnz w5, 2b
    add x3, x1, #ATOMIC
    mov x4, #3
    ldaddal x4, x5, [x3]
    add x3, x1, #SWAPPED
2:  ldr x4, [x3]
    add x5, x4, #5
    mov x6, x4
    casal x6, x5, [x3]
    cmp x6, x4
    b.ne 2b
    add x3, x1, #PAIR
2:  ldaxp x4, x5, [x3]
    add x4, x4, #1
    sub x5, x5, #1
    stlxp w6, x4, x5, [x3]
    cbnz w6, 2b
    // A lock as kernels take it: wait for the holder's store with WFE.
    add x3, x1, #LOCK
    mov w5, #1
    sevl
2:  wfe
3:  ldaxr w4, [x3]
    cbnz w4, 2b
    stxr w4, w5, [x3]
    cbnz w4, 3b
    ldr x4, [x1, #GUARDED_BY_LOCK]
    add x4, x4, #1
    str x4, [x1, #GUARDED_BY_LOCK]
    stlr wzr, [x3]
    sev
    subs x2, x2, #1
    b.ne 1b
    add x3, x1, #FINISHED
    mov x4, #1
    staddl x4, [x3]
    cbnz x8, .
2:  ldar x4, [x3]
    yield
    cmp x4, #2
    b.ne 2b
    svc #0x99

second:
    WRITE hcr_el2, 1 << 31
    WRITE sctlr_el1, 0x30d00800
    MMU_REGISTERS
    SET x1, PAGES
    mov x8, #1
    adr x9, work
    mov x10, #EL1H
    msr elr_el2, x9
    msr spsr_el2, x10
    isb
    eret

main:
    WRITE hcr_el2, 1 << 31
    MMU_ON
    MAP 0, PAGE + AF + UXN
    SET x9, PAGES
    mov x10, #64
1:  str xzr, [x9], #8
    subs x10, x10, #1
    b.ne 1b
    dsb sy
    SET x0, 0xc4000003
    mov x1, #1
    adr x2, second
    mov x3, #0
    smc #0
    mov x14, x0
    NAME "two processors"
    CHECK "CPU_ON", x14, 0
    SET x1, PAGES
    mov x8, #0
    RUN EL1H, work
    TAKEN EL1_SAME, DONE
    SET x1, PAGES
    ldr x14, [x1, #EXCLUSIVE]
    CHECK "exclusives", x14, 2 * ROUNDS
    ldr x14, [x1, #ATOMIC]
    CHECK "LDADD", x14, 6 * ROUNDS
    ldr x14, [x1, #SWAPPED]
    CHECK "CAS", x14, 10 * ROUNDS
    ldr x14, [x1, #PAIR]
    CHECK "pair, first", x14, 2 * ROUNDS
    ldr x14, [x1, #PAIR + 8]
    CHECK "pair, second", x14, -2 * ROUNDS
    ldr x14, [x1, #GUARDED_BY_LOCK]
    CHECK "lock", x14, 2 * ROUNDS
    FINISH
