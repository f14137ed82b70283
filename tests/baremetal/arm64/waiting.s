// Half a second of WFE without an event: the host's processor is free meanwhile.
.include "common.inc"
    b main

main:
    NAME "WFE"
    mrs x19, cntvct_el0
    SET x20, 500000000
    add x19, x19, x20
    mov x20, #0
1:  wfe
    add x20, x20, #1
    mrs x9, cntvct_el0
    cmp x9, x19
    b.lo 1b
    // Some ends are spurious, few enough for a sleep.
    mov x9, #5000
    cmp x20, x9
    cset x14, hi
    CHECK "mostly asleep", x14, 0
    FINISH
