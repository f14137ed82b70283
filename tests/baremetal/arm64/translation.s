// Stage 1 and stage 2 translation: faults of every level and kind with their syndromes, AT, PAN, UAO, hardware access flag
// and dirty state (DDI 0487, D8 and the ISS encodings of ESR_ELx).
.include "common.inc"
.include "translation.inc"
    b main

.equ DABT_LOWER, 0x92000000             // EC 0x24
.equ DABT, 0x96000000                   // EC 0x25
.equ IABT_LOWER, 0x82000000
.equ IABT, 0x86000000
.equ WNR, 1 << 6
.equ CM, 1 << 8
.equ S1PTW, 1 << 7
.equ FLT_SIZE, 0
.equ FLT_TRANS, 4
.equ FLT_AF, 8
.equ FLT_PERM, 12
.equ FLT_NOTHING, 0x10                  // an access where nothing answers
.equ FLT_EXTERNAL, 0x14                 // on a table that is nowhere
// ISV of "ldr x0, [x1]" and "str x0, [x1]": 64 bits, register 0.
.equ ISV64, (1 << 24) + (3 << 22) + (1 << 15)

STUB i_load, ldr x0, [x1]
STUB i_store, str x0, [x1]
STUB i_ldtr, ldtr x0, [x1]
STUB i_sttr, sttr x0, [x1]
STUB i_load_back, ldr x0, [x1], #8
STUB i_load_signed, ldrsh w7, [x1]
STUB i_load_signed64, ldrsb x8, [x1]
STUB i_load_w, ldr w9, [x1]
STUB i_load_pair, ldp x2, x3, [x1]
STUB i_load_acquire, ldar w4, [x1]
STUB i_load_exclusive, ldxr x5, [x1]
STUB i_ldadd, ldadd x2, x3, [x1]
STUB i_cas, cas x2, x3, [x1]
STUB i_load_fp, ldr d0, [x1]
STUB i_store_zero, str xzr, [x1]
STUB i_dczva, dc zva, x1
STUB i_dccvac, dc cvac, x1
STUB i_dcivac, dc ivac, x1
STUB i_icivau, ic ivau, x1
STUB i_ldapr, ldapr x6, [x1]
STUB i_ldapurb, ldapursb w7, [x1]
STUB i_stlur, stlur w8, [x1]
STUB i_at, at s1e1r, x1
i_jump:
    br x1

// Code that EL0 runs is seen at USER.
.macro RUN_USER code
    adr x9, \code
    SET x10, USER - 0x40000000
    add x9, x9, x10
    mov x10, #EL0T
    bl run
.endm
.macro USER_FAULT text, code, argument, vector, esr
    NAME "\text"
    SET x1, (\argument)
    RUN_USER \code
    TAKEN \vector, \esr
    CHECK_RECORD "FAR", R_FAR, \argument
.endm
.macro USER_OK text, code, argument
    NAME "\text"
    SET x1, (\argument)
    RUN_USER \code
    TAKEN EL1_LOWER, DONE
.endm
.macro OK text, code, argument
    NAME "\text"
    SET x1, (\argument)
    RUN EL1H, \code
    TAKEN EL1_SAME, DONE
.endm
.macro EL1_FAULT text, code, argument, esr
    FAULT "\text", EL1H, \code, \argument, EL1_SAME, \esr
.endm
.macro S2_FAULT text, code, argument, esr, ipa
    FAULT "\text", EL1H, \code, \argument, EL2_LOWER, \esr
    CHECK_RECORD "HPFAR", R_HPFAR, ((\ipa) >> 12) << 4
.endm
// What both stages make of Write-Back, Inner Shareable memory at P + 0x2000 whose stage 2 entry has these bits (MemAttr from bit 2,
// SH from bit 8).
.macro BOTH_STAGES text, stage2, par
    ENTRY S2_L3, 2, P + 0x2000 + 3 + (3 << 6) + AF + (\stage2)
    tlbi alle1
    dsb sy
    AT_CASE "AT S12E1R, stage 2 \text", s12e1r, P + 0x2008, (\par) + P + 0x2000
.endm
// AT and what it leaves in PAR_EL1, at EL2.
.macro AT_CASE text, insn, argument, par
    NAME "\text"
    SET x1, (\argument)
    at \insn, x1
    isb
    mrs x14, par_el1
    CHECK "PAR_EL1", x14, \par
.endm

.equ P, PAGES
main:
    WRITE hcr_el2, 1 << 31
    MMU_ON
    // Page n: what row n says.
    MAP 0, PAGE + AF + UXN
    MAP 1, PAGE + AF + AP_RW
    MAP 2, PAGE + AF + AP_RO + UXN
    MAP 3, PAGE + AF + AP_RO_USER
    MAP 5, PAGE + AP_RW
    ENTRY L3, 6, (1 << 44) + PAGE + AF + AP_RW
    MAP 7, PAGE + AF + AP_RW + UXN + PXN
    MAP 8, BLOCK + AF
    MAP 9, PAGE + AF + AP_RW + DEVICE
    MAP 10, PAGE + AF + AP_RW + NC
    ENTRY L3, 11, P + 0x1000 + PAGE + AF + AP_RW + (1 << 11)
    ENTRY L3, 14, 0x70001000 + PAGE + AF + AP_RW + DEVICE
    ENTRY L3, 15, 0x70001000 + PAGE + AF
    ENTRY L2, 5, 0x40a00000 + BLOCK
    ENTRY L2, 6, 0x40c00000 + BLOCK + AF + AP_RO
    ENTRY L2, 7, (1 << 44) + BLOCK + AF
    ENTRY L2, 8, (1 << 44) + 3
    ENTRY L2, 9, 0x40401000 + 3 + (1 << 61)     // APTable: nothing for EL0
    ENTRY L2, 13, 0x70000000 + 3
    ENTRY L1, 7, 0x70000000 + 3
    ENTRY L1, 4, (1 << 44) + 3
    ENTRY L1, 5, 0x40000000 + 1                 // block of 1 GiB, access flag clear
    ENTRY L1, 6, L2 + 3 + (1 << 62)             // APTable: read-only
    // "svc #0x99" at the start of pages 0 to 3 and 7.
    SET x10, 0xd4001321
    SET x9, P
    str w10, [x9]
    SET x9, P + 0x1000
    str w10, [x9]
    SET x9, P + 0x3000
    str w10, [x9]
    SET x9, P + 0x7000
    str w10, [x9]

    OK "EL1 reads", i_load, P + 8
    OK "EL1 writes", i_store, P + 8
    OK "EL1 executes", i_jump, P
    USER_OK "EL0 reads", i_load, P + 0x1008
    USER_OK "EL0 writes", i_store, P + 0x1008
    USER_OK "EL0 executes", i_jump, P + 0x1000
    OK "EL1 reads EL0's page", i_load, P + 0x1008
    USER_OK "EL0 reads a read-only page", i_load, P + 0x3008
    OK "an alias", i_load, P + 0xb008
    // Permission.
    USER_FAULT "EL0 reads EL1's page", i_load, P + 8, EL1_LOWER, DABT_LOWER + FLT_PERM + 3
    USER_FAULT "EL0 writes EL1's page", i_store, P + 8, EL1_LOWER, DABT_LOWER + WNR + FLT_PERM + 3
    USER_FAULT "EL0 executes with UXN", i_jump, P + 0x7000, EL1_LOWER, IABT_LOWER + FLT_PERM + 3
    USER_FAULT "EL0 writes a read-only page", i_store, P + 0x3008, EL1_LOWER, DABT_LOWER + WNR + FLT_PERM + 3
    USER_FAULT "EL0 LDADD on a read-only page", i_ldadd, P + 0x3008, EL1_LOWER, DABT_LOWER + WNR + FLT_PERM + 3
    USER_FAULT "EL0 LDADD on EL1's page", i_ldadd, P + 8, EL1_LOWER, DABT_LOWER + FLT_PERM + 3
    USER_FAULT "EL0 CAS on EL1's page", i_cas, P + 8, EL1_LOWER, DABT_LOWER + FLT_PERM + 3
    EL1_FAULT "EL1 writes a read-only page", i_store, P + 0x2008, DABT + WNR + FLT_PERM + 3
    EL1_FAULT "EL1 executes what EL0 writes", i_jump, P + 0x1000, IABT + FLT_PERM + 3
    EL1_FAULT "EL1 executes with PXN", i_jump, P + 0x7000, IABT + FLT_PERM + 3
    EL1_FAULT "EL1 writes a read-only block", i_store, 0x40c00010, DABT + WNR + FLT_PERM + 2
    EL1_FAULT "EL1 writes below APTable", i_store, 0x180600008, DABT + WNR + FLT_PERM + 3
    OK "EL1 reads below APTable", i_load, 0x180600008
    // LDTR and STTR are EL0's accesses, unless PSTATE.UAO is set.
    EL1_FAULT "LDTR of EL1's page", i_ldtr, P + 8, DABT + FLT_PERM + 3
    EL1_FAULT "STTR of EL1's page", i_sttr, P + 8, DABT + WNR + FLT_PERM + 3
    OK "LDTR of EL0's page", i_ldtr, P + 0x1008
    CASE "LDTR of EL1's page with UAO", EL1H, i_uao, P + 8, EL1_SAME, DONE
    FAULT "PAN", EL1H, i_pan, P + 0x1008, EL1_SAME, DABT + FLT_PERM + 3
    CHECK_RECORD "SPSR", R_SPSR, EL1H + (1 << 22)
    CASE "LDTR with PAN", EL1H, i_pan_ldtr, P + 0x1008, EL1_SAME, DONE
    CHANGE sctlr_el1, 1 << 19
    EL1_FAULT "WXN: EL1 executes what it writes", i_jump, P, IABT + FLT_PERM + 3
    CHANGE sctlr_el1, 0, 1 << 19
    // Translation.
    EL1_FAULT "level 3", i_load, P + 0x4010, DABT + FLT_TRANS + 3
    EL1_FAULT "level 3, reserved descriptor", i_load, P + 0x8010, DABT + FLT_TRANS + 3
    EL1_FAULT "level 3, store", i_store, P + 0x4010, DABT + WNR + FLT_TRANS + 3
    EL1_FAULT "level 3, fetch", i_jump, P + 0x4010, IABT + FLT_TRANS + 3
    EL1_FAULT "level 2", i_load, 0x40800010, DABT + FLT_TRANS + 2
    EL1_FAULT "level 1", i_load, 0x10, DABT + FLT_TRANS + 1
    EL1_FAULT "beyond TTBR0's range", i_load, 0x8000000010, DABT + FLT_TRANS
    EL1_FAULT "below TTBR1's range", i_load, 0xffffff7ffffffff8, DABT + FLT_TRANS
    EL1_FAULT "TTBR1, level 1", i_load, 0xffffff8000000000, DABT + FLT_TRANS + 1
    OK "TTBR1", i_load, 0xffffff8040600008
    USER_FAULT "EL0, level 3", i_load, P + 0x4010, EL1_LOWER, DABT_LOWER + FLT_TRANS + 3
    USER_FAULT "EL0, fetch, level 3", i_jump, P + 0x4010, EL1_LOWER, IABT_LOWER + FLT_TRANS + 3
    CASE "LDP across pages", EL1H, i_load_pair, P + 0x3ff8, EL1_SAME, DABT + FLT_TRANS + 3
    CHECK_RECORD "FAR", R_FAR, P + 0x4000
    CASE "LDR across pages", EL1H, i_load, P + 0x3ffc, EL1_SAME, DABT + FLT_TRANS + 3
    CHECK_RECORD "FAR", R_FAR, P + 0x4000
    CASE "STR across pages", EL1H, i_store, P + 0x1fff, EL1_SAME, DABT + WNR + FLT_PERM + 3
    CHECK_RECORD "FAR", R_FAR, P + 0x2000
    // Access flag and output address size.
    EL1_FAULT "access flag, level 3", i_load, P + 0x5010, DABT + FLT_AF + 3
    EL1_FAULT "access flag, level 3, fetch", i_jump, P + 0x5010, IABT + FLT_AF + 3
    EL1_FAULT "access flag, level 2", i_load, 0x40a00010, DABT + FLT_AF + 2
    EL1_FAULT "access flag, level 1", i_load, 0x140000010, DABT + FLT_AF + 1
    EL1_FAULT "address size, level 3", i_load, P + 0x6010, DABT + FLT_SIZE + 3
    EL1_FAULT "address size, level 2", i_load, 0x40e00010, DABT + FLT_SIZE + 2
    EL1_FAULT "address size of a table, level 2", i_load, 0x41000010, DABT + FLT_SIZE + 2
    EL1_FAULT "address size of a table, level 1", i_load, 0x100000010, DABT + FLT_SIZE + 1
    // Tables where no memory is.
    EL1_FAULT "external abort, level 3", i_load, 0x41a00010, DABT + FLT_EXTERNAL + 3
    EL1_FAULT "external abort, level 3, store", i_store, 0x41a00010, DABT + WNR + FLT_EXTERNAL + 3
    EL1_FAULT "external abort, level 3, fetch", i_jump, 0x41a00010, IABT + FLT_EXTERNAL + 3
    EL1_FAULT "external abort, level 2", i_load, 0x1c0000010, DABT + FLT_EXTERNAL + 2
    EL1_FAULT "external abort, AT", i_at, 0x41a00010, DABT + CM + WNR + FLT_EXTERNAL + 3
    // Accesses to where nothing is.
    EL1_FAULT "nothing there", i_load, P + 0xe010, DABT + FLT_NOTHING
    EL1_FAULT "nothing there, store", i_store, P + 0xe010, DABT + WNR + FLT_NOTHING
    EL1_FAULT "nothing there, pair", i_load_pair, P + 0xf010, DABT + FLT_NOTHING
    EL1_FAULT "nothing there, exclusive", i_load_exclusive, P + 0xf010, DABT + FLT_NOTHING
    EL1_FAULT "nothing there, SIMD&FP", i_load_fp, P + 0xf010, DABT + FLT_NOTHING
    EL1_FAULT "nothing there, fetch", i_jump, P + 0xf010, IABT + FLT_NOTHING
    USER_FAULT "nothing there, EL0", i_load, P + 0xe010, EL1_LOWER, DABT_LOWER + FLT_NOTHING
    CHANGE hcr_el2, 1 << 37
    FAULT "nothing there with TEA", EL1H, i_store, P + 0xe010, EL2_LOWER, DABT_LOWER + WNR + FLT_NOTHING
    FAULT "external abort with TEA", EL1H, i_load, 0x41a00010, EL2_LOWER, DABT_LOWER + FLT_EXTERNAL + 3
    CHANGE hcr_el2, 0, 1 << 37
    // Alignment.
    OK "aligned on Device memory", i_load, P + 0x9008
    OK "misaligned on Normal memory", i_load, P + 0xa001
    OK "misaligned store", i_store, P + 0xa001
    CHANGE sctlr_el1, 2
    EL1_FAULT "misaligned with SCTLR_EL1.A", i_load, P + 0xa001, DABT + 0x21
    EL1_FAULT "misaligned pair with SCTLR_EL1.A", i_load_pair, P + 0xa004, DABT + 0x21
    USER_FAULT "misaligned with SCTLR_EL1.A at EL0", i_store, P + 0x1001, EL1_LOWER, DABT_LOWER + WNR + 0x21
    CHANGE sctlr_el1, 0, 2
    // Cache maintenance.
    EL1_FAULT "DC ZVA", i_dczva, P + 0x4050, DABT + WNR + FLT_TRANS + 3
    EL1_FAULT "DC ZVA on a read-only page", i_dczva, P + 0x2050, DABT + WNR + FLT_PERM + 3
    EL1_FAULT "DC CVAC", i_dccvac, P + 0x4051, DABT + CM + WNR + FLT_TRANS + 3
    EL1_FAULT "DC IVAC on a read-only page", i_dcivac, P + 0x2050, DABT + CM + WNR + FLT_PERM + 3
    OK "DC CVAC on a read-only page", i_dccvac, P + 0x2050
    CASE "DC CVAC with PAN", EL1H, i_pan_dccvac, P + 0x1050, EL1_SAME, DONE
    EL1_FAULT "IC IVAU", i_icivau, P + 0x4051, DABT + CM + WNR + FLT_TRANS + 3
    // AT: MAIR index 0 is Write-Back, inner shareable.
    AT_CASE "AT S1E1R", s1e1r, P + 0x2008, 0xff00000000000b80 + P + 0x2000
    AT_CASE "AT S1E1W of a read-only page", s1e1w, P + 0x2008, 0x801 + ((FLT_PERM + 3) << 1)
    AT_CASE "AT S1E0R", s1e0r, P + 0x1008, 0xff00000000000b80 + P + 0x1000
    AT_CASE "AT S1E0R of EL1's page", s1e0r, P + 8, 0x801 + ((FLT_PERM + 3) << 1)
    AT_CASE "AT S1E0W", s1e0w, P + 0x3008, 0x801 + ((FLT_PERM + 3) << 1)
    AT_CASE "AT S1E1R, unmapped", s1e1r, 0x40800010, 0x801 + ((FLT_TRANS + 2) << 1)
    AT_CASE "AT S1E1R, access flag", s1e1r, P + 0x5000, 0x801 + ((FLT_AF + 3) << 1)
    AT_CASE "AT S1E1R of Device memory", s1e1r, P + 0x9000, 0xb00 + P + 0x9000
    AT_CASE "AT S12E1R without stage 2", s12e1r, P + 0x2008, 0xff00000000000b80 + P + 0x2000
    AT_CASE "AT S1E2R, MMU off", s1e2r, P + 0x2008, 0xb00 + P + 0x2000
    CHANGE tcr_el1, 1 << 7
    AT_CASE "AT with EPD0", s1e1r, P + 0x2008, 0x801 + (FLT_TRANS << 1)
    CHANGE tcr_el1, 0, 1 << 7
    // E0PD: what is unprivileged finds nothing in the range.
    USER_OK "EL0 reads through TTBR1", i_load, 0xffffff8040601008
    CHANGE tcr_el1, 1 << 56
    tlbi vmalle1
    dsb sy
    USER_FAULT "E0PD1, load", i_load, 0xffffff8040601008, EL1_LOWER, DABT_LOWER + FLT_TRANS
    USER_FAULT "E0PD1, store", i_store, 0xffffff8040601008, EL1_LOWER, DABT_LOWER + WNR + FLT_TRANS
    USER_FAULT "E0PD1, fetch", i_jump, 0xffffff8040601000, EL1_LOWER, IABT_LOWER + FLT_TRANS
    OK "E0PD1, EL1 reads", i_load, 0xffffff8040601008
    EL1_FAULT "E0PD1, LDTR", i_ldtr, 0xffffff8040601008, DABT + FLT_TRANS
    USER_OK "E0PD1 leaves TTBR0", i_load, P + 0x1008
    AT_CASE "AT S1E0R with E0PD1", s1e0r, 0xffffff8040601008, 0x801 + (FLT_TRANS << 1)
    CHANGE tcr_el1, 1 << 55, 1 << 56
    tlbi vmalle1
    dsb sy
    EL1_FAULT "E0PD0, STTR", i_sttr, P + 0x1008, DABT + WNR + FLT_TRANS
    OK "E0PD0, EL1 writes", i_store, P + 0x1008
    CHANGE tcr_el1, 0, 1 << 55
    tlbi vmalle1
    dsb sy

    // Hardware access flag and dirty state.
    CHANGE tcr_el1, 3 << 39
    tlbi vmalle1
    dsb sy
    OK "hardware access flag", i_load, P + 0x5008
    SET x9, L3 + 8 * 5
    ldr x14, [x9]
    CHECK "descriptor", x14, P + 0x5000 + PAGE + AF + AP_RW
    MAP 12, PAGE + AP_RO_USER + (1 << 51)
    OK "DBM: a load", i_load, P + 0xc008
    SET x9, L3 + 8 * 12
    ldr x14, [x9]
    CHECK "descriptor", x14, P + 0xc000 + PAGE + AF + AP_RO_USER + (1 << 51)
    OK "DBM: a store", i_store, P + 0xc008
    SET x9, L3 + 8 * 12
    ldr x14, [x9]
    CHECK "descriptor", x14, P + 0xc000 + PAGE + AF + AP_RW + (1 << 51)
    MAP 12, PAGE + AF + AP_RO_USER + (1 << 51)
    tlbi vmalle1
    dsb sy
    USER_OK "DBM: a store at EL0", i_store, P + 0xc008
    CHANGE tcr_el1, 0, 3 << 39
    MAP 5, PAGE + AP_RW
    tlbi vmalle1
    dsb sy

    // Stage 2: identity for the first 6 MiB, pages of their own for PAGES.
    SET x9, S2_L1
    mov x10, #0x600
1:  str xzr, [x9], #8
    subs x10, x10, #1
    b.ne 1b
    ENTRY S2_L1, 1, S2_L2 + 3
    ENTRY S2_L2, 0, 0x40000000 + 1 + S2_RW
    ENTRY S2_L2, 2, 0x40400000 + 1 + S2_RW
    ENTRY S2_L2, 3, S2_L3 + 3
    ENTRY S2_L2, 6, 0x40c00000 + 1 + S2_RW - AF
    ENTRY S2_L3, 0, P + 3 + S2_RW
    ENTRY S2_L3, 1, P + 0x1000 + 3 + S2_RW - (2 << 6)
    ENTRY S2_L3, 2, P + 0x2000 + 3 + S2_RW
    ENTRY S2_L3, 3, P + 0x3000 + 3 + S2_RW - AF
    ENTRY S2_L3, 4, (1 << 44) + 3 + S2_RW
    ENTRY S2_L3, 7, P + 0x7000 + 3 + S2_RW + (2 << 53)
    ENTRY S2_L3, 8, P + 0x8000 + 3 + S2_RW - (3 << 6)
    MAP 0, PAGE + AF + UXN
    MAP 1, PAGE + AF + AP_RW
    MAP 2, PAGE + AF + AP_RO
    MAP 3, PAGE + AF
    MAP 4, PAGE + AF
    MAP 6, PAGE + AF
    MAP 7, PAGE + AF
    MAP 8, PAGE + AF
    ENTRY L2, 10, P + 0x6000 + 3
    ENTRY L2, 11, 0x80000000 + BLOCK + AF
    ENTRY L2, 12, 0x40e00000 + BLOCK + AF
    ENTRY L2, 13, 0x40a00000 + BLOCK + AF
    ENTRY S2_L2, 5, 0x70000000 + 3
    WRITE vttbr_el2, S2_L1
    WRITE vtcr_el2, 0x80000000 + 25 + (1 << 6) + (3 << 12) + (1 << 10) + (1 << 8) + (2 << 16)
    CHANGE hcr_el2, 1
    tlbi alle1
    dsb sy
    isb
    OK "through both stages", i_load, P + 8
    OK "store through both stages", i_store, P + 8
    S2_FAULT "stage 2, level 3", i_load, P + 0x6018, DABT_LOWER + ISV64 + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "stage 2, level 3, store", i_store, P + 0x6018, DABT_LOWER + ISV64 + WNR + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "stage 2, level 3, fetch", i_jump, P + 0x6018, IABT_LOWER + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "stage 2, level 2", i_load, 0x41800018, DABT_LOWER + ISV64 + FLT_TRANS + 2, 0x40e00000
    S2_FAULT "stage 2, level 1", i_load, 0x41600018, DABT_LOWER + ISV64 + FLT_TRANS + 1, 0x80000000
    S2_FAULT "stage 2, permission", i_store, P + 0x1018, DABT_LOWER + ISV64 + WNR + FLT_PERM + 3, P + 0x1000
    OK "stage 2, read-only", i_load, P + 0x1018
    S2_FAULT "stage 2, nothing allowed", i_load, P + 0x8018, DABT_LOWER + ISV64 + FLT_PERM + 3, P + 0x8000
    S2_FAULT "stage 2, execute never", i_jump, P + 0x7000, IABT_LOWER + FLT_PERM + 3, P + 0x7000
    S2_FAULT "stage 2, what cannot be read cannot be executed", i_jump, P + 0x8000, IABT_LOWER + FLT_PERM + 3, P + 0x8000
    FAULT "stage 2, external abort", EL1H, i_load, 0x41a00018, EL2_LOWER, DABT_LOWER + FLT_EXTERNAL + 3
    S2_FAULT "stage 2, access flag", i_load, P + 0x3018, DABT_LOWER + ISV64 + FLT_AF + 3, P + 0x3000
    S2_FAULT "stage 2, access flag of a block", i_load, 0x40c00018, DABT_LOWER + ISV64 + FLT_AF + 2, 0x40c00000
    S2_FAULT "stage 2, address size", i_load, P + 0x4018, DABT_LOWER + ISV64 + FLT_SIZE + 3, P + 0x4000
    S2_FAULT "stage 2, on a table of stage 1", i_load, 0x41400018, DABT_LOWER + S1PTW + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "stage 2, on a table, fetch", i_jump, 0x41400018, IABT_LOWER + S1PTW + FLT_TRANS + 3, P + 0x6000
    EL1_FAULT "stage 1 comes first", i_store, P + 0x2018, DABT + WNR + FLT_PERM + 3
    S2_FAULT "no syndrome with write-back", i_load_back, P + 0x6018, DABT_LOWER + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "no syndrome of a pair", i_load_pair, P + 0x6010, DABT_LOWER + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "no syndrome of an exclusive", i_load_exclusive, P + 0x6010, DABT_LOWER + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "no syndrome of SIMD&FP", i_load_fp, P + 0x6010, DABT_LOWER + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "syndrome of LDRSH", i_load_signed, P + 0x6012, DABT_LOWER + (1 << 24) + (1 << 22) + (1 << 21) + (7 << 16) + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "syndrome of LDRSB", i_load_signed64, P + 0x6013, DABT_LOWER + (1 << 24) + (1 << 21) + (8 << 16) + (1 << 15) + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "syndrome of LDR, 32 bits", i_load_w, P + 0x6014, DABT_LOWER + (1 << 24) + (2 << 22) + (9 << 16) + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "syndrome of LDAR", i_load_acquire, P + 0x6014, DABT_LOWER + (1 << 24) + (2 << 22) + (4 << 16) + (1 << 14) + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "syndrome of LDAPR", i_ldapr, P + 0x6018, DABT_LOWER + ISV64 + (6 << 16) + (1 << 14) + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "syndrome of LDAPURSB", i_ldapurb, P + 0x6013, DABT_LOWER + (1 << 24) + (1 << 21) + (7 << 16) + (1 << 14) + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "syndrome of STLUR", i_stlur, P + 0x6014, DABT_LOWER + (1 << 24) + (2 << 22) + (8 << 16) + (1 << 14) + WNR + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "no syndrome of LDADD", i_ldadd, P + 0x6010, DABT_LOWER + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "syndrome of XZR", i_store_zero, P + 0x6018, DABT_LOWER + ISV64 + (31 << 16) + WNR + FLT_TRANS + 3, P + 0x6000
    S2_FAULT "DC CVAC", i_dccvac, P + 0x6018, DABT_LOWER + CM + WNR + FLT_TRANS + 3, P + 0x6000
    AT_CASE "AT S12E1R", s12e1r, P + 0x1008, 0xff00000000000b80 + P + 0x1000
    AT_CASE "AT S12E1W", s12e1w, P + 0x1008, 0xa01 + ((FLT_PERM + 3) << 1)
    AT_CASE "AT S12E1R, on a table", s12e1r, 0x41400018, 0xb01 + ((FLT_TRANS + 3) << 1)
    AT_CASE "AT S1E1R, stage 2 does not matter", s1e1r, P + 0x8008, 0xff00000000000b80 + P + 0x8000
    BOTH_STAGES "not shareable", 15 << 2, 0xff00000000000b80
    BOTH_STAGES "Outer Shareable", (15 << 2) + (2 << 8), 0xff00000000000b00
    BOTH_STAGES "Write-Through", (10 << 2) + ISH, 0xbb00000000000b80
    BOTH_STAGES "Non-cacheable", (5 << 2) + ISH, 0x4400000000000b00
    BOTH_STAGES "inner Non-cacheable", (13 << 2) + ISH, 0xf400000000000b80
    BOTH_STAGES "Device-nGnRnE", (0 << 2) + ISH, 0x0000000000000b00
    BOTH_STAGES "Device-GRE", (3 << 2) + ISH, 0x0c00000000000b00
    WRITE hcr_el2, (1 << 31) + 1 + (1 << 32)
    BOTH_STAGES "with HCR_EL2.CD", (15 << 2) + ISH, 0x4400000000000b00
    WRITE hcr_el2, (1 << 31) + 1
    ENTRY S2_L3, 2, P + 0x2000 + 3 + S2_RW
    // HCR_EL2.PTW: tables in what stage 2 calls Device memory.
    ENTRY S2_L3, 6, P + 0x6000 + 3 + S2_RW - (15 << 2)
    CHANGE hcr_el2, 4
    tlbi alle1
    dsb sy
    S2_FAULT "PTW", i_load, 0x41400018, DABT_LOWER + S1PTW + FLT_PERM + 3, P + 0x6000
    // The access flag of stage 1 is a write to what stage 2 protects.
    CHANGE hcr_el2, 0, 4
    CHANGE tcr_el1, 1 << 39
    ENTRY S2_L3, 6, P + 0x6000 + 3 + S2_RW - (2 << 6)
    ENTRY P + 0x6000, 0, P + 0x1000 + PAGE + AP_RW
    tlbi alle1
    dsb sy
    isb
    S2_FAULT "stage 2, access flag in a read-only table", i_load, 0x41400018, DABT_LOWER + S1PTW + FLT_PERM + 3, P + 0x6000
    ENTRY S2_L3, 6, P + 0x6000 + 3 + S2_RW
    tlbi alle1
    dsb sy
    OK "stage 2, access flag in a table", i_load, 0x41400018
    SET x9, P + 0x6000
    ldr x14, [x9]
    CHECK "descriptor", x14, P + 0x1000 + PAGE + AF + AP_RW
    CHANGE tcr_el1, 0, 1 << 39
    // SL0 is reserved, or does not fit the size of the space.
    WRITE vtcr_el2, 0x80000000 + 25 + (3 << 6) + (3 << 12) + (1 << 10) + (1 << 8) + (2 << 16)
    tlbi alle1
    dsb sy
    isb
    CASE "stage 2, SL0 3", EL1H, i_load, P + 8, EL2_LOWER, IABT_LOWER + S1PTW + FLT_TRANS
    WRITE vtcr_el2, 0x80000000 + 25 + (0 << 6) + (3 << 12) + (1 << 10) + (1 << 8) + (2 << 16)
    tlbi alle1
    dsb sy
    isb
    CASE "stage 2, 39 bits from level 2", EL1H, i_load, P + 8, EL2_LOWER, IABT_LOWER + S1PTW + FLT_TRANS
    CHANGE hcr_el2, 0, 1
    tlbi alle1
    dsb sy
    isb
    FINISH

i_uao:
    msr uao, #1
    ldtr x0, [x1]
    svc #0x99
i_pan:
    msr pan, #1
    ldr x0, [x1]
    svc #0x99
i_pan_dccvac:
    msr pan, #1
    dc cvac, x1
    svc #0x99
i_pan_ldtr:
    msr pan, #1
    ldtr x0, [x1]
    svc #0x99
