// Misaligned accesses of Device memory (DDI 0487, B2.5.2 "Alignment of data accesses" and D8.5), of either stage, and what
// FEAT_LSE2 and SCTLR_EL1.nAA allow of ordered, exclusive and atomic accesses.
.include "common.inc"
.include "translation.inc"
    b main

STUB i_ldr, ldr x0, [x1]
STUB i_ldrb, ldrb w0, [x1]
STUB i_ldrh, ldrh w0, [x1]
STUB i_str, str x0, [x1]
STUB i_ldp, ldp x0, x2, [x1]
STUB i_stp, stp w0, w2, [x1]
STUB i_ldtr, ldtr w0, [x1]
STUB i_ldr_q, ldr q0, [x1]
STUB i_str_q, str q0, [x1]
STUB i_ld1_b, ld1 {v0.16b, v1.16b}, [x1]
STUB i_ld1_h, ld1 {v0.8h}, [x1]
STUB i_st1_s, st1 {v0.4s}, [x1]
STUB i_st4_d, st4 {v0.2d, v1.2d, v2.2d, v3.2d}, [x1]
STUB i_ldar, ldar x0, [x1]
STUB i_ldapr, ldapr x0, [x1]
STUB i_stlr, stlr x0, [x1]
STUB i_ldxr, ldxr x0, [x1]
STUB i_ldadd, ldadd w0, w2, [x1]
STUB i_ldsmax, ldsmax w0, w2, [x1]
STUB i_cas, cas w0, w2, [x1]
STUB i_swp, swp x0, x2, [x1]
STUB i_zva, dc zva, x1

.equ READ, 0x96000021
.equ WRITTEN, 0x96000061
.equ READ_EL2, 0x92000021
.equ NORMAL, PAGES + 0x1000
.equ DEV, PAGES
.equ STAGE2, PAGES + 0x2000             // Normal in stage 1, Device in stage 2

.macro FINE text, code, address
    CASE "\text", EL1H, \code, \address, EL1_SAME, DONE
.endm
.macro BAD text, code, address, esr
    FAULT "\text", EL1H, \code, \address, EL1_SAME, \esr, \code
.endm

main:
    WRITE cptr_el2, 0x33ff
    MMU_ON
    MAP 0, PAGE + AF + UXN + PXN + DEVICE
    MAP 1, PAGE + AF + UXN + PXN
    MAP 2, PAGE + AF + UXN + PXN
    MAP 3, PAGE + AF + UXN + PXN + DEVICE + AP_RW
    MAP 4, PAGE + AF + UXN + PXN + DEVICE + AP_RO
    MAP 5, PAGE + AF + UXN + PXN + AP_RO
    MAP 6, PAGE + AF + UXN + PXN
    dsb sy

    FINE "aligned", i_ldr, DEV + 8
    FINE "aligned store", i_str, DEV + 16
    FINE "byte", i_ldrb, DEV + 3
    BAD "halfword", i_ldrh, DEV + 1, READ
    BAD "doubleword", i_ldr, DEV + 4, READ
    BAD "doubleword store", i_str, DEV + 1, WRITTEN
    FINE "pair", i_ldp, DEV + 8
    BAD "pair, misaligned", i_ldp, DEV + 4, READ
    FINE "pair of words", i_stp, DEV + 4
    BAD "pair of words, misaligned", i_stp, DEV + 2, WRITTEN
    BAD "unprivileged", i_ldtr, DEV + 0x3002, READ
    FINE "quadword", i_ldr_q, DEV + 16
    BAD "quadword, misaligned", i_ldr_q, DEV + 8, READ
    BAD "quadword store, misaligned", i_str_q, DEV + 8, WRITTEN
    FINE "LD1 of bytes", i_ld1_b, DEV + 3
    FINE "LD1 of halfwords", i_ld1_h, DEV + 2
    BAD "LD1 of halfwords, misaligned", i_ld1_h, DEV + 1, READ
    FINE "ST1 of words", i_st1_s, DEV + 4
    BAD "ST1 of words, misaligned", i_st1_s, DEV + 2, WRITTEN
    BAD "ST4 of doublewords, misaligned", i_st4_d, DEV + 4, WRITTEN
    BAD "LDAR", i_ldar, DEV + 4, READ
    BAD "STLR", i_stlr, DEV + 4, WRITTEN
    BAD "LDXR", i_ldxr, DEV + 4, READ
    BAD "LDADD", i_ldadd, DEV + 2, READ
    BAD "LDSMAX", i_ldsmax, DEV + 2, READ
    BAD "CAS", i_cas, DEV + 2, READ
    BAD "DC ZVA", i_zva, DEV + 64, WRITTEN
    BAD "into Device memory", i_ldr, DEV + 0x2ffc, READ
    // The same twice, and once the page has been written.
    FINE "again aligned", i_ldr, DEV + 8
    BAD "again", i_ldr, DEV + 4, READ

    // Before a permission fault.
    BAD "read-only, misaligned", i_str, DEV + 0x4004, WRITTEN
    BAD "read-only, aligned", i_str, DEV + 0x4008, 0x9600004f
    BAD "read-only, DC ZVA", i_zva, DEV + 0x4040, WRITTEN
    BAD "EL1's page, LDTR, misaligned", i_ldtr, DEV + 2, READ
    BAD "EL1's page, LDTR", i_ldtr, DEV + 4, 0x9600000f
    BAD "read-only Normal memory, misaligned", i_str, DEV + 0x5004, 0x9600004f

    FINE "Normal memory", i_ldr, NORMAL + 1
    FINE "Normal memory, quadword", i_str_q, NORMAL + 7
    FINE "Normal memory, DC ZVA", i_zva, NORMAL + 70
    FINE "LSE2 within 16 bytes", i_ldar, NORMAL + 4
    FINE "LSE2 atomic within 16 bytes", i_swp, NORMAL + 1
    FINE "LSE2 exclusive within 16 bytes", i_ldxr, NORMAL + 3
    BAD "LDAR across 16 bytes", i_ldar, NORMAL + 12, READ
    BAD "LDAPR across 16 bytes", i_ldapr, NORMAL + 12, READ
    BAD "STLR across 16 bytes", i_stlr, NORMAL + 12, WRITTEN
    BAD "LDXR across 16 bytes", i_ldxr, NORMAL + 12, READ
    BAD "SWP across 16 bytes", i_swp, NORMAL + 12, READ
    CHANGE sctlr_el1, 1 << 6
    FINE "nAA: LDAR", i_ldar, NORMAL + 12
    FINE "nAA: LDAPR", i_ldapr, NORMAL + 12
    FINE "nAA: STLR", i_stlr, NORMAL + 12
    BAD "nAA: LDXR", i_ldxr, NORMAL + 12, READ
    BAD "nAA: SWP", i_swp, NORMAL + 12, READ
    BAD "nAA: LDAR of Device memory", i_ldar, DEV + 12, READ
    CHANGE sctlr_el1, 0, 1 << 6

    // Stage 2: 39 bits, 2 MiB blocks of Normal memory but for the pages at PAGES.
    SET x9, S2_L1
    mov x10, #0x600
1:  str xzr, [x9], #8
    subs x10, x10, #1
    b.ne 1b
    ENTRY S2_L1, 1, S2_L2 + 3
    ENTRY S2_L2, 0, 0x40000000 + S2_RW + 1
    ENTRY S2_L2, 2, 0x40400000 + S2_RW + 1
    ENTRY S2_L2, 3, S2_L3 + 3
    ENTRY S2_L3, 1, NORMAL + S2_RW + 3
    ENTRY S2_L3, 2, STAGE2 + (S2_RW - (15 << 2)) + 3
    ENTRY S2_L3, 6, PAGES + 0x6000 + (S2_RW - (15 << 2) - (2 << 6)) + 3
    WRITE vtcr_el2, 25 + (1 << 6) + (1 << 8) + (1 << 10) + (3 << 12) + (2 << 16) + (1 << 31)
    WRITE vttbr_el2, S2_L1
    WRITE hcr_el2, (1 << 31) + 1
    tlbi vmalls12e1
    dsb sy
    isb
    FINE "stage 2, Normal", i_ldr, NORMAL + 1
    FINE "stage 2, Device", i_ldr, STAGE2 + 8
    FAULT "stage 2, Device, misaligned", EL1H, i_ldr, STAGE2 + 4, EL2_LOWER, READ_EL2, i_ldr
    BAD "stage 2, Device, across 16 bytes", i_ldxr, STAGE2 + 12, READ
    FAULT "stage 2, read-only Device, misaligned", EL1H, i_str, DEV + 0x6004, EL2_LOWER, READ_EL2 + (1 << 6), i_str
    FAULT "stage 2, read-only Device", EL1H, i_str, DEV + 0x6008, EL2_LOWER, 0x9300004f + (3 << 22) + (1 << 15), i_str
    BAD "stage 1, Device, misaligned, before stage 2", i_ldr, DEV + 0x3004, READ
    FAULT "stage 2, translation", EL1H, i_ldr, DEV + 0x3008, EL2_LOWER, 0x93000007 + (3 << 22) + (1 << 15), i_ldr
    FINISH
