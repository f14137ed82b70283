// Self-hosted debug (DDI 0487, D2): software step, hardware breakpoints and watchpoints, routed to EL2 by MDCR_EL2.TDE, so
// that code at EL1 is the debugged one.
.include "common.inc"
    b main

.equ SS, 1 << 21
.equ STEP, 0xca000022                   // EC 0x32, of a lower level
.equ ISV, 1 << 24
.equ EX, 1 << 6
.equ BREAK, 0xc2000022                  // EC 0x30
.equ WATCH, 0xd2000022                  // EC 0x34
.equ WNR, 1 << 6
.equ DATA, 0x40500000

i_nops:
    nop
    nop
    svc #0x99
i_branch:
    b i_target
    nop
i_target:
    svc #0x99
i_svc:
    svc #0x42
i_hvc:
    hvc #0x42
i_mrs:
    mrs x0, currentel
    svc #0x99
i_load:
    ldr x0, [x1]
    svc #0x99
i_exclusive:
    ldxr x0, [x1]
    svc #0x99
i_failing:
    clrex
i_failing_store:
    stxr w2, x0, [x1]
    svc #0x99
i_store:
    str x0, [x1]
    svc #0x99
i_store_byte:
    strb w0, [x1]
    svc #0x99
i_ldtr:
    ldtr x0, [x1]
    svc #0x99
i_pair:
    stp x0, x0, [x1]
    svc #0x99
i_swap:
    swp x2, x3, [x1]
    svc #0x99
i_zva:
    dc zva, x1
    svc #0x99
i_udf:
    udf #0
i_nop:
    nop
    svc #0x99
i_loop:
    mov x2, #3
1:  subs x2, x2, #1
    b.ne 1b
i_loop_end:
    svc #0x99

.macro STEP_CASE text, code, syndrome, elr
    NAME "\text"
    SET x1, DATA
    adr x9, \code
    SET x10, EL1H + SS
    bl run
    TAKEN EL2_LOWER, STEP + \syndrome, \elr
    CHECK_RECORD "SPSR", R_SPSR, EL1H
.endm
.macro WATCH_CASE text, code, argument, syndrome, elr
    CASE "\text", EL1H, \code, \argument, EL2_LOWER, WATCH + \syndrome, \elr
.endm
.macro NO_WATCH text, code, argument
    CASE "\text", EL1H, \code, \argument, EL1_SAME, DONE
.endm
// A watchpoint on DATA: load/store control, byte address select.
.macro SET_WATCH lsc, bas, more=0
    WRITE dbgwvr0_el1, DATA
    WRITE dbgwcr0_el1, 1 + (3 << 1) + (\lsc << 3) + (\bas << 5) + \more
    isb
.endm

main:
    msr oslar_el1, xzr
    WRITE mdcr_el2, (1 << 8) + 6
    WRITE mdscr_el1, 1
    isb
    STEP_CASE "step over NOP", i_nops, ISV, i_nops + 4
    STEP_CASE "step over a branch", i_branch, ISV, i_target
    STEP_CASE "step over a load", i_load, ISV, i_load + 4
    STEP_CASE "step over MRS", i_mrs, ISV, i_mrs + 4
    STEP_CASE "step over a load-exclusive", i_exclusive, ISV + EX, i_exclusive + 4
    STEP_CASE "step over a failing store-exclusive", i_failing_store, ISV, i_failing_store + 4
    // Active-pending: no instruction is executed.
    NAME "step that is pending"
    adr x9, i_nops
    mov x10, #EL1H
    bl run
    TAKEN EL2_LOWER, STEP, i_nops
    // An SVC completes by its exception; the step comes before the handler's first instruction, which is HVC.
    NAME "step over SVC"
    adr x9, i_svc
    SET x10, EL1H + SS
    bl run
    CHECK_RECORD "vector", R_VECTOR, EL2_LOWER
    adr x10, record
    ldr x14, [x10, #R_ESR]
    lsr x14, x14, #26
    CHECK "class", x14, 0x32
    adr x10, record
    ldr x14, [x10, #R_ELR]
    adr x9, vectors_el1
    sub x14, x14, x9
    CHECK "ELR", x14, 0x200
    NAME "step over HVC"
    adr x9, i_hvc
    SET x10, EL1H + SS
    bl run
    TAKEN EL2_LOWER, 0x5a000042, i_hvc + 4
    CHECK_RECORD "SPSR", R_SPSR, EL1H
    // A fault is not a step: SPSR keeps SS.
    NAME "step into a fault of EL1"
    adr x9, i_udf
    SET x10, EL1H + SS
    bl run
    mrs x14, spsr_el1
    CHECK "SPSR_EL1", x14, EL1H + SS
    NAME "SS without MDSCR_EL1.SS"
    WRITE mdscr_el1, 0
    adr x9, i_nops
    SET x10, EL1H + SS
    bl run
    TAKEN EL1_SAME, DONE

    // Breakpoints.
    WRITE mdscr_el1, 1 << 15
    adr x9, i_nops + 4
    msr dbgbvr0_el1, x9
    WRITE dbgbcr0_el1, 1 + (3 << 1) + (15 << 5)
    isb
    CASE "breakpoint", EL1H, i_nops, 0, EL2_LOWER, BREAK, i_nops + 4
    CASE "breakpoint at EL0", EL0T, i_nops, 0, EL2_LOWER, BREAK, i_nops + 4
    WRITE dbgbcr0_el1, 1 + (2 << 1) + (15 << 5)
    CASE "breakpoint for EL0 at EL1", EL1H, i_nops, 0, EL1_SAME, DONE
    CASE "breakpoint for EL0 at EL0", EL0T, i_nops, 0, EL2_LOWER, BREAK, i_nops + 4
    WRITE dbgbcr0_el1, 1 + (3 << 1) + (15 << 5) + (2 << 14)
    CASE "breakpoint for secure state", EL1H, i_nops, 0, EL1_SAME, DONE
    WRITE dbgbcr0_el1, 3 << 1
    CASE "breakpoint that is off", EL1H, i_nops, 0, EL1_SAME, DONE
    adr x9, i_loop_end
    msr dbgbvr0_el1, x9
    WRITE dbgbcr0_el1, 1 + (3 << 1) + (15 << 5)
    CASE "breakpoint behind a loop", EL1H, i_loop, 0, EL2_LOWER, BREAK, i_loop_end
    // Linked to a context: breakpoint 5 (the last) matches CONTEXTIDR_EL1.
    WRITE dbgbvr5_el1, 0x77
    WRITE dbgbcr5_el1, 1 + (3 << 1) + (15 << 5) + (3 << 20)
    WRITE dbgbcr0_el1, 1 + (3 << 1) + (15 << 5) + (5 << 16) + (1 << 20)
    WRITE contextidr_el1, 0x76
    CASE "linked breakpoint, other context", EL1H, i_loop, 0, EL1_SAME, DONE
    WRITE contextidr_el1, 0x77
    CASE "linked breakpoint, its context", EL1H, i_loop, 0, EL2_LOWER, BREAK, i_loop_end
    // To a VMID, of 8 bits, and to CONTEXTIDR_EL2.
    WRITE dbgbcr5_el1, 1 + (3 << 1) + (15 << 5) + (9 << 20)
    WRITE dbgbvr5_el1, 0x5500000000
    WRITE vttbr_el2, 0x56 << 48
    CASE "linked breakpoint, other VMID", EL1H, i_loop, 0, EL1_SAME, DONE
    WRITE vttbr_el2, 0x1255 << 48
    CASE "linked breakpoint, its VMID", EL1H, i_loop, 0, EL2_LOWER, BREAK, i_loop_end
    WRITE vtcr_el2, 1 << 19
    CASE "linked breakpoint, another of 16 bits", EL1H, i_loop, 0, EL1_SAME, DONE
    WRITE vtcr_el2, 0
    WRITE dbgbcr5_el1, 1 + (3 << 1) + (15 << 5) + (13 << 20)
    WRITE contextidr_el2, 0x54
    CASE "linked breakpoint, other CONTEXTIDR_EL2", EL1H, i_loop, 0, EL1_SAME, DONE
    WRITE contextidr_el2, 0x55
    CASE "linked breakpoint, its CONTEXTIDR_EL2", EL1H, i_loop, 0, EL2_LOWER, BREAK, i_loop_end
    WRITE dbgbcr5_el1, 1 + (3 << 1) + (15 << 5) + (15 << 20)
    CASE "linked breakpoint, both contexts, one wrong", EL1H, i_loop, 0, EL1_SAME, DONE
    WRITE contextidr_el1, 0
    CASE "linked breakpoint, both contexts", EL1H, i_loop, 0, EL2_LOWER, BREAK, i_loop_end
    msr dbgbcr0_el1, xzr
    msr dbgbcr5_el1, xzr

    // Watchpoints.
    SET_WATCH 3, 0xff
    WATCH_CASE "watched load", i_load, DATA, 0, i_load
    CHECK_RECORD "FAR", R_FAR, DATA
    WATCH_CASE "watched store", i_store, DATA, WNR, i_store
    WATCH_CASE "watched second half of a pair", i_pair, DATA - 8, WNR, i_pair
    WATCH_CASE "watched SWP", i_swap, DATA, WNR, i_swap
    WATCH_CASE "watched load-exclusive", i_exclusive, DATA, 0, i_exclusive
    NO_WATCH "store beside", i_store, DATA + 8
    NO_WATCH "store below", i_store, DATA - 8
    SET_WATCH 1, 0xff
    NO_WATCH "loads only: store", i_store, DATA
    WATCH_CASE "loads only: load", i_load, DATA, 0, i_load
    WATCH_CASE "loads only: SWP", i_swap, DATA, 0, i_swap
    SET_WATCH 2, 0xff
    NO_WATCH "stores only: load", i_load, DATA
    WATCH_CASE "stores only: store", i_store, DATA, WNR, i_store
    SET_WATCH 3, 0x0c
    NO_WATCH "bytes 2 and 3: byte 1", i_store_byte, DATA + 1
    WATCH_CASE "bytes 2 and 3: byte 2", i_store_byte, DATA + 2, WNR, i_store_byte
    WATCH_CASE "bytes 2 and 3: byte 3", i_store_byte, DATA + 3, WNR, i_store_byte
    NO_WATCH "bytes 2 and 3: byte 4", i_store_byte, DATA + 4
    WATCH_CASE "bytes 2 and 3: doubleword", i_store, DATA, WNR, i_store
    SET_WATCH 3, 0xff, (12 << 24)
    WATCH_CASE "4 KiB: inside", i_store, DATA + 0xff8, WNR, i_store
    NO_WATCH "4 KiB: behind", i_store, DATA + 0x1000
    // For EL0 only: LDTR is its access.
    SET_WATCH 3, 0xff
    CHANGE dbgwcr0_el1, 0, 1 << 1
    NO_WATCH "EL0's: EL1's load", i_load, DATA
    WATCH_CASE "EL0's: LDTR", i_ldtr, DATA, 0, i_ldtr
    CHANGE dbgwcr0_el1, 1 << 1, 2 << 1
    NO_WATCH "EL1's: LDTR", i_ldtr, DATA
    msr dbgwcr0_el1, xzr
    WRITE mdscr_el1, 0
    isb
    FINISH
