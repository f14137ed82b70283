// The Event Register, SEV between processors and the event stream (DDI 0487, D1.6 and D11.2.4), and exclusives that another
// processor's store ends.
.include "common.inc"
.include "translation.inc"
    b main

.equ TURN, PAGES
.equ FLAG, PAGES + 64
.equ WORD, PAGES + 128
.equ ROUNDS, 300
.equ STREAM, (1 << 2) + (15 << 4)       // an event every 65536 counts, which are nanoseconds here

// Waits by WFE alone, without the monitor, until [x1] is x2.
.macro AWAIT
1:  ldr x9, [x1]
    cmp x9, x2
    b.eq 2f
    wfe
    b 1b
2:
.endm

// The second processor answers each turn, and writes WORD when FLAG asks for it.
second:
    WRITE hcr_el2, 1 << 31
    SET x1, TURN
    mov x2, #1
3:  AWAIT
    add x2, x2, #1
    str x2, [x1]
    dsb sy
    sev
    add x2, x2, #1
    cmp x2, #(2 * ROUNDS)
    b.lo 3b
    SET x1, FLAG
    SET x4, WORD
    mov x2, #1
4:  AWAIT
    str x2, [x4]
    dsb sy
    add x2, x2, #1
    str x2, [x1]
    dsb sy
    sev
    add x2, x2, #1
    b 4b

// x19: the time of x20 WFEs.
time_waits:
    isb
    mrs x19, cntvct_el0
1:  wfe
    subs x20, x20, #1
    b.ne 1b
    isb
    mrs x9, cntvct_el0
    sub x19, x9, x19
    ret

.macro AT_LEAST what, got, want
    SET x12, (\want)
    cmp \got, x12
    csel x11, x12, \got, hs
    adr x13, 7f
    bl check
    b 8f
7:  .asciz "\what"
    .balign 4
8:
.endm

main:
    NAME "event stream"
    WRITE cntkctl_el1, STREAM
    isb
    mov x20, #100
    bl time_waits
    // What ends a WFE stays in the Event Register, so that the next one ends at once.
    AT_LEAST "100 waits", x19, 45 * 65536
    WRITE cntkctl_el1, 0
    WRITE cnthctl_el2, 3 + STREAM
    isb
    mov x20, #50
    bl time_waits
    AT_LEAST "50 waits with CNTHCTL_EL2", x19, 20 * 65536
    // An event that came before WFE was reached ends it at once: just behind one, the next is far away. Several tries, for
    // the host may take its time.
    NAME "event before WFE"
    mov x21, #50
5:  sevl
    wfe
6:  mrs x9, cntpct_el0
    tbnz x9, #15, 6b
6:  mrs x9, cntpct_el0
    and x9, x9, #0xffff
    sub x9, x9, #0x8000
    cmp x9, #0x800
    b.hs 6b
    mov x20, #1
    bl time_waits
    mov x12, #20000
    cmp x19, x12
    b.lo 6f
    subs x21, x21, #1
    b.ne 5b
6:  cmp x21, #0
    cset x14, eq
    CHECK "waited", x14, 0
    WRITE cnthctl_el2, 3

    NAME "turns by SEV"
    SET x0, 0xc4000003
    mov x1, #1
    adr x2, second
    mov x3, #0
    smc #0
    mov x14, x0
    CHECK "CPU_ON", x14, 0
    SET x1, TURN
    mov x2, #1
3:  str x2, [x1]
    dsb sy
    sev
    add x2, x2, #1
    AWAIT
    add x2, x2, #1
    cmp x2, #(2 * ROUNDS)
    b.lo 3b

    // Another processor's store between LDXR and STXR, and its own store of another value.
    NAME "exclusives"
    SET x1, FLAG
    SET x4, WORD
    ldxr x5, [x4]
    mov x2, #1
    str x2, [x1]
    dsb sy
    sev
    mov x2, #2
    AWAIT
    mov x6, #77
    stxr w7, x6, [x4]
    mov x14, x7
    CHECK "STXR after another processor's store", x14, 1
    ldr x14, [x4]
    CHECK "value", x14, 1
    ldxr x5, [x4]
    mov x6, #5
    str x6, [x4]
    stxr w7, x6, [x4]
    mov x14, x7
    CHECK "STXR after its own store", x14, 1
    mov x6, #78
    ldxr x5, [x4]
    clrex
    stxr w7, x6, [x4]
    mov x14, x7
    CHECK "STXR after CLREX", x14, 1
    stxr w7, x6, [x4]
    mov x14, x7
    CHECK "STXR without LDXR", x14, 1
    ldxr x5, [x4]
    add x8, x4, #8
    stxr w7, x6, [x8]
    mov x14, x7
    CHECK "STXR elsewhere", x14, 1
    ldxr x5, [x4]
    stxr w7, w6, [x4]
    mov x14, x7
    CHECK "STXR of another size", x14, 1
    ldxr x5, [x4]
    stxr w7, x6, [x4]
    mov x14, x7
    CHECK "STXR", x14, 0
    stxr w7, x6, [x4]
    mov x14, x7
    CHECK "STXR twice", x14, 1
    ldxr x5, [x4]
    mov x10, #EL2H
    adr x9, returned
    msr elr_el2, x9
    msr spsr_el2, x10
    isb
    eret
returned:
    stxr w7, x6, [x4]
    mov x14, x7
    CHECK "STXR after an exception return", x14, 1
    FINISH
