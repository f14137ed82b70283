// The local exclusive monitor on one processor: when a Store-Exclusive must succeed and when it must fail (DDI 0487, B2.12.1
// "Exclusive access instructions and Non-shareable memory locations" and AArch64.ExclusiveMonitorsPass).
.include "common.inc"
.include "translation.inc"
    b main

.equ DATA, PAGES + 0x1000
.equ READ_ONLY, PAGES + 0x2000

// One more status bit in x0, from w3.
.macro STATUS
    orr x0, x3, x0, lsl #1
.endm
// x1: DATA, x2: what is stored.
.macro FORMS load, store, value
    \load \value, [x1]
    \store w3, \value, [x1]
    STATUS
    \store w3, \value, [x1]
    STATUS
.endm

i_forms:
    mov x0, #1
    FORMS ldxrb, stxrb, w2
    FORMS ldaxrb, stlxrb, w2
    FORMS ldxrh, stxrh, w2
    FORMS ldaxrh, stlxrh, w2
    FORMS ldxr, stxr, w2
    FORMS ldaxr, stlxr, w2
    FORMS ldxr, stxr, x2
    FORMS ldaxr, stlxr, x2
    svc #0x99
i_pairs:
    mov x0, #1
    ldxp w4, w5, [x1]
    stxp w3, w2, w2, [x1]
    STATUS
    stxp w3, w4, w5, [x1]
    STATUS
    ldaxp x4, x5, [x1]
    stlxp w3, x2, x2, [x1]
    STATUS
    stlxp w3, x4, x5, [x1]
    STATUS
    svc #0x99
i_lost:
    mov x0, #1
    ldxr x2, [x1]                       // CLREX
    clrex
    stxr w3, x2, [x1]
    STATUS
    ldxp x4, x5, [x1]
    clrex
    stxp w3, x4, x5, [x1]
    STATUS
    ldxr x2, [x1]                       // another address
    add x6, x1, #64
    stxr w3, x2, [x6]
    STATUS
    stxr w3, x2, [x1]                   // which ends it for the first, too
    STATUS
    ldxr x2, [x6]                       // the last Load-Exclusive counts
    ldxr x2, [x1]
    stxr w3, x2, [x6]
    STATUS
    ldxr x2, [x6]
    ldxr x2, [x1]
    stxr w3, x2, [x1]
    STATUS
    svc #0x99
i_update:
    ldxr x2, [x1]
    add x2, x2, #5
    stxr w3, x2, [x1]
    add x2, x2, #1
    stxr w3, x2, [x1]
    stxr wzr, x2, [x1]
    ldr x0, [x1]
    svc #0x99
i_load:
    ldxr x2, [x1]
    svc #0x99
i_store:
    stxr w3, x2, [x1]
    mov x0, x3
    svc #0x99
i_load_store:
    ldxr x2, [x1]
i_store_there:
    stxr w3, x2, [x1]
    svc #0x99

.macro STATUSES text, code, want
    CASE "\text", EL1H, \code, DATA, EL1_SAME, DONE
    CHECK_RECORD "statuses", R_X0, \want
.endm
main:
    MMU_ON
    MAP 1, PAGE + AF + UXN + PXN
    MAP 2, PAGE + AF + UXN + PXN + AP_RO
    dsb sy
    STATUSES "each form succeeds once", i_forms, 0x15555
    STATUSES "pairs succeed once", i_pairs, 0b10101
    STATUSES "CLREX and other addresses", i_lost, 0b1111110
    NAME "what is stored"
    SET x9, DATA
    mov x10, #7
    str x10, [x9]
    STATUSES "value", i_update, 12
    CASE "marked, then an exception return", EL1H, i_load, DATA, EL1_SAME, DONE
    STATUSES "marked, then an exception return", i_store, 1
    FAULT "on a read-only page", EL1H, i_load_store, READ_ONLY, EL1_SAME, 0x9600004f, i_store_there
    FINISH
