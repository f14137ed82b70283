// Granules of 16 and 64 KiB, contiguous entries, start levels and concatenated tables, seen through AT (DDI 0487, D8.2).
.include "common.inc"
.include "translation.inc"
    b main

.equ T1, 0x40410000                     // tables, 64 KiB each
.equ T2, 0x40420000
.equ T3, 0x40430000
.equ S2_WIDE, 0x40480000
.equ CONTIGUOUS, 1 << 52
.macro AT_CASE text, insn, argument, par
    NAME "\text"
    SET x1, (\argument)
    at \insn, x1
    isb
    mrs x14, par_el1
    CHECK "PAR_EL1", x14, \par
.endm
.macro MAPPED text, address, to
    AT_CASE "\text", s1e1r, \address, 0xff00000000000b80 + \to
.endm
.macro UNMAPPED text, address, level
    AT_CASE "\text", s1e1r, \address, 0x801 + ((4 + \level) << 1)
.endm
.macro TCR tsz, tg
    WRITE tcr_el1, \tsz + (\tg << 14) + (3 << 12) + (1 << 10) + (1 << 8) + (1 << 23)
    tlbi vmalle1
    dsb sy
    isb
.endm
.macro CLEAR_TABLES
    SET x9, T1
    mov x10, #0x6000
1:  str xzr, [x9], #8
    subs x10, x10, #1
    b.ne 1b
.endm

main:
    WRITE ttbr0_el1, T1
    WRITE mair_el1, 0xff
    CHANGE sctlr_el1, 1
    // 16 KiB, 36 bits: levels 2 (32 MiB blocks) and 3.
    CLEAR_TABLES
    ENTRY T1, 32, 0x40000000 + BLOCK + AF
    ENTRY T1, 33, T2 + 3
    ENTRY T2, 0, 0x50004000 + PAGE + AF
    ENTRY T2, 2047, 0x50008000 + PAGE + AF
    ENTRY T2, 32, 0x50200000 + PAGE + AF + CONTIGUOUS
    ENTRY T2, 33, 0x50204000 + PAGE + AF + CONTIGUOUS
    TCR 28, 2
    MAPPED "16 KiB: block", 0x40ab5000, 0x40ab5000
    MAPPED "16 KiB: first page", 0x42003000, 0x50007000
    MAPPED "16 KiB: last page", 0x43fff000, 0x5000b000
    MAPPED "16 KiB: contiguous", 0x42085000, 0x50205000
    UNMAPPED "16 KiB: hole at level 3", 0x42004000, 3
    UNMAPPED "16 KiB: hole at level 2", 0x44000000, 2
    UNMAPPED "16 KiB: out of range", 0x1000000000, 0
    // 16 KiB, 47 bits: level 1 first.
    ENTRY T3, 0, T1 + 3
    WRITE ttbr0_el1, T3
    TCR 17, 2
    MAPPED "16 KiB, 47 bits: block", 0x40ab5000, 0x40ab5000
    UNMAPPED "16 KiB, 47 bits: hole at level 1", 0x1000000000, 1
    // A block at level 1 does not exist with this granule.
    ENTRY T3, 1, BLOCK + AF
    TCR 17, 2
    UNMAPPED "16 KiB: block at level 1", 0x1000000000, 1
    // 64 KiB, 42 bits: levels 2 (512 MiB blocks) and 3.
    CLEAR_TABLES
    WRITE ttbr0_el1, T1
    ENTRY T1, 2, 0x40000000 + BLOCK + AF
    ENTRY T1, 3, T2 + 3
    ENTRY T2, 0, 0x50010000 + PAGE + AF
    ENTRY T2, 8191, 0x50020000 + PAGE + AF
    TCR 22, 1
    MAPPED "64 KiB: block", 0x5fff5000, 0x5fff5000
    MAPPED "64 KiB: first page", 0x6000f000, 0x5001f000
    MAPPED "64 KiB: last page", 0x7fff1000, 0x50021000
    UNMAPPED "64 KiB: hole at level 3", 0x60010000, 3
    UNMAPPED "64 KiB: hole at level 2", 0x80000000, 2
    // 64 KiB, 48 bits: level 1 first.
    ENTRY T3, 0, T1 + 3
    WRITE ttbr0_el1, T3
    TCR 16, 1
    MAPPED "64 KiB, 48 bits: page", 0x6000f000, 0x5001f000
    UNMAPPED "64 KiB, 48 bits: hole at level 1", 0x40000000000, 1
    // 4 KiB, 48 bits: four levels; 30 bits: a table of level 2.
    CLEAR_TABLES
    ENTRY T1, 0, T2 + 3
    ENTRY T2, 1, T3 + 3
    ENTRY T3, 3, 0x40600000 + BLOCK + AF
    WRITE ttbr0_el1, T1
    TCR 16, 0
    MAPPED "4 KiB, 48 bits", 0x40612000, 0x40612000
    UNMAPPED "4 KiB, 48 bits: hole at level 0", 0x8000000000, 0
    WRITE ttbr0_el1, T3
    TCR 34, 0
    MAPPED "4 KiB, 30 bits", 0x612000, 0x40612000
    UNMAPPED "4 KiB, 30 bits: hole at level 2", 0x200000, 2
    UNMAPPED "4 KiB, 30 bits: out of range", 0x40000000, 0

    // Stage 2: 4 KiB, 40 bits, two concatenated tables of level 1; stage 1 off.
    CHANGE sctlr_el1, 0, 1
    CLEAR_TABLES
    WRITE hcr_el2, (1 << 31) + 1
    WRITE vttbr_el2, T1
    WRITE vtcr_el2, 0x80000000 + 24 + (1 << 6) + (2 << 16)
    ENTRY T1, 1, 0x40000000 + 1 + S2_RW
    ENTRY T1, 512, 0x80000000 + 1 + S2_RW
    tlbi alle1
    dsb sy
    isb
    SET x1, 0x40612000
    at s12e1r, x1
    isb
    mrs x14, par_el1
    and x14, x14, #0xfffffffff000
    NAME "stage 2, 40 bits"
    CHECK "first table", x14, 0x40612000
    SET x1, 0x8000012000
    at s12e1r, x1
    isb
    mrs x14, par_el1
    and x14, x14, #0xfffffffff000
    CHECK "second table", x14, 0x80012000
    // 64 KiB, 40 bits: SL0 1 is level 2.
    CLEAR_TABLES
    ENTRY T1, 2, 0x40000000 + 1 + S2_RW
    WRITE vtcr_el2, 0x80000000 + 24 + (1 << 6) + (2 << 16) + (1 << 14)
    tlbi alle1
    dsb sy
    isb
    SET x1, 0x50612000
    at s12e1r, x1
    isb
    mrs x14, par_el1
    and x14, x14, #0xfffffffff000
    NAME "stage 2, 64 KiB"
    CHECK "block", x14, 0x50612000
    // 16 KiB, 40 bits: SL0 1 is level 2, sixteen concatenated tables, 256 KiB in all.
    WRITE vttbr_el2, S2_WIDE
    ENTRY S2_WIDE, 32, 0x40000000 + 1 + S2_RW
    WRITE vtcr_el2, 0x80000000 + 24 + (1 << 6) + (2 << 16) + (2 << 14)
    tlbi alle1
    dsb sy
    isb
    SET x1, 0x40612000
    at s12e1r, x1
    isb
    mrs x14, par_el1
    and x14, x14, #0xfffffffff000
    NAME "stage 2, 16 KiB"
    CHECK "block", x14, 0x40612000
    FINISH
