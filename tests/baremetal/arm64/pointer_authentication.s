// Pointer authentication (DDI 0487, shared pseudocode: AddPAC, Auth, Strip): what does not depend on the algorithm, which is
// IMPLEMENTATION DEFINED. Two key spaces' failures leave different codes in bits 62:61 (no FEAT_FPAC).
.include "common.inc"
    b main

.equ POINTER, 0x40123450
.equ UPPER, 0xffff800040123450
.equ MODIFIER, 0x1234567890abcdef
.equ FAILED_A, 1 << 61
.equ FAILED_B, 2 << 61
.equ ENABLE, (1 << 31) + (1 << 30) + (1 << 27) + (1 << 13)
.equ PAUTH_TRAP, 0x26000000             // EC 9

// A signed pointer keeps its address and is another value; x5 is left with it.
.macro SIGNED what, address
    mov x5, x0
    ubfx x6, x0, #0, #48
    CHECK "\what: address", x6, (\address) & 0xffffffffffff
    SET x6, \address
    cmp x5, x6
    cset x6, ne
    CHECK "\what: code", x6, 1
.endm
.macro KEY pac, aut, strip, failed
    NAME "\pac"
    SET x0, POINTER
    SET x1, MODIFIER
    \pac x0, x1
    SIGNED "\pac", POINTER
    \aut x0, x1
    CHECK "\aut", x0, POINTER
    mov x0, x5
    \strip x0
    CHECK "\strip", x0, POINTER
    // Another modifier, another pointer, no signature.
    mov x0, x5
    add x2, x1, #1
    \aut x0, x2
    CHECK "\aut, other modifier", x0, POINTER + \failed
    add x0, x5, #16
    \aut x0, x1
    CHECK "\aut, other pointer", x0, POINTER + 16 + \failed
    SET x0, POINTER
    \aut x0, x1
    CHECK "\aut, not signed", x0, POINTER + \failed
.endm
.macro ZERO_KEY pac, aut, general, failed
    NAME "\pac"
    SET x0, POINTER
    \pac x0
    SIGNED "\pac", POINTER
    SET x0, POINTER
    mov x3, #0
    \general x0, x3
    eor x6, x0, x5
    CHECK "\general with 0 is the same", x6, 0
    \aut x0
    CHECK "\aut", x0, POINTER
    \aut x0
    CHECK "\aut, not signed", x0, POINTER + \failed
.endm
// A branch with authentication to the next label.
.macro ARRIVES text, pac, branch:vararg
    NAME "\text"
    SET x1, MODIFIER
    mov x7, #0
    adr x0, 5f
    \pac
    \branch
    mov x7, #1
5:  CHECK "arrives", x7, 0
.endm

STUB i_pacia, pacia x0, x1
STUB i_key, mrs x0, apiakeylo_el1

.balign 16
data: .quad 0x1111111111111111, 0x2222222222222222

main:
    WRITE tcr_el2, 16 + (5 << 16)
    WRITE tcr_el1, 16 + (16 << 16) + (5 << 32)
    WRITE apiakeylo_el1, 0x0123456789abcdef
    WRITE apiakeyhi_el1, 0x1111111122222222
    WRITE apibkeylo_el1, 0x3333333344444444
    WRITE apibkeyhi_el1, 0x5555555566666666
    WRITE apdakeylo_el1, 0x7777777788888888
    WRITE apdakeyhi_el1, 0x99999999aaaaaaaa
    WRITE apdbkeylo_el1, 0xbbbbbbbbcccccccc
    WRITE apdbkeyhi_el1, 0xddddddddeeeeeeee
    WRITE apgakeylo_el1, 0xf0f0f0f00f0f0f0f
    WRITE apgakeyhi_el1, 0x1020304050607080
    // Off: nothing happens.
    NAME "disabled"
    SET x0, POINTER
    SET x1, MODIFIER
    pacia x0, x1
    CHECK "PACIA", x0, POINTER
    autia x0, x1
    CHECK "AUTIA", x0, POINTER
    xpaci x0
    CHECK "XPACI", x0, POINTER
    ARRIVES "BRAA, disabled", nop, braa x0, x1

    CHANGE sctlr_el2, ENABLE
    KEY pacia, autia, xpaci, FAILED_A
    KEY pacib, autib, xpaci, FAILED_B
    KEY pacda, autda, xpacd, FAILED_A
    KEY pacdb, autdb, xpacd, FAILED_B
    ZERO_KEY paciza, autiza, pacia, FAILED_A
    ZERO_KEY pacizb, autizb, pacib, FAILED_B
    ZERO_KEY pacdza, autdza, pacda, FAILED_A
    ZERO_KEY pacdzb, autdzb, pacdb, FAILED_B
    NAME "keys differ"
    SET x0, POINTER
    SET x1, MODIFIER
    pacia x0, x1
    mov x2, x0
    autib x2, x1
    CHECK "AUTIB of PACIA", x2, POINTER + FAILED_B
    mov x2, x0
    autda x2, x1
    CHECK "AUTDA of PACIA", x2, POINTER + FAILED_A
    NAME "a key's half counts"
    WRITE apiakeyhi_el1, 0x1111111122222223
    isb
    autia x0, x1
    CHECK "AUTIA with another key", x0, POINTER + FAILED_A
    NAME "PACGA"
    SET x2, POINTER
    pacga x0, x2, x1
    pacga x3, x2, x1
    pacga x4, x1, x2
    and x5, x0, #0xffffffff
    CHECK "lower half", x5, 0
    eor x5, x0, x3
    CHECK "repeats", x5, 0
    cmp x0, x4
    cset x5, ne
    CHECK "operands differ", x5, 1

    ARRIVES "BRAA", "pacia x0, x1", braa x0, x1
    ARRIVES "BRAB", "pacib x0, x1", brab x0, x1
    ARRIVES "BRAAZ", "paciza x0", braaz x0
    ARRIVES "BRABZ", "pacizb x0", brabz x0
    ARRIVES "BLRAA", "pacia x0, x1", blraa x0, x1
    ARRIVES "BLRABZ", "pacizb x0", blrabz x0
    ARRIVES "BLRAAZ", "paciza x0", blraaz x0
    NAME "RETAA"
    mov x7, #0
    adr x30, 6f
    paciasp
    retaa
    mov x7, #1
6:  CHECK "arrives", x7, 0
    NAME "RETAB"
    adr x30, 6f
    pacibsp
    retab
    mov x7, #1
6:  CHECK "arrives", x7, 0
    NAME "LDRAA"
    adr x0, data
    mov x4, x0
    pacdza x0
    ldraa x3, [x0, #8]
    CHECK "value", x3, 0x2222222222222222
    ldraa x3, [x0, #8]!
    sub x5, x0, x4
    CHECK "written back", x5, 8
    NAME "LDRAB"
    adr x0, data
    pacdzb x0
    ldrab x3, [x0]
    CHECK "value", x3, 0x1111111111111111
    NAME "ERETAA"
    adr x9, i_key
    mov x10, #EL1H
    bl run_authenticated
    TAKEN EL2_LOWER, 0x62300803, i_key  // a key, without HCR_EL2.APK

    // EL1, both halves of its address space.
    CHANGE hcr_el2, 3 << 40
    CHANGE sctlr_el1, ENABLE
    NAME "EL1, upper half"
    SET x0, UPPER
    SET x1, MODIFIER
    RUN EL1H, i_pacia
    TAKEN EL1_SAME, DONE
    adr x10, record
    ldr x0, [x10, #R_X0]
    SIGNED "PACIA", UPPER
    CHANGE hcr_el2, 0, 3 << 40
    CASE "trapped without API", EL1H, i_pacia, 0, EL2_LOWER, PAUTH_TRAP, i_pacia
    CHANGE sctlr_el1, 0, ENABLE
    CASE "not trapped while disabled", EL1H, i_pacia, 0, EL1_SAME, DONE
    FINISH

// As run.
run_authenticated:
    adr x11, record
    str x30, [x11, #R_RESUME]
    mov x12, sp
    str x12, [x11, #R_SP]
    mov x12, sp
    pacia x9, x12
    msr elr_el2, x9
    msr spsr_el2, x10
    isb
    eretaa
