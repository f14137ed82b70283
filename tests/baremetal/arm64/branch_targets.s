// FEAT_BTI: PSTATE.BTYPE and guarded pages (DDI 0487, D8.4.6 "Branch target identification").
.include "common.inc"
.include "translation.inc"
    b main

.equ GP, 1 << 50
.equ GUARDED, PAGES
.equ PLAIN, PAGES + 0x1000
.equ BAD, 0x36000000                    // EC 0x0d, BTYPE in bits 1:0

// What both pages hold.
.balign 8
code:
pad_bti:   bti
           svc #0x99
pad_c:     bti c
           svc #0x99
pad_j:     bti j
           svc #0x99
pad_jc:    bti jc
           svc #0x99
pad_nop:   nop
           svc #0x99
pad_pac:   paciasp
           svc #0x99
pad_brk:   brk #7
           svc #0x99
jump:      br x1
call:      blr x1
jump16:    br x16
jump17:    br x17
return:    ret x1
code_end:

// reg = page + offset of label in the code above.
.macro PLACE reg, page, label
    adr x9, \label
    adr x10, code
    sub x9, x9, x10
    SET x10, (\page)
    add \reg, x9, x10
.endm
.macro FROM text, page, source, pad, vector, esr
    NAME "\text"
    PLACE x1, GUARDED, \pad
    mov x17, x1
    mov x16, x1
    PLACE x9, \page, \source
    mov x10, #EL1H
    bl run
    TAKEN \vector, \esr
.endm
.macro GOOD text, page, source, pad
    FROM "\text", \page, \source, \pad, EL1_SAME, DONE
.endm
.macro WRONG text, page, source, pad, btype
    FROM "\text", \page, \source, \pad, EL1_SAME, BAD + \btype
    CHECK_RECORD "SPSR", R_SPSR, EL1H + (\btype << 10)
.endm

main:
    WRITE hcr_el2, (1 << 31) + (3 << 40)
    MMU_ON
    MAP 0, PAGE + AF + UXN + GP
    MAP 1, PAGE + AF + UXN
    SET x1, GUARDED
    SET x2, PLAIN
    adr x3, code
    adr x4, code_end
1:  ldr w5, [x3], #4
    str w5, [x1], #4
    str w5, [x2], #4
    cmp x3, x4
    b.lo 1b
    ic iallu
    dsb sy
    isb

    GOOD "BR to BTI c", PLAIN, jump, pad_c
    GOOD "BR to BTI j", PLAIN, jump, pad_j
    GOOD "BR to BTI jc", PLAIN, jump, pad_jc
    GOOD "BR to BRK's like", PLAIN, jump, pad_pac
    WRONG "BR to BTI", PLAIN, jump, pad_bti, 1
    WRONG "BR to NOP", PLAIN, jump, pad_nop, 1
    FROM "BR to BRK", PLAIN, jump, pad_brk, EL1_SAME, 0xf2000007
    GOOD "BLR to BTI c", PLAIN, call, pad_c
    GOOD "BLR to BTI jc", PLAIN, call, pad_jc
    GOOD "BLR to PACIASP", PLAIN, call, pad_pac
    WRONG "BLR to BTI j", PLAIN, call, pad_j, 2
    WRONG "BLR to NOP", PLAIN, call, pad_nop, 2
    GOOD "RET to NOP", PLAIN, return, pad_nop
    GOOD "guarded BR to BTI j", GUARDED, jump, pad_j
    GOOD "guarded BR to BTI jc", GUARDED, jump, pad_jc
    WRONG "guarded BR to BTI c", GUARDED, jump, pad_c, 3
    WRONG "guarded BR to NOP", GUARDED, jump, pad_nop, 3
    GOOD "guarded BR X16 to BTI c", GUARDED, jump16, pad_c
    GOOD "guarded BR X17 to BTI c", GUARDED, jump17, pad_c
    WRONG "guarded BR X17 to NOP", GUARDED, jump17, pad_nop, 1
    WRONG "guarded BLR to BTI j", GUARDED, call, pad_j, 2
    GOOD "guarded BR to PACIASP", GUARDED, jump, pad_pac
    CHANGE sctlr_el1, 1 << 36
    WRONG "guarded BR to PACIASP with BT1", GUARDED, jump, pad_pac, 3
    CHANGE sctlr_el1, 0, 1 << 36
    // An unguarded page checks nothing.
    NAME "BR to an unguarded NOP"
    PLACE x1, PLAIN, pad_nop
    PLACE x9, GUARDED, jump
    mov x10, #EL1H
    bl run
    TAKEN EL1_SAME, DONE
    FINISH
