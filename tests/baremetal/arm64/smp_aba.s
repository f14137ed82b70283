// Store-Exclusive after another processor's stores that put back the value that was loaded (DDI 0487, B2.12.2 "Exclusive
// access instructions and Shareable memory locations"), and a stack without locks whose nodes are used again at once.
.include "common.inc"
.include "translation.inc"
    b main

.equ ROUNDS, 16                         // of each row
.equ POPS, 3000
.equ NODES, 4
.equ TURN, PAGES                        // odd: the second processor's; what it is to do is in WHAT
.equ WHAT, PAGES + 64
.equ WORD, PAGES + 128                  // two doublewords
.equ STAYED, PAGES + 192                // rounds in which Store-Exclusive succeeded all the same
.equ SHARED_LINE, PAGES + 256           // a doubleword for each processor
.equ HEAD, PAGES + 512
.equ TAKEN_TWICE, PAGES + 576
.equ FINISHED, PAGES + 640
.equ NODE, PAGES + 0x400                // 128 bytes each: next, in use (at 64)
.equ A, 7
.equ B, 9

// x1: WORD. Each does A -> B -> A there.
.macro REPEAT insns:vararg
9:  \insns
    cbnz w5, 9b
.endm
.macro EXCLUSIVE value
9:  ldaxr x4, [x1]
    mov x3, #\value
    stlxr w5, x3, [x1]
    cbnz w5, 9b
.endm
by_exclusives:
    EXCLUSIVE B
    EXCLUSIVE A
    ret
by_pairs:
9:  ldxp x4, x5, [x1]
    mov x3, #B
    stxp w6, x3, x5, [x1]
    cbnz w6, 9b
8:  ldxp x4, x5, [x1]
    mov x3, #A
    stxp w6, x3, x5, [x1]
    cbnz w6, 8b
    ret
by_word_pairs:
9:  ldxp w4, w5, [x1]
    mov x3, #B
    stxp w6, w3, w5, [x1]
    cbnz w6, 9b
8:  ldxp w4, w5, [x1]
    mov x3, #A
    stxp w6, w3, w5, [x1]
    cbnz w6, 8b
    ret
by_bytes:
9:  ldxrb w4, [x1]
    mov x3, #B
    stxrb w5, w3, [x1]
    cbnz w5, 9b
8:  ldxrb w4, [x1]
    mov x3, #A
    stxrb w5, w3, [x1]
    cbnz w5, 8b
    ret
by_cas:
    mov x3, #A
    mov x4, #B
    cas x3, x4, [x1]
    mov x3, #A
    cas x4, x3, [x1]
    ret
by_cas_of_bytes:
    mov x3, #A
    mov x4, #B
    casalb w3, w4, [x1]
    mov x3, #A
    casalb w4, w3, [x1]
    ret
by_casp:
    ldr x5, [x1, #8]
    mov x4, #A
    mov x6, #B
    mov x7, x5
    casp x4, x5, x6, x7, [x1]
    mov x4, #A
    mov x5, x7
    casp x6, x7, x4, x5, [x1]
    ret
by_swp:
    mov x3, #B
    swp x3, x4, [x1]
    mov x3, #A
    swp x3, x4, [x1]
    ret
by_add:
    mov x3, #(B - A)
    ldadd x3, x4, [x1]
    neg x3, x3
    stadd x3, [x1]
    ret
by_bits:
    mov x3, #64
    ldset x3, x4, [x1]
    stclr x3, [x1]
    ret
by_eor:
    mov x3, #(A ^ B)
    ldeor x3, x4, [x1]
    steor x3, [x1]
    ret
by_maximum:
    mov x3, #B
    ldumax x3, x4, [x1]
    mov x3, #A
    ldsmin x3, x4, [x1]
    ret
by_stores:
    mov x3, #B
    str x3, [x1]
    mov x3, #A
    str x3, [x1]
    ret
by_one_store:                           // of what is there, as are those that follow
    mov x3, #A
    str x3, [x1]
    ret
by_byte_store:
    mov x3, #A
    strb w3, [x1]
    ret
by_neighbour:                           // on the same line
    str x9, [x1, #16]
    ret
by_pair_store:
    mov x3, #A
    ldr x4, [x1, #8]
    stp x3, x4, [x1]
    ret
by_release:
    mov x3, #A
    stlr x3, [x1]
    ret
by_exclusive_and_swp:
    EXCLUSIVE B
    mov x3, #A
    swpal x3, x4, [x1]
    ret
by_swp_and_exclusive:
    mov x3, #B
    swpal x3, x4, [x1]
    EXCLUSIVE A
    ret

// What the processors do together in the end, x8: 0 or 1. Counts on one line, then the stack.
together:
    stp x29, x30, [sp, #-16]!
    SET x1, SHARED_LINE
    add x1, x1, x8, lsl #3
    mov x2, #ROUNDS * 100
1:  ldxr x4, [x1]
    add x4, x4, #1
    stxr w5, x4, [x1]
    cbnz w5, 1b
    subs x2, x2, #1
    b.ne 1b
    SET x1, HEAD
    mov x2, #POPS
1:  bl pop
    cbz x3, 1b
    mov x6, x3
    bl pop
    mov x7, x3
    // The first goes back on its own, which is what makes the other processor's idea of its successor wrong.
    mov x3, x6
    bl push
    cbz x7, 2f
    mov x3, x7
    bl push
2:  subs x2, x2, #1
    b.ne 1b
    SET x1, FINISHED
    mov x4, #1
    staddl x4, [x1]
3:  ldar x4, [x1]
    yield
    cmp x4, #2
    b.lo 3b
    ldp x29, x30, [sp], #16
    ret

// x1: HEAD. x3: the node, or 0. It waits a little with the successor in hand, longer in some rounds than in others.
pop:
1:  ldaxr x3, [x1]
    cbz x3, 3f
    ldr x4, [x3]
    and x5, x2, #63
2:  cbz x5, 2f
    sub x5, x5, #1
    b 2b
2:  stxr w5, x4, [x1]
    cbnz w5, 1b
    add x5, x3, #64
    mov w4, #1
    swpal w4, w4, [x5]
    cbz w4, 3f
    SET x5, TAKEN_TWICE
    mov w4, #1
    stadd w4, [x5]
3:  ret
push:
    str wzr, [x3, #64]
1:  ldxr x4, [x1]
    str x4, [x3]
    stlxr w5, x3, [x1]
    cbnz w5, 1b
    ret

second:
    WRITE hcr_el2, 1 << 31
    SET x9, 0x406f0000
    mov sp, x9
    SET x20, TURN
    SET x21, WHAT
    SET x1, WORD
    mov x8, #1
1:  ldar x22, [x20]
    tbz x22, #0, 1b
    ldr x9, [x21]
    cbz x9, 2f
    blr x9
    add x22, x22, #1
    stlr x22, [x20]
    b 1b
2:  bl together
    b .

// x19: what the second processor does between Load-Exclusive and Store-Exclusive. `load` and `store` are of WORD in x1.
.macro ROW text, what, load, store
    NAME "\text"
    adr x19, \what
    str x19, [x21]
    mov x23, #ROUNDS
    mov x24, #0
1:  ldr x22, [x20]
    add x22, x22, #1
    \load
    stlr x22, [x20]
    add x22, x22, #1
2:  ldar x9, [x20]
    cmp x9, x22
    b.ne 2b
    \store
    eor w5, w5, #1
    add x24, x24, x5
    // Undisturbed it succeeds, at the latest when tried again.
    mov x9, #1000
3:  \load
    \store
    cbz w5, 4f
    subs x9, x9, #1
    b.ne 3b
    add x24, x24, #0x1000
4:  subs x23, x23, #1
    b.ne 1b
    CHECK "succeeded", x24, 0
    ldr x14, [x1]
    CHECK "value", x14, A
.endm
.macro DOUBLEWORD text, what
    ROW "\text", \what, "ldxr x3, [x1]", "stxr w5, x3, [x1]"
.endm

main:
    WRITE hcr_el2, 1 << 31
    SET x9, PAGES
    mov x10, #0x200
1:  str xzr, [x9], #8
    subs x10, x10, #1
    b.ne 1b
    SET x1, WORD
    mov x9, #A
    str x9, [x1]
    dsb sy
    SET x0, 0xc4000003
    mov x1, #1
    adr x2, second
    mov x3, #0
    smc #0
    mov x14, x0
    NAME "two processors"
    CHECK "CPU_ON", x14, 0
    SET x20, TURN
    SET x21, WHAT
    SET x1, WORD
    DOUBLEWORD "exclusives", by_exclusives
    DOUBLEWORD "exclusive pairs", by_pairs
    DOUBLEWORD "exclusive pairs of words", by_word_pairs
    DOUBLEWORD "exclusive bytes", by_bytes
    DOUBLEWORD "CAS", by_cas
    DOUBLEWORD "CASB", by_cas_of_bytes
    DOUBLEWORD "CASP", by_casp
    DOUBLEWORD "SWP", by_swp
    DOUBLEWORD "LDADD and STADD", by_add
    DOUBLEWORD "LDSET and STCLR", by_bits
    DOUBLEWORD "LDEOR", by_eor
    DOUBLEWORD "LDUMAX and LDSMIN", by_maximum
    DOUBLEWORD "exclusive, then SWP", by_exclusive_and_swp
    DOUBLEWORD "SWP, then exclusive", by_swp_and_exclusive
    DOUBLEWORD "stores", by_stores
    DOUBLEWORD "one store", by_one_store
    DOUBLEWORD "a store of a byte", by_byte_store
    DOUBLEWORD "a store beside it", by_neighbour
    DOUBLEWORD "a store of a pair", by_pair_store
    DOUBLEWORD "Store-Release", by_release
    ROW "a pair is marked, by one store", by_one_store, "ldxp x3, x4, [x1]", "stxp w5, x3, x4, [x1]"
    ROW "two words are marked, by one store", by_one_store, "ldxp w3, w4, [x1]", "stxp w5, w3, w4, [x1]"
    ROW "a byte is marked", by_exclusives, "ldxrb w3, [x1]", "stxrb w5, w3, [x1]"
    ROW "two words are marked", by_swp, "ldxp w3, w4, [x1]", "stxp w5, w3, w4, [x1]"
    ROW "a pair is marked, by exclusives", by_pairs, "ldaxp x3, x4, [x1]", "stlxp w5, x3, x4, [x1]"
    ROW "a pair is marked, by SWP", by_swp, "ldxp x3, x4, [x1]", "stxp w5, x3, x4, [x1]"
    ROW "a pair is marked, by CASP", by_casp, "ldxp x3, x4, [x1]", "stxp w5, x3, x4, [x1]"

    // Nodes 0 to NODES - 1 on the stack, none in use.
    SET x1, HEAD
    SET x3, NODE
    mov x2, #NODES
1:  ldr x4, [x1]
    stp x4, xzr, [x3]
    str x3, [x1]
    add x3, x3, #128
    subs x2, x2, #1
    b.ne 1b
    str xzr, [x21]
    ldr x22, [x20]
    add x22, x22, #1
    stlr x22, [x20]
    mov x8, #0
    bl together
    NAME "together"
    SET x1, SHARED_LINE
    ldr x14, [x1]
    CHECK "first count", x14, ROUNDS * 100
    ldr x14, [x1, #8]
    CHECK "second count", x14, ROUNDS * 100
    SET x1, TAKEN_TWICE
    ldr x14, [x1]
    CHECK "nodes taken twice", x14, 0
    SET x1, HEAD
    ldr x3, [x1]
    mov x14, #0
1:  cbz x3, 2f
    ldr x3, [x3]
    add x14, x14, #1
    cmp x14, #NODES
    b.ls 1b
2:  CHECK "nodes on the stack", x14, NODES
    FINISH
